"""Inside a mask: nothing passes its edge, which is a wall of mirrors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from diffpattern.grid import fluxes, stencils
from diffpattern.grid.fluxes import ADVECTION_SCHEMES
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Boundary, Grid
from diffpattern.grid.stencils import GRADIENT_SCHEMES, LAPLACIANS

pytestmark = pytest.mark.usefixtures("quick_compilation")

SHAPES = [(9,), (7, 6), (4, 5, 6)]


def random_lattice(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def random_mask(shape):
    return (np.random.default_rng(1).random(shape) < 0.7).astype(float)


def masked(grid, mask):
    return grid.under(Forcing(mask=mask))


def velocity_of(x, grid):
    """A smooth vector [..., ndim, *space] made of a lattice."""
    powers = [jnp.sin(x), jnp.cos(2 * x), x * x][: grid.ndim]
    return jnp.stack(powers, axis=-grid.ndim - 1)


def laplacians(grid, kernel_scale=1.0):
    """The Laplacians."""
    operators = {
        stencil: partial(stencils.laplacian, stencil=stencil, kernel_scale=kernel_scale)
        for stencil in LAPLACIANS
    }
    return {name: partial(operator, grid=grid) for name, operator in operators.items()}


def every_operator(grid):
    vector = lambda x: velocity_of(x, grid)
    operators = laplacians(grid) | {
        "average": partial(stencils.average, grid=grid),
        "norm": partial(stencils.gradient_norm, grid=grid),
        "flux": lambda x: fluxes.flux_divergence(1 + x * x, x, grid),
        "divergence": lambda x: fluxes.divergence(vector(x), grid),
    }
    for scheme in GRADIENT_SCHEMES:
        operators[scheme] = partial(stencils.gradient, grid=grid, scheme=scheme)
    for scheme in ADVECTION_SCHEMES:
        advection = partial(fluxes.advection, grid=grid, scheme=scheme)
        operators[f"advection, {scheme}"] = lambda x, f=advection: f(x, vector(x))
    if grid.ndim > 1:
        operators["curl"] = lambda x: stencils.curl(vector(x), grid)
    return operators


def together(operators, x):
    """All of them as one program, because compiling takes the time."""
    return jax.jit(lambda x: {name: operator(x) for name, operator in operators.items()})(x)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("boundary", ["circular", "symmetric"])
def test_a_rectangle_is_a_smaller_lattice_between_mirrors(shape, boundary):
    ndim = len(shape)
    window = (slice(1, -1),) * ndim
    mask = np.zeros(shape)
    mask[window] = 1.0
    x = random_lattice(2, *shape)
    x_inside = x[(..., *window)]
    large = together(every_operator(masked(Grid(shape, 0.5, boundary), mask)), mask * x)
    small = Grid(x_inside.shape[1:], 0.5, "symmetric")
    for name, expected in together(every_operator(small), x_inside).items():
        result = np.asarray(large[name])
        np.testing.assert_allclose(result[(..., *window)], expected, atol=1e-12, err_msg=name)
        np.testing.assert_array_equal(np.where(mask == 0, result, 0.0), 0.0, err_msg=name)


INFLOW = Boundary("flux", -0.7)


@pytest.mark.parametrize(
    ("shape", "boundary"),
    [
        ((9,), "circular"),
        ((9,), (("zero", "replicate"),)),
        ((9,), ((Boundary("value", 0.3), INFLOW),)),
        ((7, 6), ("circular", "symmetric")),
        ((7, 6), ((INFLOW, "zero"), Boundary("value", 0.3))),
        ((4, 3, 4), ("replicate", ("symmetric", INFLOW), "circular")),
    ],
)
def test_a_mask_that_hides_nothing_changes_nothing(shape, boundary):
    grid, x = Grid(shape, 0.5, boundary), random_lattice(2, *shape)
    results = together(every_operator(masked(grid, np.ones(shape))), x)
    for name, expected in together(every_operator(grid), x).items():
        np.testing.assert_allclose(results[name], expected, atol=1e-12, err_msg=name)


def heun(change, x, dt, steps):
    def step(x, _):
        slope = change(x)
        return x + 0.5 * dt * (slope + change(x + dt * slope)), None

    return jax.lax.scan(step, x, length=steps)[0]


@pytest.mark.parametrize(
    ("shape", "boundary"),
    [
        ((9,), "circular"),
        ((9,), "zero"),
        ((7, 6), "circular"),
        ((7, 6), ("symmetric", "zero")),
        ((4, 5, 6), ("flux", "circular", Boundary("value", 1.0))),
    ],
)
def test_the_mass_inside_is_conserved(shape, boundary):
    """In single precision, over many steps; walls that would leak lie outside the mask."""
    mask = random_mask(shape) * np.pad(np.ones([n - 2 for n in shape]), 1)
    if boundary == "circular":
        mask = random_mask(shape)
    mask = mask.astype(np.float32)
    grid = masked(Grid(shape, 1.0, boundary), mask)
    start = mask * np.abs(random_lattice(2, *shape)).astype(np.float32)
    wind = 0.2 * velocity_of(random_lattice(*shape, seed=5).astype(np.float32), grid)
    changes = laplacians(grid)
    changes["wide"] = laplacians(grid, kernel_scale=1.5)["isotropic"]
    changes |= {
        scheme: lambda x, scheme=scheme: -fluxes.advection(x, wind, grid, scheme)
        for scheme in ADVECTION_SCHEMES
    }
    changes["flux"] = lambda x: fluxes.flux_divergence(1 + x * x, x, grid)
    changes["divergence"] = lambda x: fluxes.divergence(jnp.sin(x)[:, None] * wind, grid)

    run = lambda x: {name: heun(change, x, 0.02, 150) for name, change in changes.items()}
    axes = tuple(range(1, len(shape) + 1))
    total = start.astype(float).sum(axes)
    for name, end in jax.jit(run)(start).items():
        end = np.asarray(end, float)
        assert np.max(np.abs(end - start)) > 0.01, name
        np.testing.assert_allclose(end.sum(axes), total, rtol=1e-6, err_msg=name)
        np.testing.assert_array_equal(end * (mask == 0), 0.0, err_msg=name)


def test_a_wall_of_one_cell_holds_tight():
    """Also where cells on both sides touch at their corners, or a stencil reaches over it.

    A wide kernel sees what lies beyond the wall, but moves nothing through it.
    """
    diagonal = np.eye(8) + np.eye(8, k=4) + np.eye(8, k=-4)
    grid = masked(Grid((8, 8), 1.0, "symmetric"), 1.0 - diagonal)
    row, column = np.mgrid[:8, :8]
    chamber = (column > row) & (column < row + 4)
    start = random_lattice(8, 8) * chamber
    wide = laplacians(grid, kernel_scale=1.5)
    changes = laplacians(grid) | {f"wide {name}": f for name, f in wide.items()}
    run = lambda x: {name: heun(change, x, 0.05, 400) for name, change in changes.items()}
    for name, end in jax.jit(run)(start).items():
        np.testing.assert_allclose(np.sum(end * chamber), start.sum(), rtol=1e-10, err_msg=name)
        if name in LAPLACIANS:
            np.testing.assert_array_equal(np.where(chamber, 0.0, end), 0.0, err_msg=name)


@pytest.mark.parametrize("shape", [(9,), (6, 5), (4, 3, 4)])
@pytest.mark.parametrize("smooth", [False, True])
def test_a_masked_laplacian_only_levels_out(shape, smooth):
    """Symmetric, without a growing mode, never stiffer than `cross` is on a free lattice.

    Compact ones give no neighbour a weight below zero.
    """
    mask = np.random.default_rng(2).random(shape) if smooth else random_mask(shape)
    grid = Grid(shape, 0.5, "symmetric")
    cells = np.prod(shape)
    basis = np.eye(cells).reshape(-1, *shape)
    matrices = together(laplacians(masked(grid, mask)), basis)
    for name, matrix in matrices.items():
        matrix = np.asarray(matrix).reshape(cells, cells)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(matrix.sum(0), 0.0, atol=1e-12, err_msg=name)
        if name != "fourth_order":
            assert np.min(matrix - np.diag(np.diag(matrix))) > -1e-12, name
        rates = np.linalg.eigvalsh(matrix)
        assert np.max(rates) < 1e-10, name
        stiffest = -4 * len(shape) / 0.5**2
        assert np.min(rates) > (4 / 3 if name == "fourth_order" else 1) * stiffest, name


@pytest.mark.parametrize("shape", [(6,), (5, 4), (4, 3, 2)])
def test_a_soft_mask_is_trainable(shape):
    """Finite gradients by the logits of a sigmoid, as finite differences have them."""
    x, direction = random_lattice(2, *shape), random_lattice(*shape, seed=3)
    logits = random_lattice(*shape, seed=4)
    wall = Boundary("flux", 0.5), Boundary("value", -0.2)
    grid = Grid(shape, 0.5, (wall,) + ("circular",) * (len(shape) - 1))

    def total(logits):
        inside = masked(grid, jax.nn.sigmoid(logits))
        operators = every_operator(inside)
        operators["wide"] = laplacians(inside, kernel_scale=1.2)["isotropic"]
        if grid.ndim > 1:
            # What differs from one axis; compiling all of it takes long.
            some = "isotropic", "sobel", "flux"
            operators = {name: operators[name] for name in some}
        return sum(jnp.sum(operator(x) ** 2) for operator in operators.values())

    step = 1e-5
    both = jnp.stack([logits + step * direction, logits - step * direction])
    upper, lower = jax.jit(jax.vmap(total))(both)
    slope = np.sum(jax.jit(jax.grad(total))(logits) * direction)
    np.testing.assert_allclose(slope, (upper - lower) / (2 * step), rtol=1e-7)


def test_each_trajectory_has_its_own_mask_and_moment_on_every_device():
    grid = Grid((5, 4), 0.5, (Boundary("flux", (0.0, 1.0), (0.0, 1.0)), "circular"))
    x, times = random_lattice(4, 5, 4), np.array([0.0, 0.5, 0.75, 2.0])
    masks = np.stack([random_mask((5, 4)), np.ones((5, 4)), np.eye(5, 4), 1 - np.eye(5, 4)])
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    split, whole = PartitionSpec("data"), PartitionSpec()

    def change(x, forcing):
        now = grid.under(forcing)
        wind = jnp.stack([jnp.cos(x), jnp.sin(x)])
        return stencils.laplacian(x, now, "isotropic") - fluxes.advection(x, wind, now, "upwind")

    def loss(scale, x, forcing):
        changes = jax.vmap(change)(scale * x, forcing)
        return jax.lax.psum(jnp.sum(changes**2), "data"), changes

    sharded = jax.shard_map(
        jax.value_and_grad(loss, has_aux=True),
        mesh=mesh,
        in_specs=(whole, split, split),
        out_specs=((whole, split), whole),
        check_vma=True,
    )
    (_, values), slope = jax.jit(sharded)(1.0, x, Forcing(time=times, mask=masks))

    def one_by_one(scale):
        forcings = [Forcing(time=time, mask=mask) for time, mask in zip(times, masks, strict=True)]
        changes = jnp.stack([change(scale * x, f) for x, f in zip(x, forcings, strict=True)])
        return jnp.sum(changes**2), changes

    (_, expected), expected_slope = jax.jit(jax.value_and_grad(one_by_one, has_aux=True))(1.0)
    np.testing.assert_allclose(values, expected, atol=1e-12)
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_precision_of_the_state_is_kept(dtype):
    x = jax.ShapeDtypeStruct((5, 4), dtype)
    mask = np.ones((5, 4), np.float32)
    grid = Grid((5, 4), 0.5, Boundary("flux", (0.0, 1.0), (0.0, 1.0)))
    operators = every_operator(grid.under(Forcing(time=jnp.float32(0.5), mask=mask)))
    del operators["norm"]
    for name, operator in operators.items():
        assert jax.eval_shape(operator, x).dtype == dtype, name
