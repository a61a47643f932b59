"""Checkpoints that earlier code has written are restored, go on, and predict what they did."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from kept_checkpoints import HERE, RUNS, numbers, training_state

import diffpattern
from diffpattern.errors import InputError
from diffpattern.training import checkpoints
from diffpattern.training.checkpoints import FORMAT, Checkpoints

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("test_kept_checkpoints")]
KEPT = sorted(HERE.glob("format_*/*"))


def test_there_are_some_of_each_format():
    assert {path.parent.name for path in KEPT} == {f"format_{n}" for n in range(1, FORMAT + 1)}
    assert {path.name for path in KEPT if path.parent.name == f"format_{FORMAT}"} == set(RUNS)


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_kept_is_restored_and_trains_on(kept, tmp_path):
    folder = Path(shutil.copytree(kept, tmp_path / "run"))
    with np.load(folder / "expected.npz") as expected:
        run = diffpattern.load(folder)
        np.testing.assert_array_equal(numbers(run.params), expected["parameters"])
        starts, times = run.test[0].values[:, 0], run.test[0].times
        predicted = run.rollout(starts, times)
        np.testing.assert_allclose(predicted, expected["predicted"], rtol=1e-4, atol=1e-5)
        again, state = training_state(folder)
        np.testing.assert_array_equal(numbers(state), expected["state"])
    again.state = state
    assert np.isfinite(again.advance()["loss"])
    assert int(again.state.step) == run.step + 1


def test_a_later_format_is_told_and_left_alone(tmp_path):
    folder = Path(shutil.copytree(KEPT[0] / "checkpoints", tmp_path / "checkpoints"))
    (path,) = folder.glob("*/metadata/metadata")
    record = json.loads(path.read_text())
    record["format"] = FORMAT + 1
    del record["digest"]
    record["digest"] = checkpoints._record_digest(record)
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match="written by a newer diffpattern .* install that"):
        Checkpoints(folder)
    assert json.loads(path.read_text()) == record
