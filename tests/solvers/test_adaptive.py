import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.solvers import adaptive

START = np.array([0.1, 0.5, 0.9])


def solve(name="tsit5", duration=4.0, tolerance=1e-6, max_steps=256, rate=1.0):
    return adaptive.solve(
        name,
        lambda x: rate * x * (1.0 - x),
        jnp.asarray(START),
        duration,
        relative_tolerance=tolerance,
        absolute_tolerance=1e-3 * tolerance,
        max_steps=max_steps,
    )


def exact(duration, rate=1.0):
    return 1 / (1 + (1 / START - 1) * jnp.exp(-rate * duration))


@pytest.mark.parametrize("name", adaptive.NAMES)
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

        def right_hand_side(x):
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
    with pytest.raises(InputError, match=f"model.rda.solver is {name!r}.*tsit5, dopri5, heun"):
        solve(name)
