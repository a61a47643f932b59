import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffpattern.errors import InputError
from diffpattern.training import optimisers
from diffpattern.training.optimisers import Chain

pytestmark = pytest.mark.usefixtures("quick_compilation")

USUAL = {
    "learning_rate": 0.1,
    "warmup_steps": 0,
    "decay_steps": 0,
    "final_fraction": 0.01,
    "clip_norm": 0.0,
    "normalise_blocks": False,
    "skip_nonfinite": 0,
}


def chain(name="sgd", **changes):
    return Chain(name, **USUAL | changes)


def updates(optimiser, gradients, parameters):
    """The updates for gradients that come one after the other."""
    state, made, step = optimiser.init(parameters), [], jax.jit(optimiser.update)
    for gradient in gradients:
        update, state = step(gradient, state, parameters)
        made.append(update)
    return made, state


PARAMETERS = {"large": jnp.array([3.0, 4.0]), "small": {"one": jnp.array([[1.0, -1.0]])}}
GRADIENT = {"large": jnp.array([300.0, 400.0]), "small": {"one": jnp.array([[0.03, -0.04]])}}
NONFINITE = GRADIENT | {"large": jnp.array([1.0, jnp.nan])}


@pytest.mark.parametrize("name", optimisers.NAMES)
def test_every_rule_goes_downhill(name):
    optimiser = chain(name, learning_rate=0.05).build()
    loss = lambda x: jnp.sum((x - 1.0) ** 2)
    x = jnp.array([3.0, -2.0])

    def step(_, carried):
        x, state = carried
        update, state = optimiser.update(jax.grad(loss)(x), state, x)
        return optax.apply_updates(x, update), state

    last = jax.jit(lambda x: jax.lax.fori_loop(0, 60, step, (x, optimiser.init(x)))[0])(x)
    assert loss(last) < 0.5 * loss(x)


def test_an_unknown_rule_is_refused_with_the_list():
    with pytest.raises(InputError, match="optimiser.name is 'nodam'.*levenberg_marquardt.*nadam"):
        chain("nodam").build()


def test_a_schedule_rises_decays_and_stays():
    schedule = chain(warmup_steps=10, decay_steps=110, final_fraction=0.2).schedule()
    rates = np.array([schedule(step) for step in range(200)])
    np.testing.assert_allclose(rates[:11], 0.1 * np.arange(11) / 10, rtol=1e-5)
    assert rates.argmax() == 10
    np.testing.assert_allclose(rates[60], 0.1 * (0.2 + 0.8 / 2), rtol=1e-4)  # half of the cosine
    assert (np.diff(rates[10:111]) < 0).all()
    np.testing.assert_allclose(rates[110:], 0.02, rtol=1e-5)


def test_a_schedule_without_warmup_begins_at_the_top():
    assert chain(decay_steps=50).schedule()(0) == pytest.approx(0.1)


@pytest.mark.parametrize("warmup", [0, 5])
def test_no_decay_keeps_the_rate(warmup):
    schedule = chain(warmup_steps=warmup).schedule()
    rates = np.array([schedule(step) for step in range(30)])
    np.testing.assert_allclose(rates[warmup:], 0.1, rtol=1e-6)
    np.testing.assert_allclose(rates[:warmup], 0.1 * np.arange(warmup) / 5, rtol=1e-6)


def test_the_schedule_is_what_the_updates_follow():
    optimiser = chain(warmup_steps=4, decay_steps=10).build()
    made, _ = updates(optimiser, [{"x": jnp.ones(1)}] * 12, {"x": jnp.zeros(1)})
    schedule = chain(warmup_steps=4, decay_steps=10).schedule()
    expected = [-float(schedule(step)) for step in range(12)]
    np.testing.assert_allclose([float(update["x"][0]) for update in made], expected, rtol=1e-5)


@pytest.mark.parametrize("decay", [3, 5])
def test_a_schedule_not_longer_than_its_warmup_is_refused(decay):
    with pytest.raises(InputError, match=f"decay_steps is {decay}, .* warmup_steps .5."):
        chain(warmup_steps=5, decay_steps=decay).build()


def test_normalise_by_block_gives_every_array_norm_one():
    transformation = optimisers.normalise_by_block()
    normalised, _ = transformation.update(GRADIENT, transformation.init(PARAMETERS))
    np.testing.assert_allclose(normalised["large"], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(normalised["small"]["one"], [[0.6, -0.8]], rtol=1e-6)
    zero = jax.tree.map(jnp.zeros_like, GRADIENT)
    still, _ = transformation.update(zero, transformation.init(PARAMETERS))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(still))


def test_normalising_comes_before_clipping():
    optimiser = chain(normalise_blocks=True, clip_norm=1.0).build()
    (update,), _ = updates(optimiser, [GRADIENT], PARAMETERS)
    # Two blocks of norm 1 have the norm sqrt 2 together.
    np.testing.assert_allclose(update["large"], -0.1 * np.array([0.6, 0.8]) / np.sqrt(2), rtol=1e-5)
    assert float(optax.global_norm(update)) == pytest.approx(0.1, rel=1e-5)


@pytest.mark.parametrize(("clip", "expected"), [(0.0, 500.0), (1.0, 1.0), (1e4, 500.0)])
def test_clipping(clip, expected):
    (update,), _ = updates(chain(clip_norm=clip).build(), [GRADIENT], PARAMETERS)
    assert float(optax.global_norm(update)) == pytest.approx(0.1 * expected, rel=1e-5)


@pytest.mark.parametrize("allowed", [0, 3])
def test_nonfinite_gradients_change_nothing_and_are_counted(allowed):
    optimiser = chain("nadam", skip_nonfinite=allowed, normalise_blocks=True, clip_norm=1.0).build()
    state, step = optimiser.init(PARAMETERS), jax.jit(optimiser.update)
    _, state = step(GRADIENT, state, PARAMETERS)
    inner = state.inner_state
    # Until one more than is allowed, at which the trainer ends the run.
    for count in range(1, allowed + 2):
        update, state = step(NONFINITE, state, PARAMETERS)
        assert all((leaf == 0).all() for leaf in jax.tree.leaves(update))
        assert int(optimisers.nonfinite_in_a_row(state)) == count
        jax.tree.map(np.testing.assert_array_equal, state.inner_state, inner)
    update, state = step(GRADIENT, state, PARAMETERS)
    assert int(optimisers.nonfinite_in_a_row(state)) == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(update))
