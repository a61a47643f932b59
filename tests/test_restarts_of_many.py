"""Runs of two processes that are stopped, or lose one of them: all end soon and say why."""

import signal
import time

import many
import pytest
import tiny_runs
from forked import wait_until
from stoppable_runs import assert_same_end, rows, steps
from test_processes import simulated

from diffpattern.errors import REQUEUE, UNAVAILABLE

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes")]

STEPS = 150
FIELDS = (
    tiny_runs.FIELDS
    | tiny_runs.POOL
    | {"training.steps": STEPS, "training.checkpoint_every": 30, "training.log_every": 7}
)
ENDLESS = ["--config.training.steps=1000000", "--config.training.stall_seconds=4"]


@pytest.fixture(scope="module")
def flag(tmp_path_factory):
    """The flag of a config."""
    return simulated(tmp_path_factory.mktemp("two"), FIELDS)


@pytest.fixture(scope="module")
def whole(flag, tmp_path_factory):
    """A run of two processes that was never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with many.runs(2, flag, f"--workdir={folder}") as started:
        assert [one.code for one in started.ended()] == [0, 0]
    return folder


def wait_for_row(started, folder, number):
    """Returns when a run has logged so many lines."""
    end = time.monotonic() + 200
    while len(rows(folder)) < number:
        assert time.monotonic() < end and started.processes[0].poll() is None
        time.sleep(0.02)


def test_all_save_and_stop_whichever_is_told_and_go_on_bit_for_bit(flag, whole, tmp_path):
    run = tmp_path / "run"
    for told in (0, 1):
        with many.runs(2, flag, f"--workdir={run}") as started:
            wait_for_row(started, run, len(rows(run)) + 2)
            started.processes[told].send_signal(signal.SIGTERM)
            ended = started.ended(100)
        errors = "".join(one.errors for one in ended)
        assert [one.code for one in ended] == [REQUEUE] * 2, errors
        assert "Traceback" not in errors
        assert errors.count(f"Told to stop, after step {steps(run)[-1]} of {STEPS}") == 1
    with many.runs(2, flag, f"--workdir={run}") as started:
        assert [one.code for one in started.ended()] == [0, 0]
    assert_same_end(run, whole, STEPS)


def assert_ends_soon_without(started, victim):
    """Of the process that is left: within a minute, in a sentence that says how to go on."""
    lost = time.monotonic()
    started.processes[1 - victim].wait(60)
    assert time.monotonic() - lost < 60
    started.processes[victim].send_signal(signal.SIGKILL)
    left = started.ended()[1 - victim]
    assert left.code in (REQUEUE, UNAVAILABLE), left.errors
    told = [line for line in left.errors.splitlines() if line.startswith("diffpattern: ")]
    assert told and "the same command with the same --workdir goes on" in told[-1]
    assert "Traceback" not in left.errors


def test_whichever_is_killed_the_other_ends_and_both_go_on_bit_for_bit(flag, whole, tmp_path):
    run = tmp_path / "run"
    for victim in (1, 0):
        with many.runs(2, flag, f"--workdir={run}") as started:
            wait_for_row(started, run, len(rows(run)) + 2)
            wait_until(lambda: steps(run))
            started.processes[victim].send_signal(signal.SIGKILL)
            assert_ends_soon_without(started, victim)
        assert 0 < steps(run)[-1] < STEPS
    stopped = steps(run)[-1]
    with many.runs(2, flag, f"--workdir={run}") as started:
        ended = started.ended()
    assert [one.code for one in ended] == [0, 0]
    assert f"Going on from step {stopped} of {STEPS}." in ended[0].errors
    assert_same_end(run, whole, STEPS)


@pytest.mark.parametrize("victim", [1, 0])
def test_what_loses_a_process_that_hangs_ends_within_a_minute_and_says_so(flag, tmp_path, victim):
    run = tmp_path / "run"
    with many.runs(2, flag, f"--workdir={run}", *ENDLESS) as started:
        wait_for_row(started, run, 4)
        wait_until(lambda: steps(run))
        started.processes[victim].send_signal(signal.SIGSTOP)
        assert_ends_soon_without(started, victim)
    assert steps(run)
