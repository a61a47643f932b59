"""What cells see, against sums over neighbours written out in numpy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Boundary, Grid
from diffpattern.models import monomials as written_out
from diffpattern.models.perception import (
    ISOTROPIC,
    KERNELS,
    Learnt,
    MultiScale,
    Steerable,
    Stencils,
    monomials,
)

KEY = jax.random.key(3)
GRIDS = {1: Grid((12,)), 2: Grid((8, 12)), 3: Grid((4, 8, 4))}
MODES = {"circular": "wrap", "symmetric": "symmetric", "zero": "constant"}
SMOOTHING = {"sobel": 1 / 4, "bickley": 1 / 6, "central": 0.0}


def lattice(grid, channels=3, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, size=(channels, *grid.shape)))


def see(perception, x, grid, environment=None):
    parameters = jax.jit(perception.init, static_argnums=2)(KEY, x, grid, environment)
    return np.asarray(
        jax.jit(perception.apply, static_argnums=2)(parameters, x, grid, environment)
    ), parameters


def neighbours(x, grid):
    """The neighbour at each offset, {offset: [C, *space]}."""
    widths = [(0, 0)] * (x.ndim - grid.ndim) + [(1, 1)] * grid.ndim
    bordered = np.pad(np.asarray(x), widths, MODES[grid.boundary[0].kind])
    return {
        offset: bordered[
            (Ellipsis, *(slice(1 + o, 1 + o + n) for o, n in zip(offset, grid.shape, strict=True)))
        ]
        for offset in itertools.product((-1, 0, 1), repeat=grid.ndim)
    }


def derivative(x, grid, axis, scheme):
    side = SMOOTHING[scheme]
    weight = lambda offset: (
        offset[axis]
        / (2 * grid.spacing[axis])
        * np.prod([side if o else 1 - 2 * side for other, o in enumerate(offset) if other != axis])
    )
    return sum(weight(offset) * seen for offset, seen in neighbours(x, grid).items())


def laplacian(x, grid, weights):
    """`weights` of the cell, of its sides and of its corners, on two axes."""
    return (
        sum(weights[np.abs(offset).sum()] * seen for offset, seen in neighbours(x, grid).items())
        / grid.spacing[0] ** 2
    )


OONO_PURI, ISOTROPIC_WEIGHTS = (-3, 1 / 2, 1 / 4), (-10 / 3, 2 / 3, 1 / 6)


@pytest.mark.parametrize("boundary", MODES)
def test_stencils_are_sums_over_neighbours(boundary):
    grid = Grid((8, 12), 0.5, boundary)
    x = lattice(grid)
    features, _ = see(Stencils(tuple(KERNELS)), x, grid)
    down, right = (derivative(x, grid, axis, "sobel") for axis in (0, 1))
    expected = [
        np.asarray(x),
        np.stack([down, right], axis=1).reshape(6, *grid.shape),
        np.sqrt(down**2 + right**2),
        laplacian(x, grid, OONO_PURI),
        sum(neighbours(x, grid).values()) / 9,
    ]
    np.testing.assert_allclose(features, np.concatenate(expected), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=lambda grid: f"{grid.ndim}D")
def test_a_gradient_counts_once_for_each_axis(grid):
    features, _ = see(Stencils(), lattice(grid), grid)
    assert features.shape == (3 * (2 + grid.ndim), *grid.shape)


@pytest.mark.parametrize(("channels", "order"), [(1, 4), (3, 1), (3, 2), (4, 3), (2, 5)])
def test_monomials_are_those_written_out(channels, order):
    x = lattice(GRIDS[1], channels)
    expected = written_out.evaluate(x, written_out.exponents(channels, 1, order))
    np.testing.assert_allclose(monomials(x, order), expected, rtol=1e-12)


def test_higher_order_sees_the_stencils_of_monomials():
    grid = GRIDS[2]
    x = np.asarray(lattice(grid, 2))
    products = np.stack([x[0], x[1], x[0] ** 2, x[0] * x[1], x[1] ** 2])
    features, _ = see(Stencils(("identity", "laplacian"), order=2), jnp.asarray(x), grid)
    expected = np.concatenate([products, laplacian(products, grid, OONO_PURI)])
    np.testing.assert_allclose(features, expected, rtol=1e-9, atol=1e-11)


def test_kernel_scale_widens_all_but_the_identity():
    grid = Grid((24, 24))
    impulse = jnp.zeros((1, *grid.shape)).at[0, 12, 12].set(1.0)
    reach = lambda view: np.argwhere(np.abs(view) > 1e-9).max() - 12
    kernels = ("identity", "average", "laplacian")
    identity, average, curvature = see(Stencils(kernels, kernel_scale=2.0), impulse, grid)[0]
    np.testing.assert_array_equal(identity, impulse[0])
    assert reach(average) == 6 and reach(curvature) == 7
    radius = np.arange(-6, 7)
    weights = np.exp(-(radius**2) / 8)
    weights /= weights.sum()
    np.testing.assert_allclose(average[6:19, 6:19], np.outer(weights, weights), rtol=1e-9)


@pytest.mark.parametrize("perception", [Stencils(), MultiScale((1, 2)), Learnt(), Steerable()])
def test_environment_is_seen_like_channels(perception):
    grid, x = GRIDS[2], lattice(GRIDS[2], 4)
    environment = lattice(grid, 2, seed=1)
    alone, _ = see(perception, x, grid)
    both, _ = see(perception, x, grid, environment)
    per_channel = len(alone) / (3 if isinstance(perception, Steerable) else 4)
    assert len(both) == len(alone) + 2 * per_channel
    moved, _ = see(perception, x, grid, environment.at[:, 4, 4].add(1.0))
    changed = np.any(moved != both, axis=0)
    assert changed[3:6, 3:6].sum() == changed.sum() >= 9
    with pytest.raises(InputError, match="last axes must be the grid's"):
        see(perception, x, grid, environment[:, 1:])


def test_environment_in_monomials_and_kernels_is_a_channel():
    grid, x, environment = GRIDS[2], lattice(GRIDS[2], 2), lattice(GRIDS[2], 1, seed=1)
    np.testing.assert_array_equal(
        see(Stencils(order=2), x, grid, environment)[0],
        see(Stencils(order=2), jnp.concatenate([x, environment]), grid)[0],
    )


# --- Isotropic -------------------------------------------------------------------------------


def test_isotropic_is_exact_under_quarter_turns_and_mirrors():
    grid = Grid((9, 9), 0.7)
    x = lattice(grid)
    features, _ = see(ISOTROPIC, x, grid)
    for turn in (lambda a: np.rot90(a, 1, (1, 2)), lambda a: a[:, ::-1], lambda a: a[:, :, ::-1]):
        turned, _ = see(ISOTROPIC, jnp.asarray(turn(np.asarray(x)).copy()), grid)
        np.testing.assert_allclose(turned, turn(features), rtol=1e-9, atol=1e-11)


def anisotropy(perception, wavelength):
    """Largest relative spread over directions of what is seen of a plane wave at one cell."""
    grid = Grid((7, 7))
    y, x = np.meshgrid(*(np.arange(7) - 3,) * 2, indexing="ij")
    directions = np.linspace(0, np.pi / 4, 10)
    k = 2 * np.pi / wavelength
    phase = lambda angle: k * (x * np.cos(angle) + y * np.sin(angle)) + 0.8
    waves = jnp.asarray(np.stack([np.sin(phase(angle)) for angle in directions]))
    _, slopes, curvatures = see(perception, waves, grid)[0].reshape(3, 10, 7, 7)[:, :, 3, 3]
    return [np.ptp(seen) / np.abs(seen.mean()) for seen in (slopes, curvatures)]


def test_anisotropy_is_of_fourth_order_and_far_below_that_of_other_stencils():
    coarse, fine = (np.array(anisotropy(ISOTROPIC, wavelength)) for wavelength in (10, 20))
    np.testing.assert_allclose(coarse / fine, 16, rtol=0.1)
    other = Stencils(ISOTROPIC.kernels)  # Sobel and Oono-Puri: second order
    coarse_other, fine_other = (np.array(anisotropy(other, length)) for length in (10, 20))
    np.testing.assert_allclose(coarse_other / fine_other, 4, rtol=0.1)
    assert np.all(fine < 0.02 * fine_other)


# --- Steerable -------------------------------------------------------------------------------


def test_steerable_turns_the_gradient_by_the_cells_angle():
    grid = GRIDS[2]
    x = lattice(grid, 3)
    features, _ = see(Steerable(), x, grid)
    seen, angle = np.asarray(x[:-1]), np.asarray(x[-1])
    down, right = (derivative(seen, grid, axis, "bickley") for axis in (0, 1))
    expected = [
        seen,
        np.cos(angle) * right + np.sin(angle) * down,
        np.cos(angle) * down - np.sin(angle) * right,
        laplacian(seen, grid, ISOTROPIC_WEIGHTS),
    ]
    np.testing.assert_allclose(features, np.concatenate(expected), rtol=1e-9, atol=1e-11)


def test_steerable_sees_the_same_when_lattice_and_angles_turn_together():
    grid = Grid((9, 9))
    x = np.asarray(lattice(grid, 3))
    turned = np.rot90(x, 1, (1, 2)).copy()  # what pointed along x, the columns, points along -y
    turned[-1] -= np.pi / 2
    np.testing.assert_allclose(
        see(Steerable(), jnp.asarray(turned), grid)[0],
        np.rot90(see(Steerable(), jnp.asarray(x), grid)[0], 1, (1, 2)),
        atol=1e-10,
    )


def test_steerable_refuses_what_has_no_plane_or_no_angle():
    for grid, channels, sentence in ((GRIDS[1], 3, "has 1 axes"), (GRIDS[2], 1, "only 1 channel")):
        with pytest.raises(InputError, match=sentence):
            Steerable().apply({}, lattice(grid, channels), grid)


# --- Multi-scale -----------------------------------------------------------------------------


def test_multi_scale_sees_block_means_and_itself():
    grid = Grid((8, 12), 0.5, "symmetric")
    x = np.asarray(lattice(grid, 5))
    features, _ = see(MultiScale((1, 2)), jnp.asarray(x), grid)
    means = x[3:].reshape(2, 4, 2, 6, 2).mean((2, 4))
    coarse = Grid((4, 6), 1.0, "symmetric")
    views = lambda y, grid: [
        np.stack([derivative(y, grid, axis, "sobel") for axis in (0, 1)], 1).reshape(
            -1, *grid.shape
        ),
        laplacian(y, grid, OONO_PURI),
    ]
    spread = [np.kron(view, np.ones((1, 2, 2))) for view in views(means, coarse)]
    expected = np.concatenate([x, *views(x[:3], grid), *spread])
    np.testing.assert_allclose(features, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=lambda grid: f"{grid.ndim}D")
def test_one_scale_of_one_sees_what_plain_stencils_see(grid):
    x = lattice(grid)
    np.testing.assert_array_equal(see(MultiScale((1,)), x, grid)[0], see(Stencils(), x, grid)[0])
    assert see(MultiScale((1, 2, 4)), x, grid)[0].shape == (3 * (2 + grid.ndim), *grid.shape)


def test_multi_scale_refuses_scales_that_do_not_fit():
    for scales, sentence in (
        ((1, 5), "Scale 5 .* does not divide the lattice's 8 x 12"),
        ((1, 0), "Scale 0"),
        ((1, 1, 2, 2), "4 scales for 3 channels"),
        ((), "0 scales"),
    ):
        with pytest.raises(InputError, match=sentence):
            MultiScale(scales).apply({}, lattice(GRIDS[2]), GRIDS[2])


# --- Learnt ----------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", GRIDS.values(), ids=lambda grid: f"{grid.ndim}D")
def test_learnt_kernels_are_weighted_sums_over_neighbours(grid):
    grid = Grid(grid.shape, boundary="symmetric")
    x = lattice(grid)
    features, parameters = see(Learnt(2), x, grid)
    kernel = np.asarray(parameters["params"]["kernel"])
    expected = sum(
        np.einsum("ck,c...->ck...", kernel[:, :, place], seen)
        for place, seen in enumerate(neighbours(x, grid).values())
    )
    np.testing.assert_allclose(features, expected.reshape(features.shape), rtol=1e-9, atol=1e-11)


def test_unknown_names_are_refused_with_what_there_is():
    grid, x = GRIDS[2], lattice(GRIDS[2])
    for perception, sentence in (
        (Stencils(("identity", "curl")), "'curl'; there are identity, gradient, gradient_norm"),
        (MultiScale((1,), ("identity", "curl")), "'curl'; there are identity"),
        (Steerable(("curl",)), "'curl'; there are identity"),
        (Stencils(gradient="scharr"), "'scharr'.*bickley"),
        (Stencils(laplacian="nine"), "'nine'.*oono_puri"),
    ):
        with pytest.raises(InputError, match=sentence):
            perception.apply({}, x, grid)


# --- Walls -----------------------------------------------------------------------------------

# For two species, as they are and at a moment.
GIVEN = {
    "value": Boundary("value", (0.9, 0.3)),
    "flux": Boundary("flux", (0.9, -0.3)),
    "value at a moment": Boundary("value", ((0.8, 0.4), (1.0, 0.2)), times=(0.0, 2.0)),
}
SEEN = {
    "stencils": Stencils(("laplacian", "gradient")),
    "wide": Stencils(("average", "laplacian"), kernel_scale=1.5),
    "steerable": Steerable(("laplacian",)),
    "several scales": MultiScale((1, 2, 1, 1), ("laplacian",)),
    "learnt": Learnt(2),
}


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("name", SEEN)
def test_each_channel_has_a_wall_of_its_own(name, given, quick_compilation):
    """A hidden one has 0, and a field that is given goes on as it was."""
    perception, wall = SEEN[name], GIVEN[given]
    grid = Grid((6, 4), boundary=(wall, "symmetric"))
    x, field = lattice(grid, 4), lattice(grid, 1, seed=1)
    seen_of = perception.features(tuple("ABHa"), ("E",), 2)
    parameters = perception.init(KEY, x, grid.under(Forcing(time=1.0)), field)
    kind, values = wall.kind, (0.9, 0.3 if wall.kind == "value" else -0.3, 0.0)

    @jax.jit
    def all_at_once(x, field):
        return perception.apply(parameters, x, grid.under(Forcing(time=1.0)), field)

    @jax.jit
    def alone(x, field):
        """All channels at the wall of each, and the field at an open one or a mirror."""
        walls = [Boundary(kind, value) for value in values]
        walls.append(Boundary("symmetric" if kind == "flux" else "replicate"))
        grids = [Grid((6, 4), boundary=(wall, "symmetric")) for wall in walls]
        return [perception.apply(parameters, x, grid, field) for grid in grids]

    features, by_wall = all_at_once(x, field), dict(zip("ABHE", alone(x, field), strict=True))
    assert features.shape[0] == len(seen_of)
    for place, (kernel, channel) in enumerate(seen_of):
        expected = by_wall["H" if channel == "a" else channel][place]
        np.testing.assert_allclose(features[place], expected, atol=1e-6, err_msg=kernel)
    for one, other in itertools.combinations("ABH", 2):
        assert np.abs(by_wall[one] - by_wall[other]).max() > 1e-3


def test_a_flat_field_has_no_curvature_beside_a_wall_that_holds_the_state():
    grid = Grid(6, boundary=Boundary("value", 1.0))
    sees = Stencils(("laplacian",))
    state, field = jnp.ones((1, 6)), jnp.full((1, 6), 0.3)
    np.testing.assert_allclose(sees.apply({}, state, grid, field), 0.0, atol=1e-6)


def test_products_whose_walls_are_not_known_are_refused():
    sees, x, field = Stencils(("laplacian",), order=2), jnp.ones((1, 6)), jnp.ones((1, 6))
    for wall in (Boundary("value", 1.0), Boundary("flux", 0.0)):
        with pytest.raises(InputError, match=f"{wall.kind}'; take order 1, or .*, zero"):
            sees.apply({}, x, Grid(6, boundary=((wall, "symmetric"),)))
    with pytest.raises(InputError, match="given fields .* 'zero'; take order 1, or .* symmetric"):
        sees.apply({}, x, Grid(6, boundary="zero"), field)
    assert sees.apply({}, x, Grid(6, boundary="replicate"), field).shape == (5, 6)


PERCEPTIONS = {
    "all kernels": Stencils(tuple(KERNELS)),
    "higher order": Stencils(("gradient", "identity"), order=2),
    "steerable": Steerable(("gradient", "identity", "laplacian")),
    "several scales": MultiScale((1, 2)),
    "learnt": Learnt(3),
}


@pytest.mark.parametrize("name", PERCEPTIONS)
def test_features_have_the_names_of_what_they_see(name, quick_compilation):
    perception, grid, channels = PERCEPTIONS[name], GRIDS[2], ("A", "B", "C")
    place = lattice(grid, 1, 1)
    # The first channel varies along x only.
    x = np.array(lattice(grid))
    x[0] = x[0, :1]
    changed = [x + 0.1 * np.eye(3)[k, :, None, None] * lattice(grid, 1, 2) for k in range(3)]
    first, *others = jax.jit(
        jax.vmap(lambda x: perception.init_with_output(KEY, x, grid, place)[0])
    )(jnp.stack([x, *changed]))
    names = perception.features(channels, ("place",), grid.ndim)
    assert len(names) == len(set(names)) == len(first)
    for channel, other in zip(channels, others, strict=True):
        for (kernel, what), differs in zip(names, np.abs(other - first).max((1, 2)), strict=True):
            angle = name == "steerable" and channel == "C"
            named = channel in what.replace("^2", "").split() or (angle and "gradient" in kernel)
            assert (differs > 1e-3) == named, (kernel, what, channel)
    features = dict(zip(names, np.asarray(first), strict=True))
    if ("identity", "B") in features:
        np.testing.assert_array_equal(features["identity", "B"], x[1])
    if ("gradient y", "A") in features:
        assert np.abs(features["gradient y", "A"]).max() < 1e-6
        assert np.abs(features["gradient x", "A"]).max() > 0.1
