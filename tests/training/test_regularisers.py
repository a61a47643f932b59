import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.training import regularisers

pytestmark = pytest.mark.usefixtures("quick_compilation")

STATES = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 4, 4, 3)), jnp.float32)


def test_out_of_range_sees_how_far_and_is_blind_within():
    assert regularisers.out_of_range(STATES) == 0.0
    assert regularisers.out_of_range(jnp.array([0.0, 1.0])) == 0.0
    # One number of 96 lies 2 above, or 2 below; hidden channels count as data do.
    for value in (3.0, -2.0):
        assert regularisers.out_of_range(STATES.at[1, 2, 3, 2].set(value)) == pytest.approx(2 / 96)
    # A pull towards the range, as strong from far as from near, and none within.
    pull = jax.grad(regularisers.out_of_range)(jnp.array([1.5, 100.0, -1.0, 0.5]))
    np.testing.assert_allclose(pull, [0.25, 0.25, -0.25, 0.0])


def test_outside_sees_what_lies_outside_of_the_mask_alone():
    mask = jnp.ones((4, 4)).at[0, 0].set(0.0)
    assert regularisers.outside(STATES.at[:, 0, 0].set(0.0), mask) == 0.0
    # Of 96 numbers 6 lie outside.
    assert regularisers.outside(STATES.at[:, 0, 0].set(3.0), mask) == pytest.approx(9 * 6 / 96)
    assert regularisers.outside(STATES, jnp.ones((4, 4))) == 0.0


def test_coverage_is_the_mean_of_the_mask():
    assert regularisers.coverage(jnp.array([[1.0, 0.5], [0.0, 0.5]])) == 0.5


def test_sparsity_is_the_mean_of_absolute_parameters_and_pulls_on_all_alike():
    parameters = {"a": jnp.array([1.0, -3.0]), "b": {"c": jnp.array([[0.5], [1e-3], [0.0]])}}
    assert regularisers.sparsity(parameters) == pytest.approx(4.501 / 5)
    pull = jax.grad(regularisers.sparsity)(parameters)
    np.testing.assert_allclose(pull["a"], [0.2, -0.2], rtol=1e-6)
    np.testing.assert_allclose(pull["b"]["c"][:2], [[0.2], [0.2]], rtol=1e-6)
    # Blind to who has what.
    swapped = {"a": jnp.array([2.0, 2.0]), "b": {"c": jnp.array([[0.0], [0.501], [0.0]])}}
    assert regularisers.sparsity(swapped) == pytest.approx(4.501 / 5)
