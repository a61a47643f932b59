"""Runs that stop or break: they go on as if nothing had been, or say why they cannot."""

import dataclasses
import itertools
import json
import shutil

import hdf5_files
import jax
import numpy as np
import pytest
import tiny
from absl import logging
from tiny_runs import FIELDS, LEAST_SQUARES, NCA, POOL, run

from diffpattern import evaluate, methods, train
from diffpattern.data import sources
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError, TrainingError
from diffpattern.run_folder import RunFolder
from diffpattern.training.checkpoints import Checkpoints
from diffpattern.training.metrics import read_scalars

# Terms leave after the second step; then windows are longer.
SELECTING = LEAST_SQUARES | {
    "optimiser.levenberg_marquardt.selection.steps": 2,
    "optimiser.levenberg_marquardt.selection.windows": 4,
    "training.continuation": (0.5,),
    "training.continuation_steps": 2,
}
METHODS = {
    "levenberg_marquardt": LEAST_SQUARES, "selecting": SELECTING, "nadam": NCA, "pool": POOL
}  # fmt: skip


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Where the simulated data of all runs are kept."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(autouse=True)
def without_evaluation(monkeypatch):
    """Scoring and the report are `test_evaluate`'s; here it only counts that they come."""
    calls = []
    monkeypatch.setattr(evaluate, "evaluate", lambda folder: calls.append(folder) or {})
    return calls


@pytest.fixture
def warnings(monkeypatch):
    told = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: told.append(text % values))
    return told


def checkpoints(path):
    """Everything in the checkpoints of a run, by step."""
    with Checkpoints(path / "checkpoints") as kept:
        return {step: kept.restore(training_state=None, step=step) for step in kept.steps()}


def assert_same_end(path, whole):
    end, expected = checkpoints(path)[6], checkpoints(whole)[6]
    assert jax.tree.structure(end.parameters) == jax.tree.structure(expected.parameters)
    for one, other in zip(
        jax.tree.leaves(end.parameters), jax.tree.leaves(expected.parameters), strict=True
    ):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    rows = read_scalars(path / "metrics" / "scalars.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    for row, other in zip(rows, read_scalars(whole / "metrics" / "scalars.jsonl"), strict=True):
        # A stop makes a checkpoint, and scores it, where there was none before; and takes time.
        assert {key: row[key] for key in other} | {"seconds": 0} == other | {"seconds": 0}


@pytest.fixture(scope="module", params=METHODS)
def method(request):
    return METHODS[request.param]


@pytest.fixture(scope="module")
def whole(method, directory, tmp_path_factory):
    """A run of six steps that was never stopped; not to be changed."""
    path = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "evaluate", lambda folder: {})
        run(directory, path, **method)
    return path


@pytest.mark.slow
def test_a_stopped_run_goes_on_bit_for_bit(
    method, whole, directory, tmp_path, monkeypatch, without_evaluation
):
    seconds = itertools.count(1000, 10)
    monkeypatch.setattr(train.time, "monotonic", lambda: next(seconds))
    run(directory, tmp_path, **method | {"training.steps": 3})
    run(directory, tmp_path, **method | {"training.steps": 6})
    assert_same_end(tmp_path, whole)
    assert len(without_evaluation) == 2
    # Time goes on where it stopped.
    metadata = {step: kept.metadata for step, kept in checkpoints(tmp_path).items()}
    assert metadata[3]["seconds"] < metadata[4]["seconds"] < metadata[6]["seconds"]
    told = [row["seconds"] for row in read_scalars(tmp_path / "metrics" / "scalars.jsonl")]
    assert told == sorted(set(told))
    facts = json.loads((tmp_path / "run.json").read_text())
    assert len(facts["sessions"]) == 2

    # Finished: nothing is trained, but it is scored again.
    before = (tmp_path / "metrics" / "scalars.jsonl").read_bytes()
    monkeypatch.setattr(train, "compiled", None)
    run(directory, tmp_path, **method | {"training.steps": 6})
    run(directory, tmp_path, **method | {"training.steps": 5})
    assert (tmp_path / "metrics" / "scalars.jsonl").read_bytes() == before
    assert len(without_evaluation) == 4


def kill_at(last, monkeypatch):
    """Interrupts runs as they draw the windows of this step; returns what draws them otherwise."""
    draw = train.draw_batch

    def kill(batches, step, mesh):
        if step == last:
            raise KeyboardInterrupt
        return draw(batches, step, mesh)

    monkeypatch.setattr(train, "draw_batch", kill)
    return draw


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(method, whole, directory, tmp_path, monkeypatch):
    draw = kill_at(4, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(directory, tmp_path, **method)
    monkeypatch.setattr(train, "draw_batch", draw)
    run(directory, tmp_path, **method)
    assert_same_end(tmp_path, whole)


@pytest.mark.slow
def test_a_run_on_data_that_stay_in_files_goes_on_bit_for_bit(tmp_path):
    simulated = tiny.data(shape=(5, 6), interval=2.0, end_time=8.0, train=6).values
    path = hdf5_files.the_well(
        tmp_path / "set.hdf5",
        {name: simulated[..., n].swapaxes(2, 3) for n, name in enumerate("AB")},
        times=2.0 * np.arange(5),
        spacings={"x": 1.0, "y": 1.0},
    )
    changes = LEAST_SQUARES | {
        "data.name": "the_well",
        "data.the_well.train": path,
        "data.the_well.validation_trajectories": 1,
        "data.the_well.test_trajectories": 2,
        "data.the_well.statistics_windows": 12,
    }
    changes |= {name: value for name, value in FIELDS.items() if not name.startswith("data.")}

    def advance(folder, steps):
        config = tiny.config(**changes | {"training.steps": steps})
        train.train_and_evaluate(config, RunFolder(tmp_path / folder), config_path="tiny.py")

    advance("whole", 6)
    advance("stopped", 3)
    advance("stopped", 6)
    assert_same_end(tmp_path / "stopped", tmp_path / "whole")
    metadata = {step: kept.metadata for step, kept in checkpoints(tmp_path / "stopped").items()}
    assert metadata[3]["batches"] == {"0": {"next_index": 3}}


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over_and_named(
    method, whole, directory, tmp_path, warnings
):
    path = tmp_path / "run"
    shutil.copytree(whole, path)
    for file in (path / "checkpoints" / "6" / "parameters").rglob("d/*"):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    run(directory, path, **method)
    assert any(str(path / "checkpoints" / "6") in text for text in warnings)
    assert_same_end(path, whole)


@pytest.mark.slow
def test_a_longer_interval_of_logging_averages_the_same_after_a_kill(directory, tmp_path):
    method = NCA | {"training.log_every": 3, "training.checkpoint_every": 2}
    run(directory, tmp_path / "whole", **method | {"training.steps": 6})
    run(directory, tmp_path / "stopped", **method | {"training.steps": 4})
    run(directory, tmp_path / "stopped", **method | {"training.steps": 6})
    rows, expected = (
        [row | {"seconds": 0} for row in read_scalars(tmp_path / name / "metrics/scalars.jsonl")]
        for name in ("stopped", "whole")
    )
    assert rows == expected
    assert [row["step"] for row in rows] == [2, 3, 4, 6]


@pytest.mark.slow
def test_checkpoints_after_some_minutes_change_nothing_else(directory, tmp_path, monkeypatch):
    method = POOL | {"training.checkpoint_every": 3, "training.log_every": 2}
    run(directory, tmp_path / "whole", **method)
    # Each look at the clock is ten seconds later, so every line of log comes with a checkpoint.
    seconds = itertools.count(1000, 10)
    monkeypatch.setattr(train.time, "monotonic", lambda: next(seconds))
    method |= {"training.checkpoint_minutes": 0.1}
    draw = kill_at(5, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(directory, tmp_path / "stopped", **method)
    assert list(checkpoints(tmp_path / "stopped")) == [2, 3, 4]
    with Checkpoints(tmp_path / "stopped" / "checkpoints") as kept:
        assert kept.best == 3
    monkeypatch.setattr(train, "draw_batch", draw)
    run(directory, tmp_path / "stopped", **method)
    rows, expected = (
        [row | {"seconds": 0} for row in read_scalars(tmp_path / name / "metrics/scalars.jsonl")]
        for name in ("stopped", "whole")
    )
    assert rows == expected
    ends = [checkpoints(tmp_path / name)[6].parameters for name in ("stopped", "whole")]
    assert jax.tree.map(np.array_equal, *ends) == jax.tree.map(lambda leaf: True, ends[0])


@pytest.mark.slow
def test_a_train_step_is_compiled_once(directory, tmp_path, monkeypatch):
    steps = []
    compiled = train.compiled
    monkeypatch.setattr(
        train, "compiled", lambda *arguments: steps.append(compiled(*arguments)) or steps[-1]
    )
    method = LEAST_SQUARES
    run(directory, tmp_path, **method | {"training.steps": 3})
    run(directory, tmp_path, **method | {"training.steps": 5})
    # The derivative fit and the train step; then the train step after a checkpoint.
    assert [step._cache_size() for step in steps] == [1, 1, 1]


@pytest.fixture
def poison(monkeypatch):
    """Makes the data of some steps (counted from 1) not a number."""
    draw = train.draw_batch

    def spoil(*steps):
        def poisoned(batches, step, mesh):
            (batch,) = draw(batches, step, mesh)
            if step + 1 not in steps:
                return (batch,)
            window = batch["window"]
            return (batch | {"window": window.replace(values=window.values * np.nan)},)

        monkeypatch.setattr(train, "draw_batch", poisoned)

    return spoil


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_a_gradient_run(directory, tmp_path, poison):
    poison(4, 5)
    method = NCA
    with pytest.raises(TrainingError) as error:
        run(directory, tmp_path, **method)
    message = str(error.value)
    assert "not finite" in message
    assert "step 4" in message
    assert "optimiser.optax.skip_nonfinite" in message
    assert message.endswith(f"the last good checkpoint is {tmp_path / 'checkpoints' / '2'}.")
    assert list(checkpoints(tmp_path)) == [2]
    # One more may be passed over, but not two; then both, and the run goes on to its end.
    with pytest.raises(TrainingError, match="step 5 \\(2 in a row"):
        run(directory, tmp_path, **method, **{"optimiser.optax.skip_nonfinite": 1})
    run(directory, tmp_path, **method, **{"optimiser.optax.skip_nonfinite": 2})
    for kept in checkpoints(tmp_path).values():
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(kept.parameters))
    assert 6 in checkpoints(tmp_path)


@pytest.mark.slow
def test_lost_steps_before_a_checkpoint_count_after_it(directory, tmp_path, poison):
    poison(2, 3)
    method = NCA | {"optimiser.optax.skip_nonfinite": 1}
    run(directory, tmp_path, **method | {"training.steps": 2})
    with pytest.raises(TrainingError, match="step 3 \\(2 in a row"):
        run(directory, tmp_path, **method | {"training.steps": 6})


@pytest.mark.slow
@pytest.mark.parametrize("learning_rate", [1e10, 3e38])
def test_a_huge_learning_rate_ends_a_run(directory, tmp_path, learning_rate):
    changes = {
        "optimiser.name": "sgd",
        "optimiser.optax.learning_rate": learning_rate,
        "optimiser.optax.warmup_steps": 0,
        "optimiser.optax.schedule": "constant",
        "optimiser.optax.clip_norm": 0.0,
        "loss.l2": 1e6,
        "training.checkpoint_every": 1,
    }
    with pytest.raises(TrainingError, match="not finite at step [12]"):
        run(directory, tmp_path, **changes)
    for kept in checkpoints(tmp_path).values():
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(kept.parameters))


@pytest.mark.slow
def test_least_squares_passes_over_what_is_not_finite_but_not_for_ever(
    directory, tmp_path, poison, monkeypatch
):
    poison(3, 4)
    method = LEAST_SQUARES
    run(directory, tmp_path / "short", **method)
    assert 6 in checkpoints(tmp_path / "short")
    monkeypatch.setattr(methods, "MOST_DIVERGED", 1)
    with pytest.raises(TrainingError) as error:
        run(directory, tmp_path / "long", **method)
    assert "diverges over every window" in str(error.value)
    assert "step 4" in str(error.value)
    assert str(tmp_path / "long" / "checkpoints" / "2") in str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data.dt": -1.0}, ["data.dt"]),
        ({"data.dt": 50.0, "data.interval": 50.0, "data.end_time": 100.0}, ["data.dt", "heun"]),
        ({"data.dt": 0.7}, ["data.interval", "data.dt"]),
        ({"data.shape": (4, 4, 4, 4)}, ["data.shape", "1, 2 or 3"]),
        ({"data.shape": (8, 0)}, ["data.shape"]),
        ({"data.boundary": ("mirror",)}, ["data.boundary", "symmetric"]),
        ({"data.laplacian": "box"}, ["data.laplacian", "oono_puri"]),
        ({"data.solver": "rk4"}, ["data.solver", "heun"]),
        ({"data.end_time": 5.0}, ["data.end_time", "data.interval"]),
        ({"data.train": 0}, ["data.train"]),
        ({"data.gray_scott.gamma": -0.1}, ["data.gray_scott.gamma"]),
        ({"training.window": 5}, ["training.window", "1 to 4"]),
        ({"solver.dt": 0.75}, ["solver.dt"]),
        ({"solver.name": "rk4"}, ["solver.name", "heun"]),
        ({"solver.dt": 0.0, "solver.name": "euler"}, ["solver.name", "tsit5"]),
        ({"model.name": "nca"}, ["levenberg_marquardt", "2000 parameters"]),
        (NCA | {"model.nca.channels": 1}, ["model.nca.channels", "2 species"]),
        (
            {"optimiser.name": "nadam", "optimiser.optax.decay_steps": 50},
            ["decay_steps", "warmup_steps"],
        ),
        ({"optimiser.name": "nadam", "loss.l2": 0.0}, ["loss", "positive"]),
        ({"mesh.data": 9}, ["mesh.data", "8 devices"]),
        ({"mesh.data": 0}, ["mesh.data"]),
        ({"training.sampling": "even"}, ["training.sampling"]),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_before_anything_is_simulated_or_written(
    changes, words, tmp_path, monkeypatch
):
    monkeypatch.setattr(train.dataset, "load", None)
    with pytest.raises(InputError) as error:
        run(tmp_path / "data", tmp_path / "run", **changes)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")
    for word in words:
        assert word in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("quick_compilation")
def test_windows_in_which_nothing_was_seen_are_refused_at_once():
    """Times 0, 32, 80 make six snapshots of which three were seen."""
    whole = tiny.data()
    data = Trajectories(whole.values[:, :3], [0.0, 32.0, 80.0], whole.species, whole.grid)
    set_up = lambda **fields: train.set_up(
        tiny.config(**{"data.name": "given", "training.batch": 2} | fields),
        sources.by_split(data, "The data"),
    )
    with pytest.raises(InputError, match=r"training\.window .* 1 x 16 .* take 2, the least that"):
        set_up()
    longer = {"training.window": 2}
    growing = longer | {"training.continuation": (1.0,)}
    with pytest.raises(InputError, match=r"training\.continuation .* 1 x 16 .* take 2"):
        set_up(**growing)
    with pytest.raises(InputError, match=r"optimiser\.derivative_steps is 5, .* set it to 0"):
        set_up(**longer | {"optimiser.derivative_steps": 5})
    drawn = set_up(**longer).batches.draw(0)[0]["window"]
    assert (drawn.known[:, 1:] == 1).any(axis=(1, 2)).all()
    known = np.ones((*whole.values.shape[:2], 2))
    known[:, ::2, 0] = known[:, 1::2, 1] = 0
    data = dataclasses.replace(whole, known=known)
    with pytest.raises(InputError, match=r"optimiser\.derivative_steps is 5, .* set it to 0"):
        set_up(**{"optimiser.derivative_steps": 5})
