"""The launcher for TPU slices: its commands, read by gcloud, and what it does when a slice is lost.

No slice is asked for here. gcloud reads a command before it looks for an account, which there is
none of in the folder that it is given.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile

import launchers
import pytest

FLAGS = [
    "--name=mine", "--zone=us-central1-a", "--type=v5litepod-16", "--runtime=v2-alpha-tpuv5-lite",
    "--nfs=10.0.0.2:/share", "--workdir=runs/mine", "--config=configs/pde.py",
]  # fmt: skip
# Stands for gcloud: notes what it was asked, and answers with the next line of a file for each
# `describe`, and the next exit code of another for each training.
GCLOUD = """#!{python}
import json, pathlib, shutil, sys
place, words = pathlib.Path({place!r}), sys.argv[1:]
with (place / "asked").open("a") as asked:
    asked.write(json.dumps(words) + "\\n")
def next_of(name):
    lines = (place / name).read_text().split()
    (place / name).write_text(" ".join(lines[1:]))
    return lines[0]
if "describe" in words:
    state = next_of("states")
    sys.exit(1) if state == "absent" else print(state)
elif "scp" in words:
    shutil.copy(words[4], place / "sent.tar.gz")
elif any("launch/local.sh" in word for word in words):
    sys.exit(int(next_of("codes")))
"""


def launch(*arguments, path=os.environ["PATH"]):
    """Runs launch/tpu.sh; returns its exit code, stdout and stderr."""
    done = subprocess.run(
        ["bash", launchers.ROOT / "launch" / "tpu.sh", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": path},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed")
def test_gcloud_takes_the_commands(tmp_path):
    code, out, error = launch(*FLAGS, "--project=p", "--spot", "--delete", "--dry_run")
    assert (code, error) == (0, "")
    commands = [shlex.split(line) for line in out.splitlines()]
    commands = [command for command in commands if command[0] == "gcloud"]
    commands.append(shlex.split(f"{STATE} --project=p --zone=us-central1-a"))
    assert len(commands) == 6
    environment = os.environ | {
        "CLOUDSDK_CONFIG": str(tmp_path),
        # It is not to ask the network for an account either.
        "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "true",
    }

    def told(command):
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        return done.returncode, done.stderr

    for command in commands:
        code, error = told(command)
        assert code == 1 and "do not currently have an active account" in error, (command, error)
    code, error = told([*commands[0], "--spott"])
    assert code == 2 and "unrecognized arguments: --spott" in error


STATE = "gcloud compute tpus queued-resources describe mine --format='value(state.state)'"


@pytest.fixture
def cloud(tmp_path):
    """A folder with a stand-in for gcloud, and a sleep that is over at once."""
    (tmp_path / "gcloud").write_text(GCLOUD.format(python=sys.executable, place=str(tmp_path)))
    (tmp_path / "sleep").write_text("#!/bin/sh\n")
    for name in ("gcloud", "sleep"):
        (tmp_path / name).chmod(0o755)
    return tmp_path


def asked(cloud, states, codes, *arguments):
    """The exit code, and the verbs that gcloud heard."""
    (cloud / "states").write_text(states)
    (cloud / "codes").write_text(codes)
    (cloud / "asked").write_text("")
    code, _, error = launch(*FLAGS, *arguments, path=f"{cloud}:{os.environ['PATH']}")
    lines = [json.loads(line) for line in (cloud / "asked").read_text().splitlines()]
    verbs = []
    for line in lines:
        trains = any("launch/local.sh" in word for word in line)
        verbs.append("train" if trains else line[3])
    return code, " ".join(verbs), error


def test_a_slice_is_asked_for_waited_for_and_given_back(cloud):
    code, verbs, error = asked(cloud, "absent WAITING_FOR_RESOURCES ACTIVE", "0", "--delete")
    assert code == 0, error
    assert verbs == "describe create describe describe scp ssh train delete"
    with tarfile.open(cloud / "sent.tar.gz") as sent:
        assert {"launch/local.sh", "setup.cfg", "configs/pde.py"} <= set(sent.getnames())


def test_a_run_that_was_told_to_stop_is_started_again(cloud):
    code, verbs, error = asked(cloud, "ACTIVE ACTIVE", "75 0")
    assert code == 0, error
    assert verbs == "describe scp ssh train describe scp ssh train"
    assert error.count("started again") == 1


def test_a_slice_that_is_taken_away_is_asked_for_again(cloud):
    states = "ACTIVE SUSPENDING SUSPENDED absent ACTIVE"
    code, verbs, error = asked(cloud, states, "255 0")
    assert code == 0, error
    assert verbs == (
        "describe scp ssh train describe describe delete describe create describe scp ssh train"
    )


@pytest.mark.parametrize("code", ["255", "137", "69"])
def test_a_mishap_on_a_slice_that_is_there_has_the_run_stopped_and_started_again(cloud, code):
    ended, verbs, error = asked(cloud, "ACTIVE " * 4, f"{code} 0", "--delete")
    assert ended == 0, error
    # The one that is told to stop there may have gone on, and then saves itself.
    assert verbs == "describe scp ssh train describe ssh describe scp ssh train delete"
    (stop,) = (
        line
        for line in (cloud / "asked").read_text().splitlines()
        if "pkill -TERM -f '[d]iffpattern.main'" in line
    )
    assert "--worker=all" in json.loads(stop)


@pytest.mark.parametrize(("code", "kept"), [(255, True), (137, False)])
def test_after_ten_mishaps_it_ends_and_keeps_a_slice_on_which_a_run_may_go_on(cloud, code, kept):
    ended, verbs, error = asked(cloud, "ACTIVE " * 22, f"{code} " * 11, "--delete")
    assert ended == code
    assert verbs.split().count("train") == 11
    assert ("delete" not in verbs) == kept == ("the slice is kept" in error)


@pytest.mark.parametrize(("code", "states"), [("2", "ACTIVE"), ("1", "ACTIVE ACTIVE")])
def test_what_fails_is_not_started_again(cloud, code, states):
    ended, verbs, error = asked(cloud, states, code)
    assert ended == int(code) and "started again" not in error
    assert verbs.split().count("train") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (FLAGS[1:], "--name is missing"),
        ([*FLAGS, "--workdir=/tmp/x"], "it must lie in runs/"),
        ([*FLAGS, "--nfs=share"], "--nfs is 'share'; write it as HOST:/SHARE"),
    ],
    ids=str,
)
def test_what_cannot_be_is_told_in_a_sentence(arguments, words):
    code, out, error = launch(*arguments, "--dry_run")
    assert (code, out) == (2, "")
    assert len(error.splitlines()) == 1 and words in error
