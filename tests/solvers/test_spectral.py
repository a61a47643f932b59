import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.grid.stencils import LAPLACIANS, laplacian
from diffpattern.parallel.mesh import DATA, make_mesh
from diffpattern.solvers import explicit, spectral
from diffpattern.systems import GrayScott

GRIDS = {
    "torus 1D": Grid(9, 0.5),
    "walls 1D": Grid(8, 0.5, "symmetric"),
    "torus 2D": Grid((6, 7), 0.7),
    "walls 2D": Grid((5, 6), 0.7, "symmetric"),
    "rows walls": Grid((6, 8), 0.7, ("symmetric", "circular")),
    "columns walls": Grid((6, 7), 0.7, ("circular", "symmetric")),
    "oblong cells": Grid((6, 8), (0.5, 0.9), ("symmetric", "circular")),
    "torus 3D": Grid((4, 5, 6), 0.7),
    "mixed 3D": Grid((4, 6, 5), 0.7, ("circular", "symmetric", "circular")),
    "smaller than the stencil": Grid((2, 3), 0.7, ("symmetric", "circular")),
}
ORDERS = {"etdrk2": 2, "etdrk4": 4}
all_grids = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)


def stencils_on(grid):
    """Compact stencils have no meaning where the spacing differs."""
    return LAPLACIANS if len(set(grid.spacing)) == 1 else ("cross", "fourth_order")


def noise(grid, channels=2, seed=0):
    return np.random.default_rng(seed).normal(size=(channels, *grid.shape))


def integrate(name, rates, transform, remainder, x, duration, count):
    """`remainder(x, t)`, with t counted from the start of the integration."""
    dt = duration / count
    coefficients = spectral.coefficients(name, rates, dt)

    def one(x, n):
        here = lambda x, elapsed: remainder(x, n * dt + elapsed)
        return spectral.step(coefficients, transform, here, x), None

    return jax.lax.scan(one, x, jnp.arange(count))[0]


# --- phi functions --------------------------------------------------------------------------------


def phi_reference(k, z):
    """phi_k in extended precision: the power series at z / 2^n, then doubled n times."""
    z = np.longdouble(z)
    halvings = max(0, math.ceil(math.log2(max(abs(float(z)), 1e-300))) + 1)
    small = z / np.longdouble(2) ** halvings
    phis = [
        sum(small**n / np.longdouble(math.factorial(n + j)) for n in range(25)) for j in range(4)
    ]
    for _ in range(halvings):
        # phi_j(2 z) = 2^-j (phi_0(z) phi_j(z) + sum_{i=1..j} phi_i(z) / (j - i)!), Higham 2008.
        phis = [phis[0] ** 2] + [
            (phis[0] * phis[j] + sum(phis[i] / math.factorial(j - i) for i in range(1, j + 1)))
            / np.longdouble(2) ** j
            for j in range(1, 4)
        ]
    return phis[k]


POINTS = np.concatenate(
    [s * np.array([1e-8, 1e-3, 0.1, 0.9, 1.0, 1.1, 1.9, 1.999, 2.001, 2.5, 7, 30]) for s in (-1, 1)]
    + [[0.0, -100, -1e4, -1e6]]
)
SUMS = [(1,), (1, 0), (0, 1), (1, -1), (1, -3, 4), (0, 2, -4), (0, -1, 4)]


@pytest.mark.parametrize("weights", SUMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_of_phi_functions_are_accurate_to_rounding(weights, dtype):
    points = POINTS.astype(dtype)
    truth = [sum(w * phi_reference(k, z) for k, w in enumerate(weights, 1)) for z in points]
    computed = spectral.phi_sums([weights], jnp.asarray(points))[0]
    assert computed.dtype == dtype
    # phi_1 is the scale: what a step multiplies a constant remainder by.
    scale = np.array([float(phi_reference(1, z)) for z in points])
    # e^z itself is off by z roundings.
    allowed = np.finfo(dtype).eps * (4 + np.maximum(points, 0)) * scale
    assert np.all(np.abs(np.asarray(computed, np.longdouble) - truth) < allowed)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_leading_terms_cancel_before_they_are_evaluated(dtype):
    # Far to the left the sum is (-4 - z) / z^3, though each of its terms is of order 1 / z.
    z = jnp.asarray([-50.0, -1e3, -1e6, -1e9], dtype)
    exact = (-4 - np.asarray(z, np.float64)) / np.asarray(z, np.float64) ** 3
    computed = np.asarray(spectral.phi_sums([(1, -3, 4)], z)[0], np.float64)
    np.testing.assert_allclose(computed, exact, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("differentiate", [jax.jacfwd, jax.jacrev])
def test_phi_functions_have_their_derivatives_at_zero_and_everywhere(k, differentiate):
    weights = (0,) * (k - 1) + (1,)
    points = np.array([0.0, 1e-6, -1.5, 1.5, -2.0, 2.0, 3.0, -8.0, -1e3, -1e20])
    slopes = jax.vmap(differentiate(lambda z: spectral.phi_sums([weights], z)[0]))(
        jnp.asarray(points)
    )
    assert slopes[0] == pytest.approx(1 / math.factorial(k + 1), rel=1e-15)
    h = 1e-6
    for z, slope in zip(points[2:-1], slopes[2:-1], strict=True):
        step = h * max(1, abs(z))
        truth = (phi_reference(k, z + step) - phi_reference(k, z - step)) / (2 * step)
        assert float(slope) == pytest.approx(float(truth), rel=1e-7)
    assert np.isfinite(slopes).all()


# --- transforms and eigenvalues ---------------------------------------------------------------


@all_grids
def test_stencils_are_diagonal_with_their_eigenvalues(grid):
    transform, x = spectral.Transform(grid), noise(grid)
    stencils = stencils_on(grid)

    @jax.jit
    def both_ways(x):
        modes = transform.forward(x)
        by_modes = [transform.inverse(transform.eigenvalues(s) * modes) for s in stencils]
        return (
            modes,
            transform.inverse(modes),
            by_modes,
            [laplacian(x, grid, s) for s in stencils],
        )

    modes, again, by_modes, by_stencils = both_ways(x)
    assert modes.shape[1:] == transform.eigenvalues("exact").shape
    np.testing.assert_allclose(again, x, atol=1e-14)
    np.testing.assert_allclose(by_modes, by_stencils, atol=2e-13)


@all_grids
def test_eigenvalues_are_zero_for_the_constant_and_never_positive(grid):
    for stencil in (*stencils_on(grid), "exact"):
        eigenvalues = spectral.Transform(grid).eigenvalues(stencil)
        assert eigenvalues.flat[0] == 0 and np.all(eigenvalues.ravel()[1:] < 0)


@pytest.mark.parametrize(("boundary", "wave"), [("circular", 4 * np.pi), ("symmetric", 3 * np.pi)])
def test_exact_eigenvalues_are_minus_the_wavenumber_squared(boundary, wave):
    grid = Grid((16, 24), (1 / 16, 1 / 8), boundary)  # a box of 1 x 3
    y, x = np.meshgrid((np.arange(16) + 0.5) / 16, (np.arange(24) + 0.5) / 8, indexing="ij")
    field = np.cos(wave * y) * np.cos(wave / 3 * 2 * x)
    transform = spectral.Transform(grid)
    curvature = lambda x: transform.inverse(transform.eigenvalues("exact") * transform.forward(x))
    computed = jax.jit(curvature)(field)
    np.testing.assert_allclose(computed, -(wave**2) * (1 + 4 / 9) * field, atol=1e-11)


def test_eigenvalues_can_be_asked_for_while_a_program_is_traced_in_single_precision():
    spectral._weights.cache_clear()
    transform = spectral.Transform(Grid((6, 8), 0.3))
    with jax.enable_x64(False):
        traced = jax.jit(lambda x: x * transform.eigenvalues("isotropic"))(jnp.float32(1.0))
        assert traced.dtype == np.float32
    spectral._weights.cache_clear()
    np.testing.assert_allclose(traced, transform.eigenvalues("isotropic"), rtol=1e-6)


def test_what_has_no_modes_is_refused_with_what_has():
    with pytest.raises(InputError, match="'replicate'.*'circular' and 'symmetric'"):
        spectral.Transform(Grid((4, 4), 1.0, ("circular", "replicate")))
    with pytest.raises(InputError, match="'nine'.*cross, .*, exact"):
        spectral.Transform(Grid((4, 4))).eigenvalues("nine")
    with pytest.raises(InputError, match="'heun'.*etdrk2, etdrk4"):
        spectral.coefficients("heun", jnp.zeros((1, 4)), 0.1)


# --- steps ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["torus 2D", "walls 1D", "rows walls"])
@pytest.mark.parametrize("stencil", ["oono_puri", "fourth_order"])
def test_one_step_of_the_heat_equation_is_exact(name, stencil):
    # With everything in the linear part, a step of any length is exp(dt D L).
    grid, diffusion, dt = GRIDS[name], np.array([0.7, 0.2]), 3.0
    transform, x, cells = spectral.Transform(grid), noise(grid), math.prod(grid.shape)
    units = np.eye(cells).reshape(cells, *grid.shape)
    matrix = np.asarray(jax.jit(lambda x: laplacian(x, grid, stencil))(units)).reshape(cells, cells)
    values, vectors = np.linalg.eigh(matrix)
    flows = [vectors * np.exp(dt * d * values) @ vectors.T for d in diffusion]
    exact = [flow @ channel.ravel() for flow, channel in zip(flows, x, strict=True)]

    @jax.jit
    def step(x):
        rates = jnp.tensordot(diffusion, transform.eigenvalues(stencil), 0)
        coefficients = spectral.coefficients("etdrk4", rates, dt)
        return spectral.step(coefficients, transform, lambda x, _: jnp.zeros_like(x), x)

    np.testing.assert_allclose(step(x).reshape(2, -1), exact, atol=1e-13)


@pytest.mark.parametrize("boundary", ["circular", "symmetric"])
def test_rounding_is_of_a_step_s_change_and_not_of_the_state(boundary):
    # Five thousand steps of slow diffusion. Taken through its modes and back each time, the mean of
    # a state in single precision wanders by 3e-5 to 6e-5 of it.
    grid = Grid((12, 16), 1.0, boundary)
    transform, x = spectral.Transform(grid), 3.0 + noise(grid)

    @jax.jit
    def solve(x):
        rates = jnp.asarray(transform.eigenvalues("cross")[None], x.dtype)
        coefficients = spectral.coefficients("etdrk2", rates, 1e-3)
        nothing = lambda x, _: jnp.zeros_like(x)
        one = lambda _, x: spectral.step(coefficients, transform, nothing, x)
        return jax.lax.fori_loop(0, 5000, one, x)

    with jax.enable_x64(False):
        single = np.asarray(solve(jnp.asarray(x, np.float32)), np.float64)
    np.testing.assert_allclose(single.mean((1, 2)), x.mean((1, 2)), rtol=5e-6)
    np.testing.assert_allclose(single, solve(jnp.asarray(x)), atol=1e-4)


@pytest.mark.parametrize("name", ORDERS)
def test_a_constant_remainder_is_integrated_exactly(name):
    transform, x = spectral.Transform(Grid(4)), np.array([[1.0, 2.0, 3.0, 4.0]])

    @jax.jit
    def step(rate):
        coefficients = spectral.coefficients(name, jnp.full((1, 3), rate), 0.5)
        return spectral.step(coefficients, transform, lambda x, _: 0 * x + 2.0, x)

    for rate in (0.0, -1e-9, -0.3, -40.0, 0.8):
        growth = np.expm1(0.5 * rate) / rate if rate else 0.5
        np.testing.assert_allclose(step(rate), np.exp(0.5 * rate) * x + 2 * growth, rtol=1e-14)


@pytest.mark.parametrize("name", ORDERS)
def test_order_of_convergence_with_a_remainder_that_depends_on_state_and_time(name):
    # x' = -3 x + N with N = 3 x + (cos t) x^2, so x(t) = 1 / (1 / x0 - sin t) for any split.
    transform, start = spectral.Transform(Grid(2)), np.array([[0.4, 0.6]])
    rates = jnp.full((1, 2), -3.0)
    remainder = lambda x, t: 3.0 * x + jnp.cos(t) * x**2
    exact = 1 / (1 / start - np.sin(1.0))
    counts = np.array([20, 40, 80])
    solve = lambda count: jax.jit(
        lambda x: integrate(name, rates, transform, remainder, x, 1.0, count)
    )(start)
    errors = np.array([np.abs(solve(int(count)) - exact).max() for count in counts])
    np.testing.assert_allclose(np.log2(errors[:-1] / errors[1:]), ORDERS[name], atol=0.35)


@pytest.mark.parametrize(
    ("name", "times"), [("etdrk2", [0.0, 1.0]), ("etdrk4", [0.0, 0.5, 0.5, 1.0])]
)
def test_remainders_are_told_the_time_of_their_stage(name, times):
    told = []

    def remainder(x, elapsed):
        told.append(float(elapsed) / 0.3)
        return x

    coefficients = spectral.coefficients(name, jnp.zeros((1, 3)), 0.3)
    spectral.step(coefficients, spectral.Transform(Grid(4)), remainder, np.ones((1, 4)))
    np.testing.assert_allclose(told, times)


def gray_scott(grid, stencil):
    """Rates of a linear part by its diffusion coefficients, and the rest of Gray-Scott."""
    system = GrayScott()
    eigenvalues = spectral.Transform(grid).eigenvalues(stencil)
    decay = np.array([system.alpha, system.alpha + system.gamma])

    def rates(diffusion):
        return jnp.tensordot(diffusion, eigenvalues, 0) - jnp.expand_dims(
            decay, range(1, 1 + grid.ndim)
        )

    def remainder(x, _):
        conversion = x[0] * x[1] ** 2
        return jnp.stack([system.alpha - conversion, conversion])

    return system, rates, remainder


DIFFUSION = np.array([0.1, 0.05])


@pytest.mark.parametrize(
    ("name", "count", "tolerance", "stencil", "boundary"),
    [
        ("etdrk2", 400, 1e-4, "oono_puri", "circular"),
        ("etdrk4", 80, 1e-6, "cross", ("circular", "symmetric")),
    ],
)
def test_gray_scott_is_that_of_an_explicit_solver(name, count, tolerance, stencil, boundary):
    grid = Grid((16, 12), 1.0, boundary)
    system, rates, remainder = gray_scott(grid, stencil)
    start = system.start(jax.random.key(3), grid).astype(float)

    @jax.jit
    def reference(x):
        f = lambda x, _: system.right_hand_side(x, grid, stencil)
        return jax.lax.fori_loop(0, 100, lambda _, x: explicit.step("tsit5", f, x, 0.4), x)

    solve = jax.jit(
        lambda x: integrate(
            name, rates(DIFFUSION), spectral.Transform(grid), remainder, x, 40.0, count
        )
    )
    after = solve(start)
    assert np.abs(after - start).max() > 0.2
    np.testing.assert_allclose(after, reference(start), atol=tolerance)


@pytest.mark.parametrize(
    ("name", "boundary"), [("etdrk2", "circular"), ("etdrk4", ("symmetric", "circular"))]
)
def test_derivatives_by_the_diffusion_coefficients(name, boundary):
    grid = Grid((8, 10), 0.5, boundary)
    system, rates, remainder = gray_scott(grid, "cross")
    start = system.start(jax.random.key(1), grid).astype(float)
    transform = spectral.Transform(grid)

    @jax.jit
    def loss(diffusion):
        after = integrate(name, rates(diffusion), transform, remainder, start, 8.0, 4)
        return jnp.sum(after**2 * jnp.arange(80.0).reshape(8, 10))

    h = 1e-5
    differences = [(loss(DIFFUSION + h * e) - loss(DIFFUSION - h * e)) / (2 * h) for e in np.eye(2)]
    for differentiate in (jax.grad, jax.jacfwd):
        slopes = jax.jit(differentiate(loss))(DIFFUSION)
        np.testing.assert_allclose(slopes, differences, rtol=1e-7)


def test_derivatives_where_all_rates_are_zero():
    # The linear part may be any share of a linear equation: x' = (r + s) x, with s = 0.4 - r left
    # in the remainder. At r = 0 only the derivatives of phi at 0 are seen.
    transform, start = spectral.Transform(Grid(4)), np.array([[1.0, 2.0, 0.5, 3.0]])

    def after(rate, name):
        rates = jnp.broadcast_to(rate, (1, 3))
        return integrate(name, rates, transform, lambda x, _: 0.4 * x, start, 1.0, 20).sum()

    for name, tolerance in (("etdrk2", 2e-3), ("etdrk4", 1e-7)):
        for differentiate in (jax.grad, jax.jacfwd):
            slope = jax.jit(differentiate(functools.partial(after, name=name)))(0.0)
            np.testing.assert_allclose(slope, np.exp(0.4) * start.sum(), rtol=tolerance)


def test_a_sharded_rollout_and_its_gradients_are_those_of_one_device():
    grid = Grid((6, 4), 0.5, ("symmetric", "circular"))
    transform = spectral.Transform(grid)
    _, rates, remainder = gray_scott(grid, "isotropic")
    starts = jax.vmap(lambda seed: GrayScott().start(jax.random.key(seed), grid))(jnp.arange(16))

    with jax.enable_x64(False):
        starts, diffusion = starts.astype(np.float32), jnp.asarray(DIFFUSION, np.float32)

        def rollout(diffusion, x):
            coefficients = spectral.coefficients("etdrk2", rates(diffusion), 4.0)

            @functools.partial(jax.checkpoint, prevent_cse=False)
            def one(x, _):
                return spectral.step(coefficients, transform, remainder, x), None

            return jax.lax.scan(one, x, length=3)[0]

        def loss(diffusion, starts):
            return jnp.sum(jax.vmap(rollout, (None, 0))(diffusion, starts)[:, 1] ** 2)

        def one_by_one(diffusion, starts):
            after = jax.lax.map(functools.partial(rollout, diffusion), starts)
            return jax.lax.psum(jnp.sum(after[:, 1] ** 2), DATA)

        def sharded(f, out):
            return jax.jit(
                jax.shard_map(
                    f,
                    mesh=make_mesh(8),
                    in_specs=(PartitionSpec(), PartitionSpec(DATA)),
                    out_specs=out,
                    check_vma=True,
                )
            )

        value, gradient = jax.jit(jax.value_and_grad(loss, (0, 1)))(diffusion, starts)
        out = (PartitionSpec(), (PartitionSpec(), PartitionSpec(DATA)))
        theirs = sharded(jax.value_and_grad(one_by_one, (0, 1)), out)(diffusion, starts)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            (value, gradient),
            theirs,
        )
        forward = sharded(jax.jacfwd(one_by_one), PartitionSpec())(diffusion, starts)
        np.testing.assert_allclose(forward, gradient[0], rtol=1e-4)
