import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.grid.stencils import laplacian
from diffpattern.solvers import adaptive

START = np.array([0.1, 0.5, 0.9])


IMPLICIT = ("kencarp3", "kvaerno3")


def solve(name="tsit5", duration=4.0, tolerance=1e-6, max_steps=256, rate=1.0):
    return adaptive.solve(
        name,
        lambda x, _: rate * x * (1.0 - x),
        jnp.asarray(START),
        duration,
        relative_tolerance=tolerance,
        absolute_tolerance=1e-3 * tolerance,
        max_steps=max_steps,
    )


def exact(duration, rate=1.0):
    return 1 / (1 + (1 / START - 1) * jnp.exp(-rate * duration))


@pytest.mark.parametrize("name", ["tsit5", "dopri5", "heun"])
def test_the_error_follows_the_tolerance(name):
    errors = [
        float(jnp.abs(solve(name, tolerance=tolerance) - exact(4.0)).max())
        for tolerance in (1e-2, 1e-4)
    ]
    assert errors[0] < 1e-2 and errors[1] < 1e-3
    assert errors[1] < errors[0] / 5


def test_steps_are_as_many_as_it_takes():
    evaluations = []

    def count(tolerance):
        evaluations.clear()

        def right_hand_side(x, _):
            jax.debug.callback(lambda: evaluations.append(1))
            return x * (1.0 - x)

        result = adaptive.solve(
            "tsit5",
            right_hand_side,
            jnp.asarray(START),
            4.0,
            relative_tolerance=tolerance,
            absolute_tolerance=tolerance,
            max_steps=256,
        )
        jax.block_until_ready(result)
        jax.effects_barrier()
        return len(evaluations)

    assert count(1e-9) > 2 * count(1e-3)


def test_gradients_are_those_of_the_exact_solution():
    accurate = lambda rate: solve(tolerance=1e-7, max_steps=64, rate=rate)
    truth = jax.jacfwd(lambda rate: exact(4.0, rate))(1.3)
    np.testing.assert_allclose(jax.jacfwd(accurate)(1.3), truth, rtol=1e-5)
    np.testing.assert_allclose(jax.jacrev(accurate)(1.3), truth, rtol=1e-5)


def test_too_few_steps_give_no_finite_result_and_no_finite_gradient():
    loss = lambda rate, steps: jnp.sum(solve(max_steps=steps, rate=rate) ** 2)
    assert np.isfinite(loss(1.0, 64))
    assert np.isnan(jax.value_and_grad(loss)(1.0, 3)).all()


@pytest.mark.parametrize("name", ["euler", "rk4"])
def test_a_solver_without_error_estimate_is_refused(name):
    with pytest.raises(InputError, match=f"solver.name is {name!r}.*tsit5, dopri5, dopri8, heun"):
        solve(name)


@pytest.mark.parametrize("name", adaptive.NAMES)
def test_the_right_hand_side_is_told_the_time(name):
    result = adaptive.solve(
        name,
        lambda x, elapsed: -x * jnp.sin(3 * elapsed),  # x(t) = x(0) exp((cos 3t - 1) / 3)
        jnp.ones(1),
        1.0,
        relative_tolerance=1e-5,
        absolute_tolerance=1e-7,
        max_steps=512,
    )
    np.testing.assert_allclose(result, np.exp((np.cos(3.0) - 1) / 3), rtol=2e-4)


# Gray-Scott on 24 cells of 1/8: diffusion damps the shortest wave at 25 per unit of time, so that
# an explicit solver needs some 70 steps for what an implicit one does in 16.
GRID = Grid(24, 1 / 8, "symmetric")
DURATION, STEPS = 8.0, 16


def stiff(name, diffusion, max_steps=STEPS, tolerance=1e-2):
    start = jnp.stack([1.0 - 0.5 * jnp.cos(jnp.linspace(0, 3, 24)) ** 2] * 2) - jnp.array(
        [[0], [0.4]]
    )
    decay = jnp.array([[0.06], [0.12]])

    def right_hand_side(x, _):
        conversion = x[0] * x[1] ** 2
        reaction = jnp.stack([0.06 - conversion, conversion]) - decay * x
        return diffusion[:, None] * laplacian(x, GRID) + reaction

    return adaptive.solve(
        name,
        right_hand_side,
        start,
        DURATION,
        relative_tolerance=tolerance,
        absolute_tolerance=0.1 * tolerance,
        max_steps=max_steps,
    )


DIFFUSION = np.array([0.1, 0.05])


@pytest.fixture(scope="module")
def truth():
    """The stiff problem's solution by many explicit steps, and its derivatives."""
    with jax.enable_x64(True):
        solution = functools.partial(stiff, "dopri5", max_steps=256, tolerance=1e-6)
        return jax.jit(lambda d: (solution(d), jax.jacfwd(solution)(d)))(DIFFUSION)


def test_explicit_solvers_fail_at_a_stiff_problem_with_few_steps():
    assert np.isnan(jax.jit(functools.partial(stiff, "tsit5"))(DIFFUSION)).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", IMPLICIT)
def test_implicit_solvers_solve_a_stiff_problem_and_are_differentiable_both_ways(name, truth):
    solution, slopes = truth

    @jax.jit
    def solve(diffusion):
        after, pull_back = jax.vjp(functools.partial(stiff, name), diffusion)
        return after, pull_back(after)[0]

    after, pulled_back = solve(DIFFUSION)
    np.testing.assert_allclose(after, solution, atol=5e-4)
    expected = jnp.tensordot(solution, slopes, 2)
    np.testing.assert_allclose(pulled_back, expected, atol=0.04)
    pushed = jax.jit(jax.jacfwd(functools.partial(stiff, name)))(DIFFUSION)
    np.testing.assert_allclose(jnp.tensordot(after, pushed, 2), pulled_back, rtol=1e-3)


@pytest.mark.parametrize("name", IMPLICIT)
def test_implicit_solvers_are_refused_on_a_mesh_and_on_a_large_lattice(name):
    adaptive.require_possible(name, (2, 32, 32), 1)
    adaptive.require_possible("tsit5", (32, 64, 64), 8)
    with pytest.raises(InputError, match=f"{name!r}.*one device.*mesh has 8.*mesh.data"):
        adaptive.require_possible(name, (2, 32, 32), 8)
    with pytest.raises(InputError, match=f"{name!r}.* 65536 MiB .* 131072 numbers.*4096 at most"):
        adaptive.require_possible(name, (32, 64, 64), 1)
