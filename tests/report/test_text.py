"""Scores in a terminal: digits that mean something, and no fewer."""

import re

import numpy as np
import pytest

from diffpattern import scores
from diffpattern.data.trajectories import Trajectories
from diffpattern.grid.geometry import Grid
from diffpattern.report import text

FINDINGS = {
    "diffusion": {"A": 0.1, "B": 0.05},
    "diffusion_standard_error": {"A": 0.00012, "B": None},
    "equation": {
        "A": [
            {"term": "1", "coefficient": 0.0623, "standard_error": 0.0021, "determined": True},
            {"term": "A B", "coefficient": 0.02, "standard_error": 0.3, "determined": False},
            {"term": "B^3", "coefficient": 0.5, "standard_error": None, "determined": False},
        ]
    },
}


def make_scores(error, **found):
    random = np.random.default_rng(0)
    truth = Trajectories(
        random.normal(size=(3, 6, 8, 8, 2)), np.arange(6) * 16.0, ("A", "B"), Grid((8, 8))
    )
    summary = scores.summarise(
        [truth.values + error], [truth], training_mean=[0.0, 0.0], floor=[0.05, 0.05], threshold=0.2
    )
    summary |= scores.patterns([truth.values + error], [truth], {"B": 0.5})
    names = "diffusion", "diffusion_standard_error", "equation", "left_out", "edge"
    nothing = {name: {} for name in names}
    return summary | {"step": 12} | nothing | found


UNITS = {
    "length": "µm",
    "time": "h",
    "offset": {"A": 0.25, "B": 0.0},
    "scale": {"A": 2.0, "B": 1.0},
}


def test_units_are_told_where_there_is_something_to_tell():
    shown = text.table(make_scores(0.1, units=UNITS))
    assert max(map(len, shown.splitlines())) < 100
    shown = " ".join(shown.split())
    assert "The unit of length is µm. The unit of time is h. Numbers of species are in nor" in shown
    assert "A = 0.25 + 2 * value. A rule " in shown and "B = " not in shown
    plain = UNITS | {"length": "", "time": "", "offset": {"A": 0.0}, "scale": {"A": 1.0}}
    assert text.table(make_scores(0.1, units=plain)) == text.table(make_scores(0.1))


def test_small_errors_are_not_zeros():
    shown = text.table(make_scores(1e-6))
    assert "step 12" in shown
    assert "3 unseen trajectories" in shown
    seen = text.table(make_scores(1e-6) | {"unseen": False})
    assert "scored on what it was trained on:" in seen and "unseen" not in seen
    assert "0.000" not in shown
    assert re.search(r"t = 80 +\d\.\de-0[67]  \(\d\.\de-0[67] to \d\.\de-0[67]\)", shown)
    assert [int(t) for t in re.findall(r"t = (\d+)", shown)] == 2 * [16, 32, 64, 80]
    assert len(re.findall(r"valid +the end  \(the end to the end\) +16 +0$", shown, re.M)) == 2


def test_a_prediction_that_is_not_finite_is_inf_and_lost():
    shown = text.table(make_scores(np.inf))
    assert re.search(r"t = 16 +inf  \(inf to inf\)", shown)
    assert len(re.findall(r"valid +0  \(0 to 0\)", shown)) == 2


def test_an_edge_is_told_with_its_error():
    edge = {"coefficient": -0.0123, "standard_error": 0.0021}
    assert "edge: -0.0123 +- 0.0021 farther out" in text.table(make_scores(0.01, edge=edge))


def test_coefficients_end_with_the_digits_of_their_errors():
    shown = text.table(make_scores(0.01, **FINDINGS))
    assert "diffusion of A: +0.10000 +- 0.00012\n" in shown
    assert "diffusion of B: +0.05\n" in shown
    assert re.search(r"\n  1 +\+0.0623 \+- 0.0021\n", shown)
    assert re.search(r"\n  A B +\+0.02 \+- 0.30 +not told apart from zero\n", shown)
    assert re.search(r"\n  B\^3 +\+0.5 +not told apart from zero$", shown)


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (-1.0345e-05, 5.2e-7, "-1.035e-05 +- 5.2e-07"),
        (1.07782, 0.12, "+1.08 +- 0.12"),
        (-12.3, 1.4, "-12.3 +- 1.4"),
        (0.0, 0.2, "+0.0 +- 0.20"),
        (0.017, 0.19, "+0.02 +- 0.19"),
        (123.4, 21.0, "+123 +- 21"),
        (-9.1e-7, 1.12e-6, "-9e-07 +- 1.1e-06"),
    ],
)
def test_digits_of_a_coefficient(value, error, shown):
    assert text._with_error(value, error) == shown


def test_patterns_are_compared_whatever_their_place():
    shown = text.table(make_scores(0.1))
    length = r"(\d\.\d+)"
    assert re.search(rf"\n  wavelength of A +{length} +\1\n", shown)  # an offset has no length
    rule, truth = re.search(r"\n  cells with B > 0.5 +(0\.\d+) +(0\.\d+)\n?", shown).groups()
    assert 0.2 < float(truth) < float(rule) < 0.5
    assert re.search(r"\n  wavelength of A +none +\d", text.table(make_scores(np.inf)))


def test_the_drift_of_a_sum_is_told_where_the_truth_keeps_it():
    drift = {"A": {"rule": 0.0123, "truth": 3e-7}, "B": {"rule": 0.5, "truth": 0.4}}
    shown = text.table(make_scores(0.1, drift=drift))
    assert re.search(r"\nrelative drift of the sum +rule +truth\n  A +0\.012 +3\.0e-07$", shown)
    drift["A"]["rule"] = None
    assert re.search(r"\n  A +inf +3\.0e-07$", text.table(make_scores(0.1, drift=drift)))
    assert "drift" not in text.table(make_scores(0.1, drift={"B": drift["B"]}))
