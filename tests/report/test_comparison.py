"""The comparison's table and page: what is the same in both, and what each shows of which run."""

import base64
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from compared_runs import curves, run, scored

from diffpattern.report import comparison
from diffpattern.report.comparison import ComparedRun

RATE = "optimiser.optax.learning_rate"


class Page(HTMLParser):
    """The table's cells, texts, and addresses; notices tags that are closed out of order."""

    def __init__(self, content):
        super().__init__()
        self.open, self.heads, self.rows, self.words, self.links = [], [], [], [], []
        self.feed(content)
        assert not self.open
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("href", "src", "srcset")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "br":
            self.rows[-1][-1] += " "
        if tag not in ("meta", "img", "source", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def page(runs):
    return Page(comparison.render(runs, "python -m diffpattern.main --mode=compare"))


def cells(runs):
    """The page's table as a dictionary by run and heading; without the curves, which take time."""
    head, *rows = Page(comparison._table(comparison.ordered(runs))).rows
    return {row[0]: dict(zip(head, row, strict=True)) for row in rows}


@pytest.fixture
def runs():
    """Three runs that differ in their rates and seeds; the second is the best, one has stopped."""
    steps = {"training.steps": 6}
    return [
        run("sweep-000", steps | {RATE: 0.5}, curves(6, 1.0), scored(0.3), "a/report.html"),
        run("sweep-001", steps | {RATE: 0.25}, curves(6, 0.1, 1000.0), scored(0.1)),
        run("sweep-002", steps | {RATE: 0.125, "seed": 7}, curves(3, 4.0)),
    ]


def test_the_best_comes_first_and_what_has_no_scores_last(runs):
    assert list(cells(runs)) == ["sweep-001", "sweep-000", "sweep-002"]
    lost = run("lost", {}, curves(6, 1e-9), scored(np.inf))
    begun = ComparedRun("begun", {}, [], None)
    assert list(cells([begun, lost, *runs])) == [
        "sweep-001", "sweep-000", "lost", "sweep-002", "begun",
    ]  # fmt: skip


def test_every_number_of_a_run_is_in_its_row(runs):
    table = cells(runs)
    best, other, stopped = table["sweep-001"], table["sweep-000"], table["sweep-002"]
    assert list(best) == [
        "run", "learning_rate", "seed", "steps", "loss", "validation", "score",
        "NRMSE of A at t = 64", "A valid until", "NRMSE of B at t = 64", "B valid until", "time",
    ]  # fmt: skip
    errors = {name: values[-1] for name, values in scored(0.1)["nrmse"].items()}
    assert float(best["NRMSE of A at t = 64"]) == pytest.approx(errors["A"], rel=0.01)
    assert float(best["NRMSE of B at t = 64"]) == pytest.approx(errors["B"], rel=0.01)
    assert float(best["score"]) == pytest.approx(sum(errors.values()) / 2, rel=0.01)
    assert (best["seed"], best["learning_rate"], best["steps"]) == ("0", "0.25", "6")
    assert (best["loss"], best["validation"], best["time"]) == ("0.0500", "0.500", "1:40:00")
    assert (best["A valid until"], other["A valid until"]) == ("the end", "0")
    assert (stopped["seed"], stopped["steps"], stopped["time"]) == ("7", "3 of 6", "0:00:06")
    assert stopped["score"] == "no scores yet"
    assert stopped["NRMSE of A at t = 64"] == stopped["A valid until"] == "–"


def test_the_terminal_has_the_same_table(runs):
    lines = comparison.as_text(runs).splitlines()
    shown = cells(runs)
    first, second = lines[:2]
    assert first.split("  ")[0] == "run"
    assert "NRMSE of A" in first and "at t = 64" in second
    assert first.index("NRMSE of A") + len("NRMSE of A") == second.index("at t = 64") + len(
        "at t = 64"
    )
    for line, (name, row) in zip(lines[2:], shown.items(), strict=True):
        values = re.split(r" {2,}", line)
        assert values[0] == name
        assert values[1] == row["learning_rate"]
        assert values[3] == row["steps"]
        assert values[-1] == row["time"]
        assert ("no scores yet" in line) == (name == "sweep-002")


def test_runs_of_other_species_and_times_share_a_table(runs):
    long = run("long", {}, curves(6, 1.0), scored(0.2, ("B", "u"), snapshots=9))
    table = cells([*runs, long])
    assert table["long"]["NRMSE of A at t = 64"] == "–"
    assert table["sweep-000"]["NRMSE of u at t = 128"] == "–"
    assert float(table["long"]["NRMSE of u at t = 128"]) == pytest.approx(0.2, rel=0.1)
    assert table["long"]["end of B"] == "128"
    assert table["sweep-000"]["end of B"] == "64"
    assert float(table["sweep-000"]["NRMSE of B at the end"]) == pytest.approx(0.3, rel=0.1)
    assert "end of u" not in table["long"]


def test_the_last_time_is_the_last_that_was_seen():
    known = np.ones((3, 5, 2))
    known[:, 3:, 1] = 0
    table = cells([run("one", {}, curves(2, 1.0), scored(0.1, known=known))])
    assert {"NRMSE of A at t = 64", "NRMSE of B at t = 32"} < set(table["one"])


def test_what_is_not_finite_says_so():
    rows = [{"step": 1, "loss": None, "validation": None}]
    one = run("lost", {"training.steps": 1}, rows, scored(np.inf))
    row = cells([one])["lost"]
    assert row["loss"] == row["validation"] == row["score"] == "not finite"
    assert row["time"] == "–"
    assert " inf " in comparison.as_text([one])


def test_fields_are_told_by_as_much_of_their_path_as_differs():
    fields = {"training.steps": 9, "training.inner.steps": 8, "seed": 1, "data.seed": 1}
    head = list(cells([run("one", {}), run("other", fields)])["one"])
    assert head[1:5] == ["data.seed", "seed", "inner.steps", "training.steps"]
    fields = {"data.validation": 9, "training.steps": 9}
    head = list(cells([run("one", {}), run("other", fields)])["one"])
    assert head[1:6] == ["data.validation", "training.steps", "steps", "loss", "validation"]
    assert comparison.differing([run("one", {}), run("same", {})]) == []


def drawn(content):
    """The charts of a page, as SVG."""
    uris = [link for link in Page(content).links if link.startswith("data:image/svg+xml")]
    return [ElementTree.fromstring(base64.b64decode(uri.split(",")[1])) for uri in uris]


def test_curves_are_drawn_over_steps_and_seconds_in_light_and_dark(runs):
    content = comparison.render(runs, "")
    assert len(drawn(content)) == 4
    for one in runs:
        for row in one.curves:
            row.pop("seconds")
    assert len(drawn(comparison.render(runs, ""))) == 2
    assert drawn(comparison.render([ComparedRun("begun", {}, [], None)], "")) == []


def test_nothing_is_fetched_and_reports_are_linked(runs):
    shown = page(runs)
    assert [link for link in shown.links if not link.startswith(("data:", "#"))] == [
        "a/report.html"
    ]
    assert "--mode=compare" in shown.text
    assert "3 runs, 2 scored. The lowest" in shown.text
    assert "lowest error is that of sweep-001: an NRMSE of 0.1" in shown.text


def test_settings_that_all_share_are_there_and_no_others(runs):
    shared = dict(Page(comparison._shared(runs)).rows)
    assert shared["training.steps"] == "6"
    assert "seed" not in shared and RATE not in shared
    assert len(shared) == len(runs[0].config) - 2


def test_texts_are_escaped():
    one = run("<b>&", {"data.directory": "<script>"}, curves(2, 1.0))
    shown = page([one, run("other", {})])
    assert "<b>&" in shown.text and "<script>" in shown.text
    assert shown.rows[1][0] == "<b>&"
