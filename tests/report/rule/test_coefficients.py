"""Diffusion coefficients: learnt, how sure, and true."""

import pytest

from diffpattern.report.rule.coefficients import diffusion

SCORES = {
    "diffusion": {"A": 0.102, "B": 0.048},
    "diffusion_standard_error": {"A": 0.001, "B": None},
    "units": {"length": "µm", "time": "h", "offset": {}, "scale": {}},
}


def test_learnt_and_true_coefficients_stand_in_one_row():
    axes = diffusion(SCORES, {"A": 0.1}).axes[0]
    assert axes.get_xlabel() == "diffusion coefficient (µm² per h)"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["A", "B"]
    points = {tuple(line.get_xydata()[0]) for line in axes.lines if len(line.get_xydata()) == 1}
    assert {(0.102, 0.0), (0.048, 1.0), (0.1, 0.0)} <= points
    # Two standard errors to either side; none where there is none.
    (bar,) = [segment for part in axes.collections for segment in part.get_segments()]
    assert bar[:, 0] == pytest.approx([0.1, 0.104])
    written = [text.get_text() for text in axes.texts]
    assert written == ["0.102 ± 0.001", "0.048"]
    assert axes.get_xlim()[0] == 0 and axes.get_xlim()[1] > 0.104
    assert len(axes.get_legend().get_texts()) == 2


def test_without_units_and_a_known_truth():
    axes = diffusion({"diffusion": {"A": 0.0}}, {}).axes[0]
    assert axes.get_xlabel() == "diffusion coefficient (length² per unit of time)"
    assert [text.get_text() for text in axes.get_legend().get_texts()][0].startswith("learnt")
