"""What a run tells: every step once, in files that others can read, and no more than it can."""

import errno
import io
import json
import os
import sys
import time

import event_files
import jax.numpy as jnp
import numpy as np
import pytest
from absl import logging
from PIL import Image

from diffpattern.errors import InputError, TrainingError
from diffpattern.training import metrics
from diffpattern.training.metrics import Averages, Progress, Watch, Writer, read_scalars


def write(folder, first, rows, config=None):
    with Writer(folder, folder / "scalars.jsonl", first, config or {"seed": 3}) as writer:
        for step, values in rows.items():
            writer.write(step, values)


def test_averages_are_of_the_steps_since_they_were_last_taken():
    averages = Averages()
    for loss in (1.0, 3.0):
        averages.add({"loss": jnp.float32(loss), "accepted": jnp.float32(1)})
    assert averages.take() == {"loss": 2.0, "accepted": 1.0}
    averages.add({"loss": jnp.float32(5), "accepted": jnp.float32(0)})
    assert averages.take() == {"loss": 5.0, "accepted": 0.0}


def test_averages_go_on_from_a_state_bit_for_bit():
    values = np.random.default_rng(0).normal(size=9).astype(np.float32)
    whole, stopped, resumed = Averages(), Averages(), Averages()
    for value in values:
        whole.add({"loss": jnp.asarray(value), "accepted": jnp.asarray(value > 0)})
    for value in values[:4]:
        stopped.add({"loss": jnp.asarray(value), "accepted": jnp.asarray(value > 0)})
    resumed.restore(json.loads(json.dumps(stopped.state())))
    for value in values[4:]:
        for averages in (stopped, resumed):
            averages.add({"loss": jnp.asarray(value), "accepted": jnp.asarray(value > 0)})
    assert resumed.take() == stopped.take() == whole.take()
    assert resumed.state() == []


def test_scalars_are_in_both_files_and_pictures_in_the_event_files(tmp_path):
    path = tmp_path / "scalars.jsonl"
    picture = io.BytesIO()
    Image.new("L", (3, 2)).save(picture, "PNG")
    with Writer(tmp_path, path, 0, {"seed": 3}) as writer:
        writer.write(1, {"loss": 4.0})
        writer.write(2, {"loss": 2.0, "validation": 0.5})
        writer.show(2, {"weights": np.ones(3)}, {"lattice": picture.getvalue()})
    metrics.add_scalars(tmp_path, 2, {"test/A": 0.25})
    found = event_files.read(tmp_path)
    assert found["scalars"] == {
        "loss": [(1, 4.0), (2, 2.0)],
        "validation": [(2, 0.5)],
        "test/A": [(2, 0.25)],
    }
    assert set(found["histograms"]) == {"weights"}
    assert found["images"]["lattice"] == [(2, (3, 2, picture.getvalue()))]
    assert len(found["hparams"]) == 1
    assert read_scalars(path) == [
        {"step": 1, "loss": 4.0},
        {"step": 2, "loss": 2.0, "validation": 0.5},
    ]


def test_a_run_that_goes_on_drops_what_lies_ahead_of_it(tmp_path):
    path = tmp_path / "scalars.jsonl"
    write(tmp_path, 0, {step: {"loss": 1.0 / step} for step in (1, 2, 3, 4)})
    path.write_text(path.read_text() + '{"step": 5, "lo')
    assert [row["step"] for row in read_scalars(path)] == [1, 2, 3, 4]
    write(tmp_path, 2, {3: {"loss": 9.0}})
    assert read_scalars(path) == [
        {"step": 1, "loss": 1.0},
        {"step": 2, "loss": 0.5},
        {"step": 3, "loss": 9.0},
    ]


@pytest.mark.parametrize("line", ["[1]", "7", '{"loss": 3}', '{"step": null}', "\udcff"])
def test_records_end_where_they_are_damaged(tmp_path, line):
    path = tmp_path / "scalars.jsonl"
    path.write_bytes(f'{{"step": 1}}\n{line}\n'.encode(errors="surrogateescape"))
    assert read_scalars(path) == [{"step": 1}]


def test_what_is_not_finite_is_null_in_json(tmp_path):
    write(tmp_path, 0, {1: {"loss": float("nan"), "validation": float("inf")}})
    text = (tmp_path / "scalars.jsonl").read_text()
    assert json.loads(text) == {"step": 1, "loss": None, "validation": None}
    assert "NaN" not in text


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "metrics").write_text("a file")
    with pytest.raises(InputError, match=f"^{tmp_path}/metrics/scalars.jsonl cannot be written"):
        write(tmp_path / "metrics", 0, {})


def test_a_full_disk_leaves_the_records_that_are_there(tmp_path, monkeypatch):
    write(tmp_path, 0, {1: {"loss": 2.0}, 2: {"loss": 1.0}})
    contents = lambda: {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    before = contents()

    def refuse(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(InputError, match="scalars.jsonl cannot be written: No space left"):
        write(tmp_path, 1, {})
    assert contents() == before


def test_event_files_that_cannot_be_written_end_the_run_in_a_sentence(tmp_path, monkeypatch):
    from clu import metric_writers

    def refuse(*_):
        raise OSError("Read-only file system\nand a long story")

    monkeypatch.setattr(metric_writers, "SummaryWriter", refuse)
    told = f"^Event files cannot be written to {tmp_path} \\(Read-only file system\\)\\.$"
    with pytest.raises(TrainingError, match=told):
        write(tmp_path, 0, {1: {"loss": 1.0}})
    # While another error is on its way, that one is told.
    with (
        pytest.raises(KeyError),
        Writer(tmp_path, tmp_path / "scalars.jsonl", 0, {}),
    ):
        raise KeyError


def watch(patience, in_a_row=0):
    return Watch(
        lambda values: values["lost"],
        patience,
        in_a_row,
        lambda step, count: f"step {step} is number {count}",
    )


def test_a_watch_looks_one_step_late_and_at_once_when_asked():
    late = watch(0)
    late.add(1, {"lost": True})
    with pytest.raises(TrainingError, match="step 1 is number 1"):
        late.add(2, {"lost": False})
    asked = watch(0)
    asked.add(1, {"lost": False})
    asked.settle()
    asked.add(2, {"lost": True})
    with pytest.raises(TrainingError, match="step 2 is number 1"):
        asked.settle()


def test_a_watch_counts_lost_steps_in_a_row():
    patient = watch(2, in_a_row=1)
    for step, lost in enumerate([True, False, True, True, False], 1):
        patient.add(step, {"lost": lost})
    patient.settle()
    for step in (6, 7):
        patient.add(step, {"lost": True})
    patient.add(8, {"lost": True})
    with pytest.raises(TrainingError, match="step 8 is number 3"):
        patient.settle()


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is told the time."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(time, "monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture
def lines(monkeypatch):
    told = []
    monkeypatch.setattr(logging, "info", lambda text, *values: told.append(text % values))
    return told


def test_lines_of_log_tell_pace_and_time_left(clock, lines):
    with Progress(10, 110) as progress:
        clock.now = 107.5
        progress.tell(11, {"accepted": 1.0, "step_norm/output": 0.5, "loss": 0.25})
        for step in range(12, 110):
            clock.now += 1.0
            progress.tell(step, {"loss": 0.25})
        clock.now += 1.0
        progress.tell(110, {"loss": 1e-5, "validation": 0.5})
    assert lines[0] == "step 11 of 110  loss 0.25  accepted 1  7.5 s with compilation"
    assert lines[1] == "step 21 of 110  loss 0.25  1 steps/s  1:29 left"
    assert lines[-1] == "step 110 of 110  loss 1e-05  validation 0.5  1 steps/s  0:00 left"
    assert len(lines) == 11


def test_a_terminal_gets_a_bar(clock, lines, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(2, 4) as progress:
        for step in (3, 4):
            clock.now += 1.0
            progress.tell(step, {"loss": 0.25})
    shown = terminal.getvalue()
    assert "4/4" in shown
    assert "loss 0.25" in shown
    assert shown.endswith("\n")
    assert not lines


def test_clock_reads_hours():
    assert [metrics._clock(seconds) for seconds in (0, 59.6, 3599, 3661)] == [
        "0:00",
        "1:00",
        "59:59",
        "1:01:01",
    ]
