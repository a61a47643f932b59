"""Runs are found by pattern, read without a change to them, and written to one page."""

import json
import re

import pytest
from compared_runs import curves, keep, scored
from tiny_runs import listing

from diffpattern.compare import compare, find
from diffpattern.errors import InputError
from diffpattern.run_folder import RunFolder


@pytest.fixture
def runs(tmp_path):
    """A folder with a scored run, one that has stopped, and one that has hardly begun."""
    keep(RunFolder(tmp_path / "runs" / "a-000"), {"seed": 3}, curves(4, 1.0), scored(0.1))
    keep(RunFolder(tmp_path / "runs" / "a-001"), {"seed": 4}, curves(2, 2.0))
    (tmp_path / "runs" / "a-002").mkdir()
    return tmp_path / "runs"


def assert_refused(call, *words):
    with pytest.raises(InputError) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(".")
    for word in words:
        assert str(word) in message


def test_a_page_is_written_a_table_printed_and_runs_stay_as_they_are(runs, tmp_path, capsys):
    before = listing(runs)
    compare(f"{runs}/a-*", tmp_path / "pages" / "page.html")
    assert listing(runs) == before
    out = capsys.readouterr().out
    assert re.findall(r"^a-00\d", out, re.M) == ["a-000", "a-001", "a-002"]
    assert re.search(r"^a-001 +4 .*2 of \d+ .*no scores yet", out, re.M)
    assert re.search(r"^a-002 +- +0 .*no scores yet", out, re.M)
    assert out.endswith(f"\nPage: {tmp_path / 'pages' / 'page.html'}\n")
    content = (tmp_path / "pages" / "page.html").read_text()
    assert "<a href='../runs/a-000/report.html'>a-000</a>" in content
    assert "<td>a-001</td>" in content
    assert [path.name for path in (tmp_path / "pages").iterdir()] == ["page.html"]


def test_patterns_may_overlap_and_names_be_the_same(runs, tmp_path, capsys):
    keep(RunFolder(tmp_path / "others" / "a-000"), {}, curves(4, 1.0))
    found = find(f"{runs}/a-00[01],{tmp_path}/others/*,{runs}/a-001")
    assert [folder.path for folder in found] == [
        runs / "a-000",
        runs / "a-001",
        tmp_path / "others" / "a-000",
    ]
    compare(f"{runs}/a-*,{tmp_path}/others/*", tmp_path / "page.html")
    out = capsys.readouterr().out
    assert f"\n{runs / 'a-000'} " in out
    assert f"\n{tmp_path / 'others' / 'a-000'} " in out
    assert "\na-001 " in out


def test_what_is_no_run_is_refused_and_nothing_is_written(runs, tmp_path):
    page = tmp_path / "page.html"
    assert_refused(lambda: compare(f"{runs}/b-*", page), f"{runs}/b-*", "matches nothing")
    assert_refused(lambda: compare(f"{runs}/a-*,", page), "''", "matches nothing")
    (runs / "a-002" / "thesis.tex").write_text("all of it")
    assert_refused(lambda: compare(f"{runs}/a-*", page), runs / "a-002", "config.json")
    (runs / "file").write_text("")
    assert_refused(lambda: compare(f"{runs}/file", page), runs / "file", "config.json")
    assert not page.exists()
    assert_refused(lambda: compare(f"{runs}/a-000", runs), runs, "cannot be written")
    assert_refused(lambda: compare(f"{runs}/a-000", runs / "file"), "no comparison of runs")
    assert (runs / "file").read_text() == ""


def test_a_comparison_is_made_again_in_its_place(runs, tmp_path):
    compare(f"{runs}/a-000", page := tmp_path / "page.html")
    first = page.read_text()
    compare(f"{runs}/a-*", page)
    assert "<td>a-001</td>" in page.read_text() and "a-001" not in first


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"nrmse": {"A": [1]}, "times": [0], "valid_time": {}}',
        '{"nrmse": {"A": [1]}, "times": [], "valid_time": {"A": 0}}',
    ],
)
def test_damaged_scores_are_refused(runs, tmp_path, content):
    path = runs / "a-000" / "eval" / "scores.json"
    path.write_text(content)
    assert_refused(lambda: compare(f"{runs}/a-*", tmp_path / "page.html"), path, "damaged")


def test_a_damaged_config_is_refused(runs, tmp_path):
    path = runs / "a-001" / "config.json"
    path.write_text(json.dumps({"sed": 3}))
    assert_refused(lambda: compare(f"{runs}/a-*", tmp_path / "page.html"), "sed", "seed")
