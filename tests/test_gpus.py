"""The launcher of several processes on one machine."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import time

import launchers
import pytest

pytestmark = pytest.mark.xdist_group("test_gpus")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return launchers.make_place(tmp_path_factory)


@pytest.fixture
def with_gpus(tmp_path, monkeypatch):
    """A machine that shows four GPUs."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nfor each in 0 1 2 3; do echo GPU $each; done\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("arguments", "devices"),
    [([], ["0", "1", "2", "3"]), (["--processes=2"], ["0,1", "2,3"])],
    ids=str,
)
def test_each_process_has_gpus_of_its_own(place, with_gpus, arguments, devices):
    flags = ["--config=configs/pde.py", "--workdir=runs/mine"]
    code, out, error = launchers.launch("gpus.sh", place, *flags, *arguments, "--dry_run")
    assert (code, error) == (0, "")
    commands = [shlex.split(line) for line in out.splitlines()]
    python = str(place / "checkout" / ".venv" / "bin" / "python")
    coordinator = next(flag for flag in commands[0] if flag.startswith("--coordinator=localhost:"))
    assert commands == [
        ["env", f"JAX_LOCAL_DEVICE_IDS={own}", python, "-m", "diffpattern.main", *flags]
        + [coordinator, f"--processes={len(devices)}", f"--process={number}"]
        for number, own in enumerate(devices)
    ]


def test_a_single_process_needs_no_others(place):
    flags = ["--config=configs/pde.py", "--workdir=runs/mine"]
    code, out, _ = launchers.launch("gpus.sh", place, *flags, "--processes=1", "--dry_run")
    assert code == 0
    assert shlex.split(out)[1:] == ["-m", "diffpattern.main", *flags]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workdir=x", "--processes=3"], "--processes is 3, which does not divide 4 GPUs"),
        (["--workdir=x", "--processes=none"], "--processes is 'none'"),
        (["--workdir=x", "--process=1"], "--process=1 is chosen here"),
        ([], "--workdir is missing"),
    ],
    ids=str,
)
def test_what_cannot_be_is_told_in_a_sentence(place, with_gpus, arguments, words):
    code, out, error = launchers.launch("gpus.sh", place, *arguments, "--dry_run")
    assert (code, out) == (2, "")
    assert len(error.splitlines()) == 1 and words in error


@pytest.mark.parametrize(
    ("codes", "starts"),
    [
        ([0], 1),
        ([2], 1),
        ([1], 1),
        ([75, 143, 0], 3),
        ([69, 137, 139, 0], 4),
        ([75] * 11 + [0], 12),
        ([137] * 12, 11),
    ],
    ids=str,
)
def test_what_went_wrong_decides_whether_it_is_started_again(tmp_path, codes, starts):
    """Another program in the place of the interpreter that trains."""
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    shutil.copytree(launchers.ROOT / "launch", tmp_path / "launch")
    (tmp_path / "codes").write_text("".join(f"{code}\n" for code in codes))
    python.write_text(
        f"#!/bin/sh\ncd {tmp_path}\n[ $1 = -c ] && exit\n"
        "code=$(head -n 1 codes); sed -i 1d codes; exit $code\n"
    )
    python.chmod(0o755)
    script = ["bash", tmp_path / "launch" / "gpus.sh", "--processes=1", "--workdir=x"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == codes[starts - 1]
    assert done.stderr.count("started again") == starts - 1
    assert len((tmp_path / "codes").read_text().split()) == len(codes) - starts


@pytest.mark.slow
def test_it_stops_when_told_and_goes_on_when_started_again(place):
    run = place / "run"
    command = ["bash", place / "checkout" / "launch" / "gpus.sh", "--processes=2"]
    command += [f"--config={place / 'tiny.py'}", f"--workdir={run}", *launchers.LONG]
    environment = launchers.environment(place)

    def start():
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=launchers.ROOT,
            env=environment,
        )

    first = start()
    scalars = run / "metrics" / "scalars.jsonl"
    while first.poll() is None and not (scalars.is_file() and scalars.read_text()):
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    told, _ = first.communicate(timeout=120)
    assert first.returncode == 75, told
    stopped = int(re.search(r"after step (\d+) of", told)[1])
    second = start()
    told, _ = second.communicate(timeout=300)
    assert second.returncode == 0, told
    assert f"Going on from step {stopped} of {launchers.STEPS}" in told


@pytest.mark.slow
def test_bad_input_ends_all_processes(place):
    code, out, error = launchers.launch(
        "gpus.sh", place, "--processes=2", f"--config={place / 'tiny.py'}", "--sweep=1",
        f"--workdir={place / 'bad'}",
    )  # fmt: skip
    assert code == 2
    assert "training.window is 99" in error, out
    assert "started again" not in error
