"""Runs that are stopped, killed, or run out of disk: they go on as if nothing had been."""

import contextlib
import random
import shutil
import signal
import time

import pytest
from forked import Server, wait_until
from stoppable_runs import AUTOMATON, CHECKPOINT_EVERY, STEPS, assert_same_end, rows, steps
from tiny_runs import listing

from diffpattern.errors import MENDABLE, REQUEUE
from diffpattern.training.checkpoints import Checkpoints

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("test_restarts")]

KILLS = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def whole(server, tmp_path_factory):
    """A run that was never stopped; not to be changed."""
    path = tmp_path_factory.mktemp("whole") / "run"
    server.run(*AUTOMATON, f"--workdir={path}")
    return path


def assert_told(process, *words):
    (sentence,) = process.told()
    assert sentence.endswith(".")
    assert "--workdir" in sentence
    for word in words:
        assert str(word) in sentence
    assert "Traceback" not in process.output()


def test_between_two_steps_it_saves_and_goes_on_as_if_it_had_not_been(server, whole, tmp_path):
    chance, run, stopped = random.Random(0), tmp_path / "run", []
    for _ in range(3):
        process = server.start(*AUTOMATON, f"--workdir={run}")
        process.wait_for(r"\] step \d+ of")
        time.sleep(chance.uniform(0, 0.1))
        process.send_signal(signal.SIGTERM)
        assert process.wait() == REQUEUE
        stopped.append(steps(run)[-1])
        assert_told(process, f"after step {stopped[-1]} of {STEPS}", run)
    assert stopped == sorted(set(stopped))
    assert stopped[-1] < STEPS
    server.run(*AUTOMATON, f"--workdir={run}")
    assert_same_end(run, whole)


def test_where_there_is_nothing_to_save_it_ends_at_once(server, whole, tmp_path):
    chance, run = random.Random(0), tmp_path / "run"
    fresh = f"--config.data.directory={tmp_path / 'data'}"
    for chapter in ("Training in", "Rule:", "Evaluating step"):
        # With a report, evaluation lasts long enough to be told to stop.
        reports = "--config.evaluation.report=True"
        process = server.start(*AUTOMATON, fresh, reports, f"--workdir={run}")
        process.wait_for(chapter)
        time.sleep(chance.uniform(0, 0.5))
        process.send_signal(signal.SIGTERM)
        sent = time.monotonic()
        assert process.wait() == REQUEUE
        assert time.monotonic() - sent < 30
        assert_told(process, "Told to stop")
        assert "Report:" not in process.output()
    process = server.run(*AUTOMATON, fresh, f"--workdir={run}")
    assert "Evaluating step" in process.output()
    assert_same_end(run, whole)


def is_writing(run):
    """Whether a checkpoint of a run is being written, or was when the run was killed."""
    return bool(list((run / "checkpoints").glob("*.orbax-checkpoint-tmp*")))


def newest(run):
    return max(steps(run), default=0)


def test_killed_at_any_moment_it_loses_one_interval_at_most(server, whole, tmp_path):
    """Half of the kills fall anywhere in a run's life, half into the writing of a checkpoint."""
    began = time.monotonic()
    server.run(*AUTOMATON, f"--workdir={tmp_path / 'measured'}")
    life = time.monotonic() - began
    chance, kills, writing, found, runs = random.Random(0), 0, 0, set(), 0
    while kills < KILLS:
        run = tmp_path / str(runs)
        process = server.start(*AUTOMATON, f"--workdir={run}")
        if kills % 2:
            after = newest(run) + chance.randrange(5) * CHECKPOINT_EVERY
            after = min(after, STEPS - CHECKPOINT_EVERY)
            wait_until(
                lambda run=run, after=after: newest(run) >= after and is_writing(run),
                tell=process.output,
            )
        else:
            time.sleep(chance.uniform(0, life))
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            # It was quicker than its end. Another run is killed from now on.
            assert_same_end(run, whole)
            runs += 1
            continue
        assert process.wait() == -signal.SIGKILL
        kills += 1
        writing += is_writing(run)
        assert "Traceback" not in process.output()
        assert "Passing over" not in process.output()
        if logged := rows(run):
            # The last checkpoint whose writing had begun, and the one before it.
            begun = (logged[-1]["step"] - 1) // CHECKPOINT_EVERY * CHECKPOINT_EVERY
            assert newest(run) >= begun - CHECKPOINT_EVERY
            found.add(newest(run))
        if newest(run) == STEPS:
            runs += 1
    assert writing >= KILLS // 4
    assert len(found) >= 3
    server.run(*AUTOMATON, f"--workdir={run}")
    assert_same_end(run, whole)


def test_a_second_run_on_its_folder_is_refused_and_disturbs_nothing(server, tmp_path):
    run = tmp_path / "run"
    first = server.start(*AUTOMATON, f"--workdir={run}")
    first.wait_for(r"\] step \d+ of")
    first.send_signal(signal.SIGSTOP)  # so that it is there for as long as the second one takes
    before = listing(run)
    second = server.start(*AUTOMATON, f"--workdir={run}")
    assert second.wait() == MENDABLE
    (told,) = second.told()
    assert "Another process is training in" in told
    assert str(run) in told
    assert listing(run) == before
    first.send_signal(signal.SIGCONT)
    first.send_signal(signal.SIGTERM)
    assert first.wait() in (0, REQUEUE)


@contextlib.contextmanager
def read_only(folder):
    """Takes away everybody's permission to write, for the while."""
    paths = [folder, *folder.rglob("*")]
    modes = [path.stat().st_mode for path in paths]
    for path, mode in zip(paths, modes, strict=True):
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode)


def assert_ended_by_the_disk(process, run):
    assert process.wait() == MENDABLE, process.output()
    (told,) = process.told()
    assert told.endswith(".")
    assert str(run) in told
    assert "Traceback" not in process.output()
    return told


def test_a_full_disk_ends_it_in_a_sentence_and_spoils_nothing(server, whole, tmp_path):
    """There is room for three checkpoints and for lines of log; then for nothing at all; for one
    checkpoint, and not for the next line of log; for what is small, and for no checkpoint."""
    run, kept = tmp_path / "run", 0
    for checkpoints, left in ((3, 20_000), (0, 20), (1, 60), (0, 20_000)):
        process = server.start(*AUTOMATON, f"--workdir={run}", full_after=checkpoints, left=left)
        assert "No space left on device" in assert_ended_by_the_disk(process, run)
        with Checkpoints(run / "checkpoints") as found:
            assert found.latest == kept + checkpoints * CHECKPOINT_EVERY
            for step in found.steps():
                assert found.restore(step=step).step == step
            kept = found.latest
    server.run(*AUTOMATON, f"--workdir={run}")
    assert_same_end(run, whole)


def test_a_folder_that_is_read_only_is_refused_and_left_alone(server, whole, tmp_path):
    run, longer = tmp_path / "run", f"--config.training.steps={STEPS + CHECKPOINT_EVERY}"
    shutil.copytree(whole, run)
    with read_only(run):
        process = server.start(*AUTOMATON, longer, f"--workdir={run}", unprivileged=True)
        assert "cannot be written" in assert_ended_by_the_disk(process, run)
    assert_same_end(run, whole)
