"""Averages of parameters: by hand, and through a run that is stopped, goes on and is scored."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_runs

from diffpattern import evaluate, train
from diffpattern.run_folder import RunFolder
from diffpattern.training import averaging
from diffpattern.training.averaging import averaged, evaluated_parameters, exchanged
from diffpattern.training.checkpoints import Checkpoints
from diffpattern.training.pruning import Pruned
from diffpattern.training.step import TrainState

pytestmark = pytest.mark.usefixtures("quick_compilation")

PATH = np.random.default_rng(0).normal(1.0, 0.5, (40, 3)).astype(np.float32)


def walk(state, batch):
    """A train step to a given place."""
    return TrainState(state.step + 1, {"x": batch}, state.optimiser), {"loss": jnp.sum(batch)}


def states(decay, path=PATH, inner_state=()):
    """The states along the path, and before it."""
    first = {"x": jnp.array([9.0, 9.0, 9.0])}
    state = TrainState(jnp.int32(0), first, averaging.start(first, inner_state))
    step, passed = jax.jit(averaged(walk, decay)), [state]
    for place in path:
        state, _ = step(state, place)
        passed.append(state)
    return passed


@pytest.mark.parametrize("decay", [0.3, 0.9, 0.999, 0.99999])
def test_the_average_is_that_of_the_recursion_by_hand(decay):
    total = np.zeros(3)
    for count, state in enumerate(states(decay)[1:], 1):
        total = decay * total + (1 - decay) * PATH[count - 1].astype(np.float64)
        found = evaluated_parameters(state)["x"]
        np.testing.assert_allclose(found, total / (1 - decay**count), rtol=2e-5)
        # Training itself goes on from where it is.
        np.testing.assert_array_equal(state.parameters["x"], PATH[count - 1])
        assert int(state.step) == count


def test_where_the_walk_began_counts_for_nothing():
    before, after = states(0.99)[:2]
    np.testing.assert_array_equal(evaluated_parameters(before)["x"], 9.0)
    np.testing.assert_allclose(evaluated_parameters(after)["x"], PATH[0], rtol=1e-6)


def test_what_does_not_move_is_its_own_average_and_bounds_hold():
    path = np.stack([np.full(40, 9.0), np.abs(PATH[:, 1]), np.where(np.arange(40) < 20, 1, 0)], 1)
    for state in states(0.7, path.astype(np.float32))[1:]:
        still, positive, falling = evaluated_parameters(state)["x"]
        assert still == 9.0 and positive > 0 and falling >= 0


def test_what_is_pruned_is_zero_in_the_average():
    kept = {"x": jnp.array([True, False, True])}
    path = PATH * np.array([1, 0, 1], np.float32)
    last = states(0.99, path, Pruned(jnp.int32(0), kept, ()))[-1]
    first, second, third = evaluated_parameters(last)["x"]
    assert second == 0 and first != 0 and third != 0


def test_exchanging_twice_changes_nothing():
    state = states(0.9)[-1]
    once = exchanged(state)
    np.testing.assert_array_equal(once.parameters["x"], state.optimiser.average["x"])
    np.testing.assert_array_equal(once.optimiser.average["x"], state.parameters["x"])
    jax.tree.map(np.testing.assert_array_equal, exchanged(once), state)


def test_without_an_average_the_parameters_are_scored():
    state = TrainState(jnp.int32(0), {"x": jnp.ones(2)}, ())
    assert exchanged(state) is state
    assert evaluated_parameters(state) is state.parameters


@pytest.mark.slow
def test_a_run_is_scored_by_its_average_and_goes_on_bit_for_bit(tmp_path, monkeypatch):
    fields = tiny_runs.NCA | {
        "optimiser.optax.average_decay": 0.9,
        "optimiser.optax.pruning.sparsity": 0.5,
        "optimiser.optax.pruning.first_step": 1,
        "optimiser.optax.pruning.last_step": 5,
    }
    states, scored = [], []

    def spy(module, name, told):
        """Makes what `module.name` makes tell of the parameters that it is given."""
        make = getattr(module, name)
        tell = lambda function: (
            lambda parameters: (told.append(parameters), function(parameters))[1]
        )
        monkeypatch.setattr(module, name, lambda *given, **named: tell(make(*given, **named)))

    save = train.save
    monkeypatch.setattr(
        train, "save", lambda kept, state, *rest: (states.append(state), save(kept, state, *rest))
    )
    spy(train, "make_validation", scored)
    spy(evaluate, "make_predictor", scored)
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "evaluate", lambda folder: {})
        tiny_runs.run(tmp_path / "data", tmp_path / "whole", **fields)
        whole = jax.device_get(states[-1])
        # Stopped and gone on with.
        for steps in (3, 6):
            tiny_runs.run(
                tmp_path / "data", tmp_path / "other", **fields | {"training.steps": steps}
            )
    other = jax.device_get(states[-1])
    assert int(other.step) == 6
    for one, another in zip(jax.tree.leaves(other), jax.tree.leaves(whole), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(another).tobytes()

    # What is kept, was validated and is scored is the average, and not where training is.
    folder = RunFolder(tmp_path / "other")
    assert evaluate.evaluate(folder, step=6)["step"] == 6
    with Checkpoints(folder.checkpoints) as checkpoints:
        kept = checkpoints.restore(step=6).parameters
    for found in (kept, *scored[-2:]):
        jax.tree.map(np.testing.assert_array_equal, found, whole.optimiser.average)
    kernels = [tree["update"]["network"]["hidden_0"]["kernel"] for tree in (kept, whole.parameters)]
    assert (kernels[0] != kernels[1]).any()
    assert (np.asarray(kernels[0]) == 0).mean() == 0.5
