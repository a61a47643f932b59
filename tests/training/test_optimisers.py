import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from diffpattern.errors import InputError
from diffpattern.training import optimisers
from diffpattern.training.optimisers import Chain

pytestmark = pytest.mark.usefixtures("quick_compilation")

USUAL = {
    "learning_rate": 0.1,
    "warmup_steps": 0,
    "schedule": "constant",
    "decay_steps": 0,
    "final_fraction": 0.01,
    "piecewise": (),
    "rates": (),
    "frozen": (),
    "weight_decay": 0.0,
    "clip_norm": 0.0,
    "normalise_blocks": False,
    "skip_nonfinite": 0,
    "average_decay": 0.0,
    "pruning": {"sparsity": 0.0, "first_step": 0, "last_step": 1},
    "lbfgs": {"memory": 5, "search_steps": 20},
}


def chain(name="sgd", **changes):
    return Chain.of(name, USUAL | changes)


PARAMETERS = {"large": jnp.array([3.0, 4.0]), "small": {"one": jnp.array([[1.0, -1.0]])}}
GRADIENT = {"large": jnp.array([300.0, 400.0]), "small": {"one": jnp.array([[0.03, -0.04]])}}
NONFINITE = GRADIENT | {"large": jnp.array([1.0, jnp.nan])}


def updates(optimiser, gradients, parameters=PARAMETERS):
    """The updates for gradients that come one after the other, at the same place."""
    state, made, step = optimiser.init(parameters), [], jax.jit(optimiser.update)
    for gradient in gradients:
        update, state = step(gradient, state, parameters)
        made.append(update)
    return made


# ---- Rules -------------------------------------------------------------------------------------


# Some that scale their steps down, so that usual rates lead nowhere.
@pytest.mark.parametrize("name", optimisers.NAMES)
def test_every_rule_goes_downhill(name):
    rate = {"adadelta": 5.0, "adagrad": 0.5, "lars": 10.0}.get(name, 0.05)
    optimiser = chain(name, learning_rate=rate).build(jnp.zeros(2))
    loss = lambda x: jnp.sum((x - 1.0) ** 2)
    x = jnp.array([3.0, -2.0])

    def step(_, carried):
        x, state = carried
        value, gradient = jax.value_and_grad(loss)(x)
        update, state = optimiser.update(gradient, state, x, value=value, value_fn=loss)
        return optax.apply_updates(x, update), state

    last = jax.jit(lambda x: jax.lax.fori_loop(0, 60, step, (x, optimiser.init(x)))[0])(x)
    assert loss(last) < 0.5 * loss(x)


def test_an_unknown_rule_is_refused_with_the_list():
    with pytest.raises(InputError, match="optimiser.name is 'nodam'.*levenberg_marquardt.*nadam"):
        chain("nodam").build(PARAMETERS)


def test_the_schedule_is_what_the_updates_follow():
    cosine = chain(warmup_steps=4, schedule="cosine", decay_steps=10)
    made = updates(cosine.build(PARAMETERS), [{"x": jnp.ones(1)}] * 12, {"x": jnp.zeros(1)})
    expected = [cosine.scheduled(step)["learning_rate"] for step in range(1, 13)]
    assert expected[0] == 0 < expected[-1] < expected[4] == pytest.approx(0.1)
    np.testing.assert_allclose([-float(update["x"][0]) for update in made], expected, rtol=1e-5)


def test_weights_decay_relative_to_the_rate_in_rules_that_have_it():
    still = jax.tree.map(jnp.zeros_like, GRADIENT)
    assert "adamw" in optimisers.WITH_WEIGHT_DECAY and "adam" not in optimisers.WITH_WEIGHT_DECAY
    for name in ("adamw", "lion", "nadamw"):
        (update,) = updates(chain(name, weight_decay=0.2).build(PARAMETERS), [still])
        np.testing.assert_allclose(update["large"], -0.1 * 0.2 * PARAMETERS["large"], rtol=1e-5)
    (update,) = updates(chain("adamw").build(PARAMETERS), [still])
    assert (update["large"] == 0).all()


# ---- What is done to gradients -----------------------------------------------------------------


def test_normalise_by_block_gives_every_array_norm_one():
    transformation = optimisers.normalise_by_block()
    normalised, _ = transformation.update(GRADIENT, transformation.init(PARAMETERS))
    np.testing.assert_allclose(normalised["large"], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(normalised["small"]["one"], [[0.6, -0.8]], rtol=1e-6)
    zero = jax.tree.map(jnp.zeros_like, GRADIENT)
    still, _ = transformation.update(zero, transformation.init(PARAMETERS))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(still))


def test_normalising_comes_before_clipping():
    (update,) = updates(chain(normalise_blocks=True, clip_norm=1.0).build(PARAMETERS), [GRADIENT])
    # Two blocks of norm 1 have the norm sqrt 2 together.
    np.testing.assert_allclose(update["large"], -0.1 * np.array([0.6, 0.8]) / np.sqrt(2), rtol=1e-5)
    assert float(optax.global_norm(update)) == pytest.approx(0.1, rel=1e-5)


@pytest.mark.parametrize(("clip", "expected"), [(0.0, 500.0), (1.0, 1.0), (1e4, 500.0)])
def test_clipping(clip, expected):
    (update,) = updates(chain(clip_norm=clip).build(PARAMETERS), [GRADIENT])
    assert float(optax.global_norm(update)) == pytest.approx(0.1 * expected, rel=1e-5)


@pytest.mark.parametrize("allowed", [0, 3])
def test_nonfinite_gradients_change_nothing_and_are_counted(allowed):
    optimiser = chain("nadam", skip_nonfinite=allowed, normalise_blocks=True, clip_norm=1.0).build(
        PARAMETERS
    )
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


# ---- Groups of parameters ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sgd", "adamw", "lamb"])
def test_a_factor_on_a_group_is_a_learning_rate_of_its_own(name):
    usual = {"schedule": "cosine", "decay_steps": 5, "weight_decay": 0.1}
    mixed, plain, slow = (
        updates(chain(name, **usual | changes).build(PARAMETERS), [GRADIENT] * 4)
        for changes in ({"rates": ("large=0.1", "small/one=2")}, {}, {"learning_rate": 0.01})
    )
    for step in range(4):
        np.testing.assert_allclose(mixed[step]["large"], slow[step]["large"], rtol=1e-5)
        one = lambda update: update["small"]["one"]
        np.testing.assert_allclose(one(mixed[step]), 2 * one(plain[step]), rtol=1e-5)
        assert (mixed[step]["large"] != plain[step]["large"]).all()


def test_a_frozen_group_is_not_updated_even_by_what_needs_no_gradient():
    for changes, expected in (({}, 1), ({"frozen": ("small",)}, 0)):
        optimiser = chain("adamw", weight_decay=0.2, **changes).build(PARAMETERS)
        (update,) = updates(optimiser, [GRADIENT])
        assert (update["small"]["one"] != 0).all() == expected
        assert (update["large"] != 0).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frozen": ("smal",)}, ["optimiser.optax.frozen", "'smal'", "small/one"]),
        ({"frozen": ("small", "large")}, ["optimiser.optax.frozen", "nothing to train"]),
        ({"rates": ("two=2",)}, ["optimiser.optax.rates", "'two'", "large"]),
        ({"rates": ("small:2",)}, ["optimiser.optax.rates", "'small:2'", "diffusion=0.1"]),
    ],
)
def test_groups_that_there_are_not_are_refused(changes, words):
    shapes = jax.eval_shape(lambda: PARAMETERS)
    with pytest.raises(InputError) as error:
        chain(**changes).build(shapes)
    for word in words:
        assert word in str(error.value)


# ---- In training -------------------------------------------------------------------------------

SMALL = {
    "model.rda.terms": ("network", "diffusion"),
    "model.rda.network.hidden": (3,),
    "optimiser.name": "adamw",
    "optimiser.optax.warmup_steps": 0,
    "optimiser.optax.weight_decay": 0.5,
    "optimiser.optax.learning_rate": 0.2,
    "training.batch": 2,
}


def trained(**fields):
    """Parameters before and after three steps, and the metrics."""
    run = tiny.Run(tiny.config(**SMALL | fields), tiny.data(shape=(8,)), 2)
    before = jax.device_get(run.state.parameters)
    metrics = run.train(3)
    return before, jax.device_get(run.state.parameters), metrics


def test_what_is_frozen_does_not_move_in_training():
    before, after, metrics = trained(
        **{"optimiser.optax.frozen": ("diffusion", "network/network/output")}
    )
    coefficient, output = before["diffusion"]["coefficient"], before["network"]["network"]["output"]
    assert after["diffusion"]["coefficient"].tobytes() == coefficient.tobytes()
    for name, value in output.items():
        assert after["network"]["network"]["output"][name].tobytes() == value.tobytes()
    first = lambda parameters: parameters["network"]["network"]["hidden_0"]["kernel"]
    assert (first(after) != first(before)).all()
    # Nor does it count into the norm of the gradient.
    _, _, free = trained()
    assert metrics["loss"][0] == free["loss"][0]
    assert metrics["gradient_norm"][0] < 0.9 * free["gradient_norm"][0]


def test_what_is_trained_stays_above_its_bound_beside_what_is_frozen():
    _, after, _ = trained(**{"optimiser.optax.frozen": ("network",)})
    # So long a step that without a bound both were below it.
    assert (after["diffusion"]["coefficient"] >= 0).all()
    assert (after["diffusion"]["coefficient"] == 0).any()


@pytest.mark.slow
def test_a_search_moves_nothing_that_is_frozen():
    fields = {
        "optimiser.name": "lbfgs",
        "optimiser.optax.frozen": ("network",),
        "optimiser.optax.learning_rate": 1e-3,
        "optimiser.optax.weight_decay": 1e-4,
        "optimiser.optax.warmup_steps": 100,
    }
    before, after, metrics = trained(**fields)
    jax.tree.map(np.testing.assert_array_equal, after["network"], before["network"])
    assert (after["diffusion"]["coefficient"] != before["diffusion"]["coefficient"]).all()
    assert np.isfinite(metrics["loss"]).all()
