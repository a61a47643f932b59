"""The launcher for Slurm: what it submits, and that submitted to a real Slurm of one node."""

import json
import os
import re
import shlex
import subprocess
import time

import launchers
import one_node_slurm
import pytest

from diffpattern.training.checkpoints import Checkpoints

pytestmark = pytest.mark.xdist_group("test_slurm")
needs_slurm = pytest.mark.skipif(
    one_node_slurm.missing() is not None, reason=str(one_node_slurm.missing())
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return launchers.make_place(tmp_path_factory)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with one_node_slurm.one_node_slurm(tmp_path_factory.mktemp("slurm")) as slurm:
        yield slurm


def submit(slurm, place, *arguments):
    """Submits by launch/slurm.sh; returns the job's number."""
    done = subprocess.run(
        ["bash", place / "checkout" / "launch" / "slurm.sh", f"--config={place / 'tiny.py'}"]
        + list(arguments),
        capture_output=True,
        text=True,
        cwd=launchers.ROOT,
        env=slurm.environment | launchers.environment(place) | dict(PATH=slurm.environment["PATH"]),
    )
    assert done.returncode == 0, done.stderr
    return re.fullmatch(r"Submitted batch job (\d+)\n", done.stdout)[1]


def parameters(run):
    with Checkpoints(run / "checkpoints") as kept:
        assert max(kept.steps()) == launchers.STEPS
        return kept.restore(step=launchers.STEPS).parameters


@pytest.mark.slow
@needs_slurm
def test_a_preempted_job_ends_with_the_parameters_of_one_that_was_not(slurm, place):
    straight = place / "straight"
    code, out, error = launchers.launch(
        "gpus.sh", place, "--processes=2", f"--config={place / 'tiny.py'}", f"--workdir={straight}",
        *launchers.LONG,
    )  # fmt: skip
    assert code == 0, out + error

    run = place / "runs" / "preempted"
    tasks = ["--tasks_per_node=2", "--cpus_per_task=2"]
    number = submit(slurm, place, f"--workdir={run}", *tasks, *launchers.LONG)
    log = run.parent / f"slurm-{number}.log"
    scalars = run / "metrics" / "scalars.jsonl"
    end = time.monotonic() + 300
    while not scalars.is_file() or not scalars.read_text():
        assert slurm.job(number)["JobState"] in ("PENDING", "RUNNING"), log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
    urgent = slurm.call(
        "sbatch", "--parsable", "--partition=urgent", f"--output={place}/urgent", "--wrap=true"
    ).strip()
    job = slurm.wait(number, "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", seconds=300)
    told = log.read_text()
    assert (job["JobState"], job["ExitCode"], job["Restarts"]) == ("COMPLETED", "0:0", "1"), told
    assert slurm.job(urgent)["JobState"] == "COMPLETED"

    # It was stopped between two steps, and went on from there.
    assert f"job {number} goes back into the queue" in told
    step = int(re.search(r"Going on from step (\d+) of", told)[1])
    assert 0 < step < launchers.STEPS
    sessions = json.loads((run / "run.json").read_text())["sessions"]
    assert [len(session["devices"]) for session in sessions] == [2, 2]
    assert (run / "eval" / "scores.json").is_file()
    expected, found = parameters(straight), parameters(run)
    assert expected.keys() == found.keys()
    for term, arrays in expected.items():
        for name, array in arrays.items():
            assert (array == found[term][name]).all(), (term, name)


@pytest.mark.slow
@needs_slurm
def test_a_sweep_is_an_array_of_jobs(slurm, place):
    runs = place / "runs" / "one-*"
    flags = ["--sweep", f"--workdirs={runs}"]
    number = submit(slurm, place, *flags, "--jobs=2")
    states = {}
    for task in (0, 1, 2):
        job = slurm.wait(f"{number}_{task}", "COMPLETED", "FAILED", "CANCELLED", seconds=300)
        states[task] = job["JobState"], job["ExitCode"], job["Restarts"]
    logs = [(place / "runs" / f"slurm-{number}-{task}.log").read_text() for task in states]
    done, failed = ("COMPLETED", "0:0", "0"), ("FAILED", "2:0", "0")
    assert states == {0: done, 1: failed, 2: done}, "\n".join(logs)
    assert "diffpattern: training.window is 99" in logs[1]
    for task, seed in ((0, 5), (2, 7)):
        run = place / "runs" / f"one-00{task}"
        assert json.loads((run / "config.json").read_text())["seed"] == seed
        assert (run / "eval" / "scores.json").is_file()
    # What is complete is not submitted again.
    code, out, error = launchers.launch(
        "slurm.sh", place, f"--config={place / 'tiny.py'}", *flags, "--dry_run"
    )
    assert code == 0, error
    assert shlex.split(out.splitlines()[-1]).count("--array=1") == 1
    assert "[0] is complete." in error and "[2] is complete." in error


@pytest.mark.slow
@needs_slurm
def test_each_task_takes_all_gpus_that_it_is_shown(slurm, place):
    """Slurm shows each task GPUs of its own, which JAX counts from 0 in every task."""
    code, out, error = launchers.launch(
        "slurm.sh", place, f"--config={place / 'tiny.py'}", f"--workdir={place}/gpus",
        "--tasks_per_node=2", "--gpus_per_task=1", "--dry_run",
    )  # fmt: skip
    assert code == 0, error
    command = shlex.split(out.splitlines()[-1])
    script = next(index for index, word in enumerate(command) if word.endswith("slurm_job.sh"))
    # The same job, whose tasks tell what they see.
    command[script + 1 :] = ["sh", "-c", "echo sees $CUDA_VISIBLE_DEVICES:$JAX_LOCAL_DEVICE_IDS"]
    number = slurm.call(*command).split()[-1]
    slurm.wait(number, "COMPLETED", seconds=60)
    told = (place / f"slurm-{number}.log").read_text()
    assert sorted(re.findall(r"sees (\S+)", told)) == ["0:0", "1:0"]


@pytest.mark.slow
@needs_slurm
def test_a_job_that_is_stopped_before_it_listens_is_queued_again(slurm, place):
    begun = place / "listens-not"
    task = f"[ ! -e {begun} ] || exit 0; touch {begun}; exec sleep 100"
    script = place / "checkout" / "launch" / "slurm_job.sh"
    options = ["--requeue", "--parsable", f"--output={place}/early-%j.log"]
    number = slurm.call("sbatch", *options, script, "sh", "-c", task).strip()
    while not begun.exists():
        time.sleep(0.1)
    slurm.call("scancel", "--signal=TERM", number)
    assert slurm.wait(number, "COMPLETED", seconds=60)["Restarts"] == "1"


@pytest.mark.slow
@needs_slurm
@pytest.mark.parametrize("ending", ["kill -KILL $$", "exit 69"])
def test_a_job_that_loses_a_task_is_queued_again(slurm, place, ending):
    """As the other task then ends itself, which wants to be started again."""
    begun = place / f"begun-{len(ending)}-"
    task = f"mine={begun}$SLURM_PROCID; [ ! -e $mine ] || exit 0; touch $mine; "
    task += f"[ $SLURM_PROCID = 1 ] || exit 75; {ending}"
    script = place / "checkout" / "launch" / "slurm_job.sh"
    options = ["--requeue", "--parsable", "--ntasks=2", f"--output={place}/lost-%j.log"]
    number = slurm.call("sbatch", *options, script, "sh", "-c", task).strip()
    job = slurm.wait(number, "COMPLETED", "FAILED", seconds=60)
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1")


@pytest.mark.parametrize(
    ("code", "restarts", "queued"),
    [
        (0, "", False), (1, "", False), (2, "", False),
        (75, "", True), (143, "", True), (75, "99", True),
        (69, "", True), (137, "9", True), (137, "10", False),
    ],
)  # fmt: skip
def test_what_went_wrong_decides_whether_a_job_is_queued_again(tmp_path, code, restarts, queued):
    """Other programs in the places of srun and scontrol."""
    for name, line in (("srun", f"exit {code}"), ("scontrol", f"touch {tmp_path}/queued")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    if restarts:
        environment["SLURM_RESTART_COUNT"] = restarts
    script = launchers.ROOT / "launch" / "slurm_job.sh"
    done = subprocess.run(["bash", script, "true"], capture_output=True, text=True, env=environment)
    assert done.returncode == code, done.stderr
    assert (tmp_path / "queued").exists() == queued


@pytest.mark.slow
@needs_slurm
def test_a_job_that_fails_or_is_cancelled_stays_so(slurm, place):
    job = [place / "checkout" / "launch" / "slurm_job.sh"]
    options = ["--requeue", "--parsable", f"--output={place}/ended-%j.log"]
    failed = slurm.call("sbatch", *options, *job, "sh", "-c", "exit 2").strip()
    ended = slurm.wait(failed, "FAILED", seconds=60)
    assert (ended["ExitCode"], ended["Restarts"]) == ("2:0", "0")
    told = "trap 'exit 75' TERM; touch {}; while true; do sleep 0.1; done"
    begun = place / "begun"
    cancelled = slurm.call("sbatch", *options, *job, "bash", "-c", told.format(begun)).strip()
    while not begun.exists():
        time.sleep(0.1)
    slurm.call("scancel", cancelled)
    assert slurm.wait(cancelled, "CANCELLED", seconds=60)["Restarts"] == "0"


def test_the_command_is_printed(place):
    config = f"--config={place / 'tiny.py'}"
    code, out, error = launchers.launch(
        "slurm.sh", place, config, "--workdir=runs/mine", "--nodes=2", "--tasks_per_node=4",
        "--gpus_per_task=1", "--cpus_per_task=8", "--time=4:00:00", "--partition=gpu",
        "--grace=300", "--sbatch=--constraint=a100", "--config.seed=3", "--dry_run",
    )  # fmt: skip
    assert (code, error) == (0, "")
    made, submitted = map(shlex.split, out.splitlines())
    assert made == ["mkdir", "-p", "runs"]
    checkout = place / "checkout"
    python = str(checkout / ".venv" / "bin" / "python")
    script = submitted.index(str(checkout / "launch" / "slurm_job.sh"))
    assert submitted[0] == "sbatch"
    assert set(submitted[1:script]) == {
        "--job-name=mine", "--output=runs/slurm-%j.log", "--open-mode=append", "--requeue",
        "--signal=TERM@300", "--nodes=2", "--ntasks-per-node=4", "--gpus-per-task=1",
        "--cpus-per-task=8", "--time=4:00:00", "--partition=gpu", "--constraint=a100",
    }  # fmt: skip
    assert submitted[script + 1 :] == [
        python, "-m", "diffpattern.main", config, "--workdir=runs/mine", "--config.seed=3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workdir=x", "--nodes=0"], "--nodes is '0'"),
        (["--workdir=x", "--tasks_per_node=two"], "--tasks_per_node is 'two'"),
        (["--workdir=x", "--gpus_per_task=a100:1"], "--gpus_per_task is 'a100:1'"),
        (["--workdir=x", "--grace=-1"], "--grace is '-1'"),
        (["--workdir=x", "--mode=eval"], "--mode=eval"),
        (["--workdir=x", "--only=3"], "--only and --jobs are for --sweep"),
        (["--sweep=3"], "--sweep --only=3"),
        (["--sweep", "--jobs=0"], "--jobs is '0'"),
        ([], "--workdir is missing"),
        (["--workdir=x", "--config="], "--config is missing"),
    ],
    ids=str,
)
def test_what_cannot_be_is_told_in_a_sentence(place, arguments, words):
    code, out, error = launchers.launch(
        "slurm.sh", place, f"--config={place / 'tiny.py'}", *arguments, "--dry_run"
    )
    assert (code, out) == (2, "")
    assert len(error.splitlines()) == 1 and words in error
