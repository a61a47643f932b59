"""The launchers, really run: a sweep of tiny runs, two at a time."""

import json
import re
import shlex
import shutil

import launchers
import pytest

from diffpattern.compare import compare

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("test_launch")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return launchers.make_place(tmp_path_factory)


def launch(place, *arguments):
    """Runs launch/sweep.sh; returns its exit code, stdout and stderr."""
    config = f"--config={place / 'tiny.py'}"
    return launchers.launch("sweep.sh", place, config, f"--workdirs={place}/runs/one-*", *arguments)


@pytest.fixture(scope="module")
def swept(place):
    """What the launcher said of all three runs, two at a time."""
    return launch(place, "--jobs=2")


def test_every_combination_has_a_run_of_its_own(swept, place):
    code, out, error = swept
    assert code == 1
    assert "Failed: 1 of 3" in error
    assert re.search(r"^\[1\] diffpattern: training.window is 99", out, re.M), out
    assert re.search(r"^\[2\] .*step 2 of 2", out, re.M)
    assert sorted(path.name for path in (place / "runs").iterdir()) == ["one-000", "one-002"]
    for number, seed, window in ((0, 5, 1), (2, 7, 2)):
        run = place / "runs" / f"one-00{number}"
        config = json.loads((run / "config.json").read_text())
        assert (config["seed"], config["training"]["window"]) == (seed, window)
        session = json.loads((run / "run.json").read_text())["sessions"][0]
        assert session["sweep"] == {
            "number": number,
            "fields": {"seed": seed, "training.window": window},
        }
        assert f"--sweep={number}" in session["command"]
        assert (run / "eval" / "scores.json").is_file()


def test_the_runs_are_compared(swept, place, capsys):
    compare(f"{place}/runs/one-*", place / "page.html")
    out = capsys.readouterr().out
    for number, seed in ((0, 5), (2, 7)):
        assert re.search(rf"^one-00{number} +{seed} +{1 + number // 2} +2 +\d", out, re.M), out
    assert "no scores yet" not in out
    assert (place / "page.html").read_text().count("svg+xml") == 4


def test_what_is_dry_is_printed_and_what_is_complete_skipped(swept, place):
    code, out, error = launch(place, "--dry_run", "--jobs=2", "--config.training.steps=2")
    assert code == 0, error
    assert "[0] is complete." in error and "[2] is complete." in error
    command = shlex.split(out)
    assert len(out.splitlines()) == 1
    assert command == [
        str(place / "checkout" / ".venv" / "bin" / "python"), "-m", "diffpattern.main",
        f"--config={place / 'tiny.py'}", f"--workdirs={place}/runs/one-*",
        "--config.training.steps=2", "--sweep=1",
    ]  # fmt: skip
    assert len(list((place / "runs").iterdir())) == 2


def test_some_are_asked_for_by_number(swept, place):
    code, out, error = launch(place, "--only=0,7")
    assert (code, out) == (2, "")
    assert error.splitlines()[0] == "[0] is complete."
    assert "no combination 7" in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--jobs=0"], "--jobs is '0'"),
        (["--jobs=many"], "--jobs is 'many'"),
        (["--only=first"], "--only is 'first'"),
        (["--mode=eval"], "--mode=eval"),
    ],
    ids=str,
)
def test_what_cannot_be_is_told_in_a_sentence(place, arguments, words):
    code, out, error = launch(place, *arguments)
    assert (code, out) == (2, "")
    assert len(error.splitlines()) == 1
    assert words in error


def test_the_environment_is_made_with_what_is_asked_for(tmp_path, monkeypatch):
    place = tmp_path / "place"
    shutil.copytree(launchers.ROOT / "launch", place / "checkout" / "launch")
    monkeypatch.setenv("EXTRAS", "tpu")
    monkeypatch.setenv("PYTHON", "python3.11")
    code, out, error = launchers.launch("local.sh", place, "--config=a b.py", "--dry_run")
    assert (code, error) == (0, "")
    checkout = place / "checkout"
    python = str(checkout / ".venv" / "bin" / "python")
    assert [shlex.split(line) for line in out.splitlines()] == [
        ["python3.11", "-m", "venv", str(checkout / ".venv")],
        [python, "-m", "pip", "install", "--quiet", "--editable", f"{checkout}[tpu]"],
        ["exec", python, "-m", "diffpattern.main", "--config=a b.py"],
    ]
