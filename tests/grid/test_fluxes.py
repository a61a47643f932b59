import jax
import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.grid import fluxes, stencils
from diffpattern.grid.fluxes import ADVECTION_SCHEMES
from diffpattern.grid.geometry import Boundary, Grid

advection = jax.jit(fluxes.advection, static_argnums=(2, 3))
flux_divergence = jax.jit(fluxes.flux_divergence, static_argnums=2)
gradient = jax.jit(stencils.gradient, static_argnums=1)
laplacian = jax.jit(stencils.laplacian, static_argnums=(1, 2))

CLOSED_GRIDS = [
    Grid((9,), 0.5, "circular"),
    Grid((9,), 0.5, "symmetric"),
    Grid((6, 7), (0.5, 0.8), "circular"),
    Grid((6, 7), (0.5, 0.8), "symmetric"),
    Grid((4, 5, 6), (0.5, 0.8, 1.25), ("circular", "symmetric", "symmetric")),
]
OPEN_GRIDS = [
    Grid((9,), 0.5, Boundary("value", 2.0)),
    Grid((6, 7), (0.5, 0.8), ("zero", "replicate")),
]


def random_lattice(*shape):
    return np.random.default_rng(0).normal(size=shape)


def coordinates(grid):
    lines = [h * np.arange(n) for n, h in zip(grid.shape, grid.spacing, strict=True)]
    return np.stack(np.meshgrid(*lines, indexing="ij"))


@pytest.mark.parametrize("grid", CLOSED_GRIDS)
def test_what_is_transported_is_conserved(grid):
    coefficient, x = random_lattice(2, 3, *grid.shape)
    velocity = random_lattice(3, grid.ndim, *grid.shape)

    @jax.jit
    def transport(coefficient, x, velocity):
        changes = {s: fluxes.advection(x, velocity, grid, s) for s in ADVECTION_SCHEMES}
        return changes | {"diffusion": fluxes.flux_divergence(coefficient, x, grid)}

    for name, change in transport(coefficient, x, velocity).items():
        assert np.max(np.abs(change)) > 0.1
        total = np.sum(change, axis=tuple(range(-grid.ndim, 0)))
        np.testing.assert_allclose(total, 0.0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("scheme", ADVECTION_SCHEMES)
def test_nothing_passes_the_face_of_a_mirror(scheme):
    """A wind towards the walls piles up what it carries in the outermost cells."""
    grid = Grid((3,), 0.5, "symmetric")
    x = np.ones(3)
    change = -np.asarray(advection(x, np.array([[-1.0, 0.0, 1.0]]), grid, scheme))
    # Faces carry 0, -1/2, 1/2, 0 where x is one everywhere.
    np.testing.assert_allclose(change, [1.0, -2.0, 1.0])


@pytest.mark.parametrize("scheme", ADVECTION_SCHEMES)
@pytest.mark.parametrize("boundary", ["zero", "replicate", Boundary("value", 3.0)])
def test_other_walls_let_the_wind_through(scheme, boundary):
    grid = Grid((4,), 1.0, boundary)
    change = -np.asarray(advection(np.ones(4), np.ones((1, 4)), grid, scheme))
    outside = {"zero": 0.0, "replicate": 1.0, "value": 3.0}[grid.boundary[0].kind]
    entering = outside if scheme == "upwind" else (outside + 1) / 2
    leaving = 1.0 if scheme == "upwind" else (outside + 1) / 2
    np.testing.assert_allclose(change, [entering - 1, 0.0, 0.0, 1 - leaving])


def test_a_coefficient_goes_on_beyond_a_wall_of_the_state():
    grid = Grid((3,), 1.0, "zero")
    change = flux_divergence(np.full(3, 2.0), np.ones(3), grid)
    np.testing.assert_allclose(change, [-2.0, 0.0, -2.0])


@pytest.mark.parametrize("grid", CLOSED_GRIDS[3:] + OPEN_GRIDS[1:])
def test_a_uniform_coefficient_gives_the_cross_laplacian(grid):
    x = random_lattice(2, *grid.shape)
    np.testing.assert_allclose(
        flux_divergence(np.full(grid.shape, 1.5), x, grid),
        1.5 * laplacian(x, grid, "cross"),
        atol=1e-12,
    )


@pytest.mark.parametrize("scheme", ADVECTION_SCHEMES)
def test_a_uniform_wind_carries_by_the_slope(scheme):
    grid = Grid((6, 7), (0.5, 0.8))
    x = random_lattice(6, 7)
    velocity = np.stack([np.full((6, 7), 2.0), np.full((6, 7), -3.0)])
    slope_y = (x - np.roll(x, 1, 0)) / 0.5
    slope_x = (np.roll(x, -1, 1) - x) / 0.8
    if scheme == "central":
        slope_y, slope_x = gradient(x, grid)
    expected = 2.0 * slope_y - 3.0 * slope_x
    np.testing.assert_allclose(advection(x, velocity, grid, scheme), expected, atol=1e-12)


def test_one_wind_serves_all_species_and_each_may_have_its_own():
    grid = Grid((6, 7))
    x, velocity = random_lattice(3, 6, 7), random_lattice(2, 6, 7)
    own = np.broadcast_to(velocity, (3, 2, 6, 7))
    np.testing.assert_allclose(
        advection(x, velocity, grid, "upwind"), advection(x, own, grid, "upwind"), atol=1e-14
    )


def transport_errors(cells):
    """Largest errors of the three on waves: flux_divergence, central, upwind."""
    grid = Grid((cells, cells), (1 / cells, 1.5 / cells))
    y, x = coordinates(grid)
    a, b = 2 * np.pi, 2 * np.pi / 1.5
    state = np.sin(a * y) * np.cos(b * x)
    state_y, state_x = a * np.cos(a * y) * np.cos(b * x), -b * np.sin(a * y) * np.sin(b * x)
    coefficient, coefficient_x = 2 + np.sin(b * x), b * np.cos(b * x)
    diffused = -(a**2 + b**2) * coefficient * state + coefficient_x * state_x
    # V = (cos x, 2 + sin x) in (y, x).
    velocity = np.stack([np.cos(b * x), coefficient])
    carried = velocity[0] * state_y + velocity[1] * state_x + coefficient_x * state
    return np.array(
        [
            np.max(np.abs(flux_divergence(coefficient, state, grid) - diffused)),
            np.max(np.abs(advection(state, velocity, grid, "central") - carried)),
            np.max(np.abs(advection(state, velocity, grid, "upwind") - carried)),
        ]
    )


def test_transport_converges_with_its_order():
    orders = np.log2(transport_errors(64) / transport_errors(128))
    np.testing.assert_allclose(orders, [2.0, 2.0, 1.0], atol=0.1)


def test_upwind_keeps_a_state_non_negative():
    grid = Grid((8, 8), 0.5, "symmetric")
    x = np.maximum(random_lattice(8, 8), 0.0)
    velocity = np.clip(random_lattice(2, 8, 8), -1.0, 1.0)
    # The time step is below h / (|V_y| + |V_x| over both faces of each axis).
    assert np.min(x - 0.12 * advection(x, velocity, grid, "upwind")) > -1e-15
    assert np.min(x - 0.12 * advection(x, velocity, grid, "central")) < -0.01


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (lambda x, v, g: advection(x, v, g, "weno"), "advection scheme is 'weno'.*central, upwind"),
        (lambda x, v, g: advection(x, v[:1], g), r"vector has shape \(1, 4, 5\)"),
        (lambda x, v, g: advection(x.T, v, g), "its last axes"),
        (lambda x, v, g: flux_divergence(np.ones(()), x, g), "its last axes"),
    ],
)
def test_what_has_no_meaning_is_refused(call, found):
    with pytest.raises(InputError, match=found):
        call(random_lattice(4, 5), random_lattice(2, 4, 5), Grid((4, 5)))
