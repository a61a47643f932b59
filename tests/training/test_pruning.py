import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffpattern.errors import InputError
from diffpattern.training.pruning import Pruning, prune, zeroed

pytestmark = pytest.mark.usefixtures("quick_compilation")

PRUNING = Pruning(sparsity=0.7, first_step=3, last_step=13)
RANDOM = np.random.default_rng(0)
PARAMETERS = {
    "diffusion": {"coefficient": jnp.array([0.1, 1e-4])},
    "network": {
        "hidden_0": {
            "kernel": jnp.asarray(RANDOM.normal(size=(3, 7)), jnp.float32),
            "bias": jnp.array([1e-3, -1e-3, 0.5]),
        },
        # Weights a hundred times as large: ranked by itself.
        "output": {"kernel": jnp.asarray(100 * RANDOM.normal(size=(2, 4, 5)), jnp.float32)},
    },
}
NOTHING = jax.tree.map(lambda x: False, PARAMETERS)


def pruned(inner, pruning=PRUNING, frozen=NOTHING):
    return prune(inner, pruning, pruning.kernels(PARAMETERS, frozen))


@functools.cache
def run(optimiser, steps=18):
    """Parameters after each step of an optimiser that is given noisy gradients."""
    state, parameters, history = optimiser.init(PARAMETERS), PARAMETERS, []
    update, random = jax.jit(optimiser.update), np.random.default_rng(1)
    for _ in range(steps):
        noise = lambda x: random.normal(size=x.shape).astype(np.float32)
        updates, state = update(jax.tree.map(noise, parameters), state, parameters)
        parameters = jax.tree.map(np.add, *jax.device_get((parameters, updates)))
        history.append(parameters)
    return history


UNPRUNED = optax.adam(0.1)
TRAINED, STILL = pruned(UNPRUNED), pruned(optax.sgd(0.0))


def test_the_share_rises_by_the_cube():
    found = [float(PRUNING.share(step)) for step in range(16)]
    expected = [0.7 * (1 - (1 - min(max(t - 3, 0) / 10, 1)) ** 3) for t in range(16)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[3] == 0 < found[4] and found[13] == pytest.approx(0.7)


def test_each_kernel_reaches_the_share_of_each_step_to_a_weight():
    history = run(TRAINED)
    for step, parameters in enumerate(history, 1):
        for layer, size in (("hidden_0", 21), ("output", 40)):
            zeros = int((parameters["network"][layer]["kernel"] == 0).sum())
            assert abs(zeros - float(PRUNING.share(step)) * size) <= 0.501
    assert int((history[-1]["network"]["output"]["kernel"] == 0).sum()) == 28


def test_what_is_pruned_stays_zero_and_the_rest_is_trained():
    history = run(TRAINED)
    zero = np.zeros((3, 7), bool)
    for parameters in history:
        now = np.asarray(parameters["network"]["hidden_0"]["kernel"]) == 0
        assert (now | ~zero).all()
        zero = now
    last, before = (history[index]["network"]["hidden_0"]["kernel"] for index in (-1, -2))
    assert (last != before)[~zero].all()


def test_the_smallest_weights_go():
    kernel = run(STILL)[-1]["network"]["hidden_0"]["kernel"]
    before = np.abs(PARAMETERS["network"]["hidden_0"]["kernel"])
    assert before[kernel == 0].max() < before[kernel != 0].min()
    np.testing.assert_array_equal(np.abs(kernel[kernel != 0]), before[kernel != 0])


def test_biases_and_coefficients_are_as_without_pruning():
    # Adam takes each array by itself, so that it shows nothing of what happens to kernels.
    with_it, without = run(TRAINED)[-1], run(UNPRUNED)[-1]
    for a, b in (
        (with_it["diffusion"]["coefficient"], without["diffusion"]["coefficient"]),
        (with_it["network"]["hidden_0"]["bias"], without["network"]["hidden_0"]["bias"]),
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5)
        assert (a != 0).all()
    assert (with_it["network"]["output"]["kernel"] != without["network"]["output"]["kernel"]).any()


def test_frozen_kernels_are_left_alone():
    frozen = NOTHING | {"network": NOTHING["network"] | {"output": {"kernel": True}}}
    last = run(pruned(optax.sgd(0.0), frozen=frozen))[-1]
    np.testing.assert_array_equal(
        last["network"]["output"]["kernel"], PARAMETERS["network"]["output"]["kernel"]
    )
    assert (last["network"]["hidden_0"]["kernel"] == 0).any()


def test_the_optimiser_within_sees_pruned_weights_as_zero_and_without_gradient():
    seen = {}

    def update(gradient, state, parameters, *, value_fn):
        del parameters
        seen["gradient"] = gradient
        seen["value"], seen["slope"] = jax.value_and_grad(value_fn)(PARAMETERS)
        return jax.tree.map(jnp.zeros_like, gradient), state

    spy = optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)
    optimiser = pruned(spy, Pruning(0.5, 0, 1))
    loss = lambda parameters: sum(jnp.sum(x**2) for x in jax.tree.leaves(parameters))
    state, gradient = optimiser.init(PARAMETERS), jax.tree.map(jnp.ones_like, PARAMETERS)
    update = functools.partial(optimiser.update, value_fn=loss)
    _, state = update(gradient, state, PARAMETERS)
    assert seen["value"] == loss(PARAMETERS)
    _, state = update(gradient, state, PARAMETERS)
    left = zeroed(PARAMETERS, state.kept)
    assert float(seen["value"]) == pytest.approx(float(loss(left)))
    zero = np.asarray(left["network"]["output"]["kernel"] == 0)
    assert zero.sum() == 20
    for slope in (seen["gradient"], seen["slope"]):
        np.testing.assert_array_equal(slope["network"]["output"]["kernel"] == 0, zero)


def test_a_rule_without_kernels_is_refused():
    with pytest.raises(InputError, match="optimiser.optax.pruning.sparsity is 0.7, .* no kernel"):
        PRUNING.kernels({"diffusion": PARAMETERS["diffusion"]}, {"diffusion": {"coefficient": 0}})


def test_a_schedule_that_ends_before_it_begins_is_refused():
    with pytest.raises(InputError, match="pruning.last_step is 3; .* first_step .3."):
        Pruning(0.5, 3, 3).kernels(PARAMETERS, NOTHING)
