import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from diffpattern.errors import InputError
from diffpattern.grid import stencils
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Boundary, Grid
from diffpattern.grid.stencils import GRADIENT_SCHEMES, LAPLACIANS

SPACINGS = {1: (0.5,), 2: (0.5, 0.8), 3: (0.5, 0.8, 1.25)}


def together(calls):
    """Evaluates {name: (operator, array)} as one program, because compiling takes the time."""
    arrays = {name: x for name, (_, x) in calls.items()}

    def program(arrays):
        return {name: operator(arrays[name]) for name, (operator, _) in calls.items()}

    return jax.tree.map(np.asarray, jax.jit(program)(arrays))


def evaluate(operator, x, *arguments, **options):
    """One operator, compiled."""
    return jax.jit(lambda x: operator(x, *arguments, **options))(x)


def differential_operators(grid_of, kernel_scale=1.0):
    """Each gradient and Laplacian as {name: (operator, grid)}; `grid_of` may differ by stencil."""
    operators = {}
    for scheme in GRADIENT_SCHEMES:
        operator = partial(stencils.gradient, scheme=scheme, kernel_scale=kernel_scale)
        operators[scheme] = operator, grid_of(scheme)
    for stencil in LAPLACIANS:
        operator = partial(stencils.laplacian, stencil=stencil, kernel_scale=kernel_scale)
        operators[stencil] = operator, grid_of(stencil)
    return {name: (partial(f, grid=grid), grid) for name, (f, grid) in operators.items()}


def takes_any_spacing(stencil):
    return stencil not in ("oono_puri", "isotropic")


def random_lattice(*shape):
    return np.random.default_rng(0).normal(size=shape)


def coordinates(grid):
    """Position of every cell along each axis, [ndim, *space]."""
    lines = [h * np.arange(n) for n, h in zip(grid.shape, grid.spacing, strict=True)]
    return np.stack(np.meshgrid(*lines, indexing="ij"))


def interior(x, ndim, border):
    return np.asarray(x)[(..., *([slice(border, -border)] * ndim))]


def monomial(position, powers):
    return np.prod([p**power for p, power in zip(position, powers, strict=True)], axis=0)


def derivative(position, powers, axis, order):
    """Closed form of a monomial's derivative along one axis."""
    powers = list(powers)
    factor = 1.0
    for _ in range(order):
        factor *= powers[axis]
        powers[axis] = max(powers[axis] - 1, 0)
    return factor * monomial(position, powers)


def polynomials(grid, degree):
    """The monomials up to a total degree, their gradients and Laplacians: [K, ..., *space]."""
    position, axes = coordinates(grid), range(grid.ndim)
    exponents = itertools.product(range(degree + 1), repeat=grid.ndim)
    exponents = [powers for powers in exponents if sum(powers) <= degree]
    values = [monomial(position, powers) for powers in exponents]
    slopes = [[derivative(position, powers, axis, 1) for axis in axes] for powers in exponents]
    curvatures = [sum(derivative(position, powers, a, 2) for a in axes) for powers in exponents]
    return np.stack(values), np.stack(slopes), np.stack(curvatures)


def wave_errors(ndim, cells):
    """Largest error of each operator on a plane wave, on boxes of unequal lengths if it can."""

    def grid_of(stencil):
        lengths = (1.0, 1.5, 0.8) if takes_any_spacing(stencil) else (1.0, 1.0, 1.0)
        return Grid((cells,) * ndim, tuple(length / cells for length in lengths[:ndim]))

    operators = differential_operators(grid_of)
    calls, expected = {}, {}
    for name, (operator, grid) in operators.items():
        lengths = cells * np.array(grid.spacing)
        wavevector = 2 * np.pi * np.array([1, -1, 2])[:ndim] / lengths
        phase = np.tensordot(wavevector, coordinates(grid), axes=1)
        calls[name] = operator, np.sin(phase)
        if name in GRADIENT_SCHEMES:
            expected[name] = wavevector.reshape((-1,) + (1,) * ndim) * np.cos(phase)
        else:
            expected[name] = -np.sum(wavevector**2) * np.sin(phase)
    results = together(calls)
    return {name: np.max(np.abs(results[name] - expected[name])) for name in calls}


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_gradients_and_laplacians_converge_with_their_order(ndim):
    coarse, fine = wave_errors(ndim, 16), wave_errors(ndim, 32)
    for name in coarse:
        order = np.log2(coarse[name] / fine[name])
        expected = 4.0 if name == "fourth_order" else 2.0
        assert order == pytest.approx(expected, abs=0.15), name


@pytest.mark.parametrize(
    ("ndim", "kernel_scale", "cells", "border"),
    [(1, 1.0, 6, 2), (2, 1.0, 6, 2), (3, 1.0, 6, 2), (1, 1.2, 13, 6), (2, 1.2, 13, 6)],
)
def test_stencils_are_exact_on_polynomials(ndim, kernel_scale, cells, border):
    """Gradients on quadratics, Laplacians on cubics or quintics, averages on straight lines."""

    def grid_of(stencil):
        spacing = SPACINGS[ndim] if takes_any_spacing(stencil) else 0.5
        return Grid((cells,) * ndim, spacing, "replicate")

    def degree(name):
        if name in GRADIENT_SCHEMES:
            return 2
        return 5 if name == "fourth_order" and kernel_scale == 1 else 3

    calls, expected = {}, {}
    for name, (operator, grid) in differential_operators(grid_of, kernel_scale).items():
        values, slopes, curvatures = polynomials(grid, degree(name))
        calls[name] = operator, values
        expected[name] = slopes if name in GRADIENT_SCHEMES else curvatures
    average = partial(stencils.average, grid=grid_of("average"), kernel_scale=kernel_scale)
    lines, _, _ = polynomials(grid_of("average"), 1)
    calls["average"], expected["average"] = (average, lines), lines

    for name, result in together(calls).items():
        np.testing.assert_allclose(
            interior(result, ndim, border),
            interior(expected[name], ndim, border),
            atol=1e-13 * np.max(np.abs(calls[name][1])),
            err_msg=name,
        )


@pytest.mark.parametrize("shape", [(5,), (5, 4), (5, 4, 3)])
def test_derivatives_of_a_constant_are_exactly_zero_in_single_precision(shape):
    grid = Grid(shape, 0.7, ("circular", "symmetric", "replicate")[: len(shape)])
    x = np.full(shape, 0.1, np.float32)
    operators = differential_operators(lambda stencil: grid)
    for name, result in together({name: (f, x) for name, (f, _) in operators.items()}).items():
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, 0.0, err_msg=name)


PUBLISHED_WEIGHTS = {
    1: {
        "cross": (-2, 1),
        "oono_puri": (-2, 1),
        "isotropic": (-2, 1),
        "average": (1 / 3, 1 / 3),
    },
    2: {
        "cross": (-4, 1, 0),
        "oono_puri": (-3, 1 / 2, 1 / 4),
        "isotropic": (-10 / 3, 2 / 3, 1 / 6),
        "average": (1 / 9, 1 / 9, 1 / 9),
    },
    3: {
        "cross": (-6, 1, 0, 0),
        "oono_puri": (-40 / 11, 3 / 11, 3 / 22, 1 / 22),
        "isotropic": (-38 / 9, 4 / 9, 1 / 9, 1 / 36),
        "average": (1 / 27, 1 / 27, 1 / 27, 1 / 27),
    },
}


def impulse_responses(ndim):
    """What each operator makes of a single 1, in the 3^ndim cells around it."""
    grid = Grid((5,) * ndim)
    x = np.zeros(grid.shape)
    x[(2,) * ndim] = 1.0
    operators = differential_operators(lambda stencil: grid)
    calls = {name: (operator, x) for name, (operator, _) in operators.items()}
    calls["average"] = partial(stencils.average, grid=grid), x
    return {name: interior(result, ndim, 1) for name, result in together(calls).items()}


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_compact_stencils_have_the_published_weights(ndim):
    """Listed for the cell, its sides, its edges, its corners."""
    responses = impulse_responses(ndim)
    kind_of_neighbour = np.sum(np.abs(np.mgrid[(slice(-1, 2),) * ndim]), axis=0)
    for name, weights in PUBLISHED_WEIGHTS[ndim].items():
        expected = np.array(weights)[kind_of_neighbour]
        np.testing.assert_allclose(responses[name], expected, atol=1e-15, err_msg=name)


def test_sobel_has_the_classical_weights():
    # An impulse meets the weights reversed.
    along_x = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]]) / 8
    np.testing.assert_allclose(
        impulse_responses(2)["sobel"], np.stack([along_x.T, along_x]), atol=1e-16
    )


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_isotropic_error_is_alike_in_all_directions(ndim):
    """Symbol of the stencil: -k^2 + k^4 / 12 + O(k^6), whichever way k points."""
    weights = impulse_responses(ndim)["isotropic"].reshape(-1)
    offsets = np.mgrid[(slice(-1, 2),) * ndim].reshape(ndim, -1)
    directions = random_lattice(20, ndim)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    k = 0.1
    symbols = np.cos(k * directions @ offsets) @ weights
    np.testing.assert_allclose(symbols, -(k**2) + k**4 / 12, rtol=0, atol=k**6 / 100)


@pytest.mark.parametrize(
    ("shape", "boundary", "kernel_scale"),
    [
        ((9,), "circular", 1.0),
        ((9,), "symmetric", 1.0),
        ((7, 6), "circular", 1.0),
        ((7, 6), "symmetric", 1.0),
        ((7, 6), ("circular", "symmetric"), 2.0),
        ((4, 5, 6), ("circular", "symmetric", "symmetric"), 1.0),
    ],
)
def test_laplacians_sum_to_zero_where_nothing_leaves(shape, boundary, kernel_scale):
    ndim = len(shape)

    def grid_of(stencil):
        return Grid(shape, SPACINGS[ndim] if takes_any_spacing(stencil) else 0.5, boundary)

    x = random_lattice(2, *shape)
    operators = differential_operators(grid_of, kernel_scale)
    results = together({name: (operators[name][0], x) for name in LAPLACIANS})
    for name, result in results.items():
        assert np.max(np.abs(result)) > 0.01
        total = np.sum(result, axis=tuple(range(-ndim, 0)))
        np.testing.assert_allclose(total, 0.0, atol=1e-12, err_msg=name)


def test_laplacian_sees_the_value_at_the_wall():
    grid = Grid((3,), 0.5, Boundary("value", 2.0))
    np.testing.assert_allclose(evaluate(stencils.laplacian, np.ones(3), grid), [4.0, 0.0, 4.0])


@pytest.mark.parametrize("boundary", ["circular", "symmetric", Boundary("value", 0.5)])
def test_scalars_turn_with_the_lattice(boundary):
    grid = Grid((6, 6), 0.5, boundary)
    scalars = {"average": stencils.average}
    for scheme in GRADIENT_SCHEMES:
        scalars[scheme] = partial(stencils.gradient_norm, scheme=scheme)
    for stencil in LAPLACIANS:
        scalars[stencil] = partial(stencils.laplacian, stencil=stencil)
    scalars = {name: partial(operator, grid=grid) for name, operator in scalars.items()}
    for name in ("average", "sobel", "isotropic"):
        scalars[f"wide {name}"] = partial(scalars[name], kernel_scale=1.5)
    # Batched, so that both orientations go through one program.
    x = random_lattice(6, 6)
    both = np.stack([x, np.rot90(x)])
    for name, (straight, turned) in together({n: (f, both) for n, f in scalars.items()}).items():
        np.testing.assert_allclose(turned, np.rot90(straight), atol=1e-12, err_msg=name)


def quarter_turn(vector):
    """np.rot90 of a field of vectors (y, x): the arrows turn with the lattice."""
    y, x = np.rot90(vector, axes=(-2, -1))
    return np.stack([-x, y])


@pytest.mark.parametrize("boundary", ["circular", "zero", "symmetric", "replicate"])
def test_vectors_turn_with_the_lattice(boundary):
    grid = Grid((6, 6), 0.5, boundary)
    x, vector = random_lattice(6, 6), random_lattice(2, 6, 6)
    scalars = np.stack([x, np.rot90(x)])
    vectors = np.stack([vector, quarter_turn(vector)])
    results = together(
        {
            "central": (partial(stencils.gradient, grid=grid), scalars),
            "sobel": (partial(stencils.gradient, grid=grid, scheme="sobel"), scalars),
            "divergence": (partial(stencils.divergence, grid=grid), vectors),
            "curl": (partial(stencils.curl, grid=grid), vectors),
        }
    )
    for name, (straight, turned) in results.items():
        turn = quarter_turn if name in GRADIENT_SCHEMES else np.rot90
        np.testing.assert_allclose(turned, turn(straight), atol=1e-13, err_msg=name)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_divergence_is_the_trace_of_a_linear_flow(ndim):
    grid = Grid((6,) * ndim, SPACINGS[ndim], "replicate")
    matrix = random_lattice(ndim, ndim)
    flow = np.tensordot(matrix, coordinates(grid), axes=1)
    result = evaluate(stencils.divergence, flow, grid)
    np.testing.assert_allclose(interior(result, ndim, 1), np.trace(matrix), atol=1e-12)


def test_curl_is_twice_the_rate_of_a_rigid_rotation():
    # Counter-clockwise in the frame (x, y): v_y = x, v_x = -y.
    grid = Grid((6, 7), (0.5, 0.8), "replicate")
    y, x = coordinates(grid)
    result = evaluate(stencils.curl, np.stack([x, -y]), grid)
    np.testing.assert_allclose(interior(result, 2, 1), 2.0, atol=1e-12)


def test_curl_in_three_dimensions_is_that_of_a_right_handed_frame():
    grid = Grid((6, 6, 6), (0.5, 0.8, 1.25), "replicate")
    rate = np.array([1.0, 2.0, 3.0])
    z, y, x = coordinates(grid)
    flow_xyz = np.cross(rate, np.stack([x, y, z], axis=-1))
    flow = np.moveaxis(flow_xyz[..., ::-1], -1, 0)
    result = interior(evaluate(stencils.curl, flow, grid), 3, 1)
    for component, expected in zip(result, 2 * rate[::-1], strict=True):
        np.testing.assert_allclose(component, expected, atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 7), (5, 6, 4)])
def test_vector_identities_hold_on_a_torus(shape):
    ndim = len(shape)
    grid = Grid(shape, SPACINGS[ndim])

    def curl_of_gradient(x):
        return stencils.curl(stencils.gradient(x, grid), grid)

    def divergence_of_curl(vector):
        return stencils.divergence(stencils.curl(vector, grid), grid)

    calls = {"curl of gradient": (curl_of_gradient, random_lattice(2, *shape))}
    if ndim == 3:
        calls["divergence of curl"] = divergence_of_curl, random_lattice(3, *shape)
    for name, result in together(calls).items():
        np.testing.assert_allclose(result, 0.0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("shape", "boundary"),
    [
        ((9,), "circular"),
        ((9,), "symmetric"),
        ((7, 6), ("circular", "symmetric")),
        ((4, 5, 6), ("symmetric", "circular", "symmetric")),
    ],
)
def test_divergence_sums_to_zero_where_nothing_leaves(shape, boundary):
    ndim = len(shape)
    grid = Grid(shape, SPACINGS[ndim], boundary)
    vector = random_lattice(2, ndim, *grid.shape)
    result = evaluate(stencils.divergence, vector, grid)
    assert np.max(np.abs(result)) > 0.1
    np.testing.assert_allclose(np.sum(result, axis=tuple(range(-ndim, 0))), 0.0, atol=1e-12)


def test_divergence_and_curl_converge_with_second_order():
    def errors(cells):
        grid = Grid((cells, cells), (1 / cells, 1.5 / cells))
        y, x = coordinates(grid)
        a, b = 2 * np.pi, 2 * np.pi / 1.5
        flow = np.stack([np.sin(a * y) * np.cos(b * x), np.sin(b * x) * np.cos(a * y)])
        results = together(
            {
                "divergence": (partial(stencils.divergence, grid=grid), flow),
                "curl": (partial(stencils.curl, grid=grid), flow),
            }
        )
        divergence = (a + b) * np.cos(a * y) * np.cos(b * x)
        curl = (a - b) * np.sin(a * y) * np.sin(b * x)
        return np.array(
            [
                np.max(np.abs(results["divergence"] - divergence)),
                np.max(np.abs(results["curl"] - curl)),
            ]
        )

    np.testing.assert_allclose(np.log2(errors(16) / errors(32)), 2.0, atol=0.1)


def test_gradient_norm_is_the_length_of_the_gradient():
    grid = Grid((8, 8), (0.5, 0.8), "replicate")
    y, x = coordinates(grid)
    norm = evaluate(stencils.gradient_norm, 3 * y - 4 * x, grid)
    np.testing.assert_allclose(interior(norm, 2, 1), 5.0, rtol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "kernel_scale"), [(np.float32, 1.0), (np.float64, 1.0), (np.float32, 2.0)]
)
def test_gradient_norm_has_finite_gradients_where_the_lattice_is_flat(dtype, kernel_scale):
    grid = Grid((6, 6))

    def total(x):
        return jnp.sum(stencils.gradient_norm(x, grid, kernel_scale=kernel_scale))

    flat = np.full(grid.shape, 0.3, dtype)
    partly_flat = flat.copy()
    partly_flat[2, 2] = 1.0

    @jax.jit
    def derivatives(x):
        return jax.grad(total)(x), jax.jvp(total, (x,), (jnp.asarray(partly_flat),))[1]

    if kernel_scale == 1:
        for values in derivatives(flat):
            np.testing.assert_array_equal(values, 0.0)
    assert all(np.all(np.isfinite(values)) for values in derivatives(flat))
    assert all(np.all(np.isfinite(values)) for values in derivatives(partly_flat))
    assert np.any(derivatives(partly_flat)[0] != 0)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_the_wide_average_is_a_gaussian(ndim):
    scale = 2.0
    cells = 15
    x = np.zeros((cells,) * ndim)
    x[(cells // 2,) * ndim] = 1.0
    blurred = evaluate(stencils.average, x, Grid(x.shape), kernel_scale=scale)
    distance = np.arange(cells) - cells // 2
    line = np.where(np.abs(distance) <= 3 * scale, np.exp(-0.5 * (distance / scale) ** 2), 0.0)
    line /= line.sum()
    expected = line
    for _ in range(ndim - 1):
        expected = np.multiply.outer(expected, line)
    np.testing.assert_allclose(blurred, expected, atol=1e-15)


def test_wide_derivatives_damp_a_wave_as_a_gaussian_does():
    scale, cells = 3.0, 48
    grid = Grid((cells, cells), 0.5)
    wavevector = 2 * np.pi / (cells * 0.5) * np.array([2.0, 1.0])
    phase = np.tensordot(wavevector, coordinates(grid), axes=1)
    damping = np.exp(-0.5 * np.sum(wavevector**2) * (scale * 0.5) ** 2)
    slope = evaluate(stencils.gradient, np.sin(phase), grid, kernel_scale=scale)
    curvature = evaluate(stencils.laplacian, np.sin(phase), grid, kernel_scale=scale)
    expected = damping * wavevector[:, None, None] * np.cos(phase)
    np.testing.assert_allclose(slope, expected, atol=0.03 * np.max(expected))
    expected = -damping * np.sum(wavevector**2) * np.sin(phase)
    np.testing.assert_allclose(curvature, expected, atol=0.03 * np.max(expected))


def test_a_wide_kernel_may_be_wider_than_the_lattice():
    grid = Grid((4, 5), boundary="symmetric")
    blurred = evaluate(stencils.average, random_lattice(4, 5), grid, kernel_scale=9.0)
    np.testing.assert_allclose(blurred, np.mean(random_lattice(4, 5)), atol=0.01)


OPERATORS = {
    "identity": stencils.identity,
    "average": stencils.average,
    "gaussian": lambda x, grid: stencils.average(x, grid, kernel_scale=1.5),
    "central": stencils.gradient,
    "sobel": lambda x, grid: stencils.gradient(x, grid, "sobel"),
    "norm": stencils.gradient_norm,
    "divergence": lambda x, grid: stencils.divergence(jnp.stack([x, x * x], -3), grid),
    "curl": lambda x, grid: stencils.curl(jnp.stack([x, x * x], -3), grid),
    "flux": lambda x, grid: stencils.flux_divergence(x * x, x, grid),
    "upwind": lambda x, grid: stencils.advection(x, jnp.stack([x, x * x], -3), grid, "upwind"),
} | {name: lambda x, grid, name=name: stencils.laplacian(x, grid, name) for name in LAPLACIANS}


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_differentiates_and_batches(name):
    grid = Grid((5, 4), 0.5, ("symmetric", Boundary("value", 0.5)))
    x, direction = random_lattice(2, 3, 5, 4)
    step = 1e-6

    def operator(x):
        return OPERATORS[name](x, grid)

    @jax.jit
    def derivatives(x, direction):
        difference = operator(x + step * direction) - operator(x - step * direction)
        value, tangent = jax.jvp(operator, (x,), (direction,))
        weights = jnp.cos(jnp.arange(value.size)).reshape(value.shape)
        cotangent = jax.grad(lambda x: jnp.sum(weights * operator(x)))(x)
        products = jnp.sum(cotangent * direction), jnp.sum(weights * tangent)
        return value, jax.vmap(operator)(x), tangent, difference / (2 * step), products

    value, one_by_one, tangent, difference, products = derivatives(x, direction)
    np.testing.assert_allclose(value, one_by_one, atol=1e-12)
    np.testing.assert_allclose(tangent, difference, atol=1e-6)
    np.testing.assert_allclose(*products, rtol=1e-10)


@pytest.mark.slow
def test_every_operator_works_inside_shard_map():
    grid = Grid((5, 4), 0.5, ("symmetric", Boundary("value", 0.5)))
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    split, whole = PartitionSpec("data"), PartitionSpec()

    def loss(scale, x):
        values = {name: operator(scale * x, grid) for name, operator in OPERATORS.items()}
        return sum(jnp.sum(value**2) for value in values.values()), values

    def sharded_loss(scale, x):
        total, values = loss(scale, x)
        return jax.lax.psum(total, "data"), values

    def sharded(scale, x):
        return jax.value_and_grad(sharded_loss, has_aux=True)(scale, x)

    x = random_lattice(2, 5, 4)
    (_, values), gradient = jax.jit(
        jax.shard_map(
            sharded,
            mesh=mesh,
            in_specs=(whole, split),
            out_specs=((whole, split), whole),
            check_vma=True,
        )
    )(1.0, x)
    (_, expected), expected_gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(1.0, x)
    for name, value in expected.items():
        np.testing.assert_allclose(values[name], value, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("cuts", [(2, 4), (8, 1)], ids=str)
def test_every_operator_on_blocks_is_that_of_the_whole_lattice(cuts):
    """Between walls that change in time, and in a mask."""
    inflow = Boundary("flux", (0.4, -0.2, 1.0), (0.0, 1.0, 2.0))
    walls = (inflow, Boundary("value", (0.0, 1.0), (0.0, 2.0))), ("symmetric", "replicate")
    grid = Grid((16, 24), 0.5, walls)
    block = grid.block(dict(zip(("rows", "columns"), cuts, strict=True)))
    mesh = jax.make_mesh(cuts, ("rows", "columns"), axis_types=(AxisType.Auto,) * 2)
    x = random_lattice(2, 16, 24)
    mask = np.random.default_rng(1).uniform(size=(16, 24)).round(1)

    def values(grid):
        def of(x, mask):
            now = grid.under(Forcing(time=jnp.asarray(1.3), mask=mask))
            return {name: operator(x, now) for name, operator in OPERATORS.items()}

        return of

    whole = jax.jit(values(grid))(x, mask)
    specs = PartitionSpec(None, "rows", "columns"), PartitionSpec("rows", "columns")
    # Gradients have a further axis before those of space.
    found = jax.jit(
        jax.shard_map(
            values(block),
            mesh=mesh,
            in_specs=specs,
            out_specs={
                name: PartitionSpec(*[None] * (value.ndim - 2), "rows", "columns")
                for name, value in whole.items()
            },
        )
    )(x, mask)
    for name, value in whole.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-12, err_msg=name)


def test_identity_is_the_lattice_itself():
    x = jnp.asarray(random_lattice(3, 4, 4))
    assert stencils.identity(x, Grid((4, 4))) is x


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (lambda x, g: stencils.gradient(x, g, "scharr"), "gradient scheme is 'scharr'"),
        (lambda x, g: stencils.laplacian(x, g, "5-point"), "'5-point'.*cross, oono_puri"),
        (
            lambda x, g: stencils.laplacian(x, Grid((4, 5), (1, 2)), "oono_puri"),
            r"'oono_puri' needs one spacing.*\(1.0, 2.0\)",
        ),
        (
            lambda x, g: stencils.laplacian(x, Grid((4, 5), (1, 2)), "isotropic"),
            "'isotropic' needs one spacing",
        ),
        (lambda x, g: stencils.average(x, g, kernel_scale=0.5), "kernel_scale is 0.5"),
        (lambda x, g: stencils.laplacian(x, g, kernel_scale=float("nan")), "kernel_scale is nan"),
        (lambda x, g: stencils.curl(x[0, :1], Grid((5,))), "2 or 3 axes, but this one has 1"),
        (lambda x, g: stencils.curl(np.zeros((3, 4, 5)), g), r"vector has shape \(3, 4, 5\)"),
        (lambda x, g: stencils.divergence(x[0], g), r"must be \[..., 2, 4, 5\]"),
        (lambda x, g: stencils.identity(np.moveaxis(x, 0, -1), g), "its last axes"),
        (lambda x, g: stencils.laplacian(np.moveaxis(x, 0, -1), g), "its last axes"),
    ],
)
def test_what_has_no_meaning_is_refused(call, found):
    with pytest.raises(InputError, match=found):
        call(random_lattice(2, 4, 5), Grid((4, 5)))
