"""A run's folder takes one run and one process at a time, and says what is wrong with it."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tiny
from tiny_runs import listing

from diffpattern import configuration, run_folder, systems
from diffpattern.data import statistics
from diffpattern.errors import InputError
from diffpattern.run_folder import RunFolder, new_folder

DIGEST = {"train": "a", "test": tiny.data().digest()}


def assert_refused(call, *words):
    with pytest.raises(InputError) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(".")
    for word in words:
        assert str(word) in message


@pytest.fixture
def folder(tmp_path):
    """A folder in which one session has begun."""
    folder = RunFolder(tmp_path / "run")
    folder.record(tiny.config(), "configs/pde.py", DIGEST)
    data = tiny.data()
    folder.keep_data([data], statistics.summarise([data], (1,)))
    return folder


def test_config_and_data_come_back(folder):
    assert folder.config() == tiny.config()
    (truth,), summary = folder.data()
    assert truth.digest() == tiny.data().digest()
    assert summary == statistics.summarise([tiny.data()], (1,))
    assert not [name for name in listing(folder.path) if "/." in name or name.startswith(".")]


def test_other_data_than_those_of_the_run_are_refused(folder):
    tiny.data(seed=1).save_npz(folder.path / "data" / "test.npz")
    assert_refused(folder.data, folder.path / "data" / "test.npz", "run.json", "--workdir")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gray_scott", "give data.directory where those are"),
        ("images", "have 'images' read those"),
        ("my_lab:read", "have 'my_lab:read' read those"),
        ("given", "hand over those"),
    ],
)
def test_a_run_begun_on_other_data_is_told_where_they_could_come_from(
    folder, monkeypatch, name, told
):
    monkeypatch.setattr(systems, "is_system", lambda name: name == "gray_scott")
    config = tiny.config(**{"data.name": name})
    other = DIGEST | {"train": "another"}
    call = lambda: folder.record(config, "configs/pde.py", other)
    assert_refused(call, "The train data", folder.path, told, "or give another workdir")


def test_a_file_of_a_run_is_not_its_folder(folder):
    path = folder.path / "config.json"
    assert_refused(lambda: RunFolder(path).config(), path, "is a file", "takes a folder")


def test_a_picture_of_the_data_may_be_there_before_the_run(tmp_path):
    (tmp_path / "data.png").write_text("of --mode=data")
    RunFolder(tmp_path).check(tiny.config())
    (tmp_path / "thesis.tex").write_text("all of it")
    assert_refused(lambda: RunFolder(tmp_path).check(tiny.config()), tmp_path, "--workdir")


def test_every_session_is_recorded(folder):
    config = tiny.config(**{"training.steps": 99})
    folder.check(config)
    folder.record(config, "configs/other.py", DIGEST, {"number": 3, "fields": {"seed": 0}})
    facts = json.loads((folder.path / "run.json").read_text())
    assert facts["data_digest"] == DIGEST
    assert [session["config"] for session in facts["sessions"]] == [
        "configs/pde.py",
        "configs/other.py",
    ]
    for session in facts["sessions"]:
        assert set(session) == {
            "started", "command", "config", "fields", "sweep", "commit", "versions", "devices",
        }  # fmt: skip
        assert session["versions"]["jax"]
        assert len(session["devices"]) == 8
        assert re.match(r"\d{4}-\d\d-\d\dT.*[+-]\d\d:\d\d$", session["started"])
    assert facts["sessions"][-1]["fields"] == {"training.steps": 99}
    assert [session["sweep"] for session in facts["sessions"]] == [
        None,
        {"number": 3, "fields": {"seed": 0}},
    ]
    assert folder.config().training.steps == 99


def test_the_command_can_be_typed_again(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["main.py", "--config.data.shape=(8, 8)", "--workdir=a b"])
    command = run_folder.command()
    printed = subprocess.run(
        command.replace("python -m diffpattern.main", "printf '%s\\n'"),
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed.splitlines() == sys.argv[1:]


def test_a_run_of_another_config_or_of_other_data_is_refused(folder):
    before = listing(folder.path)
    other = tiny.config(**{"solver.dt": 0.5})
    assert_refused(lambda: folder.check(other), "solver.dt", "0.5", "1.0", folder.path)
    changed = DIGEST | {"train": "c"}
    assert_refused(
        lambda: folder.record(tiny.config(), "configs/pde.py", changed), "train", folder.path
    )
    assert listing(folder.path) == before


def test_places_that_are_no_runs_are_refused(tmp_path, monkeypatch):
    config = tiny.config()
    RunFolder(tmp_path / "new" / "deep").check(config)
    (tmp_path / "empty").mkdir()
    RunFolder(tmp_path / "empty").check(config)

    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("all of it")
    (tmp_path / "file").write_text("")
    before = listing(tmp_path)
    assert_refused(lambda: RunFolder(other).check(config), other, "--workdir")
    assert_refused(lambda: RunFolder(other).config(), other, "config.json")
    assert_refused(lambda: RunFolder(tmp_path / "file").check(config), tmp_path / "file")
    assert_refused(lambda: RunFolder(tmp_path / "file" / "a").check(config), tmp_path / "file")

    monkeypatch.setattr(os, "access", lambda *_: False)
    assert_refused(lambda: RunFolder(tmp_path / "new").check(config), tmp_path / "new", "write")
    assert listing(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "other"]


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    folder = RunFolder(tmp_path / "file" / "run")
    assert_refused(lambda: folder.write("eval/scores.json", "{}"), "file/run/eval/scores.json")
    with pytest.raises(InputError, match="cannot be made"), folder.alone():
        pass


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("config.json", b"\xff\xfe\x00", "config.json"),
        ("config.json", b"{}}", "config.json"),
        ("run.json", b"{", "run.json"),
        ("run.json", b"[]", "run.json"),
        ("run.json", b'{"sessions": []}', "data_digest"),
    ],
)
def test_damaged_records_are_refused(folder, name, content, hint):
    (folder.path / name).write_bytes(content)
    before = listing(folder.path)
    assert_refused(lambda: folder.check(tiny.config()), folder.path / name, hint)
    assert listing(folder.path) == before


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"grid": 5}', b'{"species": ["A"], "grid": {"boundary": [1]}}']
)
def test_damaged_statistics_are_refused(folder, content):
    path = folder.path / "data" / "statistics.json"
    path.write_bytes(content)
    assert_refused(folder.data, path, "training with")
    path.unlink()
    assert_refused(folder.data, path, "missing")


def test_a_flipped_byte_in_the_test_data_is_noticed(folder):
    path = folder.path / "data" / "test.npz"
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    start = content.index(b"values.npy") + 200
    for position in random.integers(start, start + tiny.data().values.nbytes - 200, 8):
        flipped = content.copy()
        flipped[position] ^= 0x10
        path.write_bytes(flipped)
        assert_refused(folder.data, path)
    path.write_bytes(content[:-100])
    assert_refused(folder.data, path)
    path.unlink()
    assert_refused(folder.data, path)


def test_one_process_at_a_time_trains_in_a_folder(folder):
    with (
        folder.alone(),
        pytest.raises(InputError, match="Another process is training in"),
        folder.alone(),
    ):
        pass
    with folder.alone():
        pass


def test_a_folder_in_which_training_could_not_begin_is_free(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(ZeroDivisionError), folder.alone():
        raise ZeroDivisionError
    assert folder.is_free
    folder.check(tiny.config())
    (folder.path / "mine").touch()
    assert not folder.is_free


def test_a_folder_that_cannot_be_locked_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "training.lock").mkdir()
    with (
        pytest.raises(InputError, match=f"{tmp_path} cannot be locked: Is a directory"),
        RunFolder(tmp_path).alone(),
    ):
        pass


def test_a_run_is_complete_once_its_report_tells_of_its_last_step(folder):
    assert not folder.is_complete(3)
    rows = [{"step": step} for step in (1, 2, 3)]
    folder.write("metrics/scalars.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert not folder.is_complete(3)
    folder.write("report.html", "<html>")
    assert folder.is_complete(3)
    assert not folder.is_complete(4)
    # It went on to more steps and stopped before it was scored.
    before = folder.report.stat().st_mtime
    os.utime(folder.scalars, (before + 9, before + 9))
    assert not folder.is_complete(3)


def test_a_run_without_a_report_is_complete_once_it_is_scored(folder):
    config = tiny.config(**{"evaluation.report": False})
    folder.write("config.json", configuration.to_json(config))
    folder.write("metrics/scalars.jsonl", json.dumps({"step": 3}) + "\n")
    assert not folder.is_complete(3)
    folder.write("eval/scores.json", "{}")
    assert folder.is_complete(3)


def test_new_folders_do_not_meet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = []
    for _ in range(3):
        folder = new_folder("some/where/mine.py:fast")
        folder.path.mkdir(parents=True)
        names.append(folder.path.name)
    assert len(set(names)) == 3
    assert all(re.match(r"mine-\d{8}-\d{6}(-\d)?$", name) for name in names)
