import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffpattern.training.quasi_newton import lbfgs

pytestmark = pytest.mark.usefixtures("quick_compilation")

CURVATURE = jnp.array([1.0, 10.0, 100.0])


def valley(x, step):
    """Rosenbrock's, at every step the same; its lowest point, 0, is where all numbers are 1."""
    return jnp.sum((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2)


def bowl(x, step):
    """As far from one step to the next as other windows of data would move it."""
    centre = jax.random.normal(jax.random.fold_in(jax.random.key(0), step), (3,))
    return jnp.sum(CURVATURE * (x - centre) ** 2) / 2


def cliff(x, step):
    """At the fourth step a rule that diverges wherever a search looks."""
    return jnp.sum(CURVATURE * x**2) / 2


def hill(x, step):
    return -jnp.sum(x**2)


LOSSES = (valley, bowl, cliff, hill)


@functools.cache
def compiled(optimiser):
    """A step of (parameters, state, step, which loss); one program for all losses, as compiling a
    search takes seconds."""

    def value(x, step, which):
        return jnp.select(
            [which == index for index in range(len(LOSSES))], [f(x, step) for f in LOSSES]
        )

    def searched(x, step, which):
        off = (which == LOSSES.index(cliff)) & (step == 3)
        return jnp.where(off, jnp.nan, value(x, step, which))

    @jax.jit
    def advance(x, state, step, which):
        loss, gradient = jax.value_and_grad(value)(x, step, which)
        function = lambda trial: searched(trial, step, which)
        updates, state = optimiser.update(
            gradient, state, x, value=loss, grad=gradient, value_fn=function
        )
        return optax.apply_updates(x, updates), state

    return advance


OURS, OPTAX = lbfgs(5, 20), optax.lbfgs(memory_size=5)


def minimise(loss, start, steps, optimiser=OURS):
    """Parameters [steps, 3] and states after each step."""
    x, state, history = jnp.array(start), optimiser.init(jnp.array(start)), []
    for step in range(steps):
        x, state = compiled(optimiser)(x, state, step, LOSSES.index(loss))
        history.append((x, state))
    parameters, states = zip(*history, strict=True)
    return np.array(parameters), states


def test_it_finds_the_lowest_point_of_a_curved_valley():
    x, _ = minimise(valley, [-1.2, 1.0, 2.0], 80)
    losses = [float(valley(at, 0)) for at in x]
    assert losses == sorted(losses, reverse=True) and losses[0] > 1
    np.testing.assert_allclose(x[-1], 1.0, atol=1e-3)


def test_while_the_loss_stays_the_same_it_goes_the_way_of_optax():
    ours, theirs = (minimise(valley, [-1.2, 1.0, 2.0], 12, by)[0] for by in (OURS, OPTAX))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)


def test_pairs_hold_the_curvature_also_where_each_step_has_windows_of_its_own():
    pairs = {}
    for optimiser in (OURS, OPTAX):
        last = minimise(bowl, [0.0, 0.0, 0.0], 8, optimiser)[1][-1][0]
        pairs[optimiser] = last.diff_params_memory, last.diff_updates_memory
    moved, turned = pairs[OURS]
    assert (jnp.linalg.norm(moved, axis=1) > 0.1).all()
    np.testing.assert_allclose(turned, CURVATURE * moved, rtol=1e-3, atol=1e-3)
    # Optax's own are of two losses each.
    moved, turned = pairs[OPTAX]
    assert not np.allclose(turned, CURVATURE * moved, rtol=0.3, atol=0.3)


def test_once_it_knows_the_curvature_a_step_goes_far_down_a_new_bowl():
    x, _ = minimise(bowl, [0.0, 0.0, 0.0], 14)
    left = [float(bowl(x[step], step) / bowl(x[step - 1], step)) for step in range(8, 14)]
    assert np.median(left) < 0.02


def steps_since_it_began(states):
    return [int(state[0].count) for state in states]


def test_a_search_that_finds_nothing_better_makes_no_step_and_the_next_begins_anew():
    x, states = minimise(cliff, [1.0, 1.0, 1.0], 6)
    np.testing.assert_array_equal(x[3], x[2])
    assert steps_since_it_began(states) == [1, 2, 3, 4, 1, 2]
    assert cliff(x[5], 5) < cliff(x[4], 4) < cliff(x[3], 3)


def test_it_begins_anew_after_a_pair_without_positive_curvature():
    x, states = minimise(hill, [0.1, 0.2, 0.0], 3)
    assert steps_since_it_began(states) == [1, 1, 1]
    # Downhill all the same.
    assert np.isfinite(x).all() and hill(x[2], 2) < hill(x[1], 1) < hill(x[0], 0)
