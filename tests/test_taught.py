"""What the rule of one run makes, as data for another."""

import shutil

import jax
import numpy as np
import pytest
import tiny
import tiny_runs
from tiny_runs import NCA

from diffpattern import dataset, problem, restored, taught
from diffpattern.data import statistics
from diffpattern.data.simulation import SPLITS
from diffpattern.errors import InputError
from diffpattern.run_folder import RunFolder
from diffpattern.training.checkpoints import Checkpoints

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("test_taught")]

FIELDS = {"train": 1, "validation": 1, "test": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of an automaton, as if trained, on masked data: 3 test trajectories of 5 snapshots."""
    place = tmp_path_factory.mktemp("place")
    of_run = tiny.config(
        **tiny_runs.FIELDS
        | NCA
        | {"data.directory": str(place / "data"), "data.mask": "ellipse", "mesh.data": 1}
    )
    (data,), folder = dataset.load(of_run), RunFolder(place / "run")
    summary = statistics.summarise([data["train"]], problem.whitened_degrees(of_run))
    initial = problem.build(of_run, summary).initialise(0)
    folder.record(of_run, "", {split: data[split].digest() for split in SPLITS})
    folder.keep_data([data["test"]], summary)
    with Checkpoints(folder.checkpoints) as checkpoints:
        for step, score in ((1, 3.0), (2, 2.0)):
            parameters = jax.tree.map(lambda x, step=step: x + 0.01 * step, initial)
            checkpoints.save(step, parameters, {}, metadata={}, score=score)
    return folder.path


def config(run, tmp_path, **changes):
    fields = {"folder": str(run)} | FIELDS | changes
    named = {f"data.run.{name}": value for name, value in fields.items()}
    return tiny.config(**{"data.name": "run", "data.directory": str(tmp_path)} | named)


def test_a_rule_makes_data_from_the_starts_of_its_test_data_and_then_from_new_ones(run, tmp_path):
    counts = {"train": 2, "validation": 1, "test": 2}
    (data,) = dataset.load(config(run, tmp_path, **counts))
    (truth,), _ = RunFolder(run).data()
    assert {split: len(data[split].values) for split in SPLITS} == counts
    for trajectories in data.values():
        np.testing.assert_array_equal(trajectories.times, truth.times)
        assert trajectories.species == truth.species and trajectories.grid == truth.grid
    values, masks = (
        np.concatenate([getattr(data[split], name) for split in SPLITS])
        for name in ("values", "mask")
    )
    starts = {start.tobytes() for start in values[:, 0]}
    known = {start.tobytes() for start in truth.values[:, 0]}
    assert len(starts) == 5 and known < starts
    # Each start has kept its own mask.
    np.testing.assert_array_equal(masks[:, None, ..., None] * values, values)
    assert len({mask.tobytes() for mask in masks}) == 5
    # What follows is the rule's, and no longer the truth.
    rule = restored.restore(RunFolder(run))
    first = int(np.flatnonzero((values[:, 0] == truth.values[0, 0]).all(axis=(1, 2, 3)))[0])
    key = jax.random.fold_in(jax.random.key(0), first)
    expected = rule.problem.predict(
        rule.checkpoint.parameters, truth.values[0, 0], truth.times, key, truth.forcing(0)
    )
    np.testing.assert_allclose(values[first], expected, atol=1e-6)
    assert np.abs(values[first, -1] - truth.values[0, -1]).max() > 1e-3


def test_trajectories_from_one_start_differ_in_the_noise_alone(run, tmp_path):
    (truth,), _ = RunFolder(run).data()
    alike = tmp_path / "alike"
    shutil.copytree(run, alike)
    same = taught.some(truth, np.zeros(3, int))
    RunFolder(alike).keep_data([same], RunFolder(run).data()[1])
    facts = (alike / "run.json").read_text().replace(truth.digest(), same.digest())
    (alike / "run.json").write_text(facts)
    chosen = config(alike, tmp_path)
    values = np.concatenate([made.values for made in dataset.load(chosen)[0].values()])
    assert len({start.tobytes() for start in values[:, 0]}) == 1
    assert len({end.tobytes() for end in values[:, -1]}) == 3


def test_times_and_seeds_are_the_configs(run, tmp_path):
    (data,) = dataset.load(config(run, tmp_path, interval=1.0, end_time=3.0))
    np.testing.assert_array_equal(data["train"].times, [0.0, 1.0, 2.0, 3.0])
    (other,) = dataset.load(config(run, tmp_path, interval=1.0, end_time=3.0, seed=1))
    assert not np.array_equal(data["train"].values, other["train"].values)
    with pytest.raises(InputError, match=r"data\.run\.end_time is 3, .*interval, 2\."):
        dataset.load(config(run, tmp_path, interval=2.0, end_time=3.0))
    with pytest.raises(InputError, match="which do not divide the 1.5"):
        dataset.load(config(run, tmp_path, interval=1.5, end_time=3.0))


def test_data_are_made_once_and_for_each_rule_anew(run, tmp_path, monkeypatch):
    (first,) = dataset.load(config(run, tmp_path))
    make = taught.make_predictor
    monkeypatch.setattr(taught, "make_predictor", None)
    (kept,) = dataset.load(config(run, tmp_path))
    moved = shutil.copytree(run, tmp_path / "elsewhere")
    (elsewhere,) = dataset.load(config(moved, tmp_path))
    for split in SPLITS:
        np.testing.assert_array_equal(kept[split].values, first[split].values)
        assert elsewhere[split].digest() == first[split].digest()
    monkeypatch.setattr(taught, "make_predictor", make)
    assert (
        dataset.load(config(run, tmp_path, step=1))[0]["train"].digest() != first["train"].digest()
    )
    assert (
        dataset.load(config(run, tmp_path, step=2))[0]["train"].digest() == first["train"].digest()
    )


def test_a_rule_that_diverges_is_refused(run, tmp_path, monkeypatch):
    made = taught.make_predictor

    def diverging(*arguments, **options):
        predict = made(*arguments, **options)

        def spoilt(parameters):
            values = predict(parameters).copy()
            values[1, 3] = np.inf
            return values

        return spoilt

    monkeypatch.setattr(taught, "make_predictor", diverging)
    with pytest.raises(InputError, match=r"leaves the finite numbers by t = 6;") as error:
        dataset.load(config(run, tmp_path))
    assert str(run) in str(error.value)
    assert not list(tmp_path.rglob("*.npz"))


def test_runs_that_cannot_make_data_are_refused(run, tmp_path):
    with pytest.raises(InputError, match=r"data\.run\.folder is empty"):
        dataset.load(config("", tmp_path))
    with pytest.raises(InputError, match="nowhere is not the folder of a run"):
        dataset.load(config(tmp_path / "nowhere", tmp_path))
    with pytest.raises(InputError, match="99 does not exist"):
        dataset.load(config(run, tmp_path, step=99))


def test_more_starts_than_there_are_need_a_simulation(run, tmp_path, monkeypatch):
    rule = restored.restore(RunFolder(run))
    rule.config.data.name = "pdebench"
    monkeypatch.setattr(taught, "restore", lambda folder, step: rule)
    with pytest.raises(InputError, match=r"asks for 5 .* has 3 starts.*pdebench.*ask for fewer"):
        dataset.load(config(run, tmp_path, train=3))
    assert len(dataset.load(config(run, tmp_path))[0]["train"].values) == 1
