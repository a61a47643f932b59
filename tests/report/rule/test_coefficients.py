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
    assert written == ["0.1020 ± 0.0020", "0.04800"]
    assert axes.get_xlim()[0] == 0 and axes.get_xlim()[1] > 0.104
    assert len(axes.get_legend().get_texts()) == 2


def test_without_units_and_a_known_truth():
    axes = diffusion({"diffusion": {"A": 0.0}}, {}).axes[0]
    assert axes.get_xlabel() == "diffusion coefficient (length² per unit of time)"
    assert [text.get_text() for text in axes.get_legend().get_texts()][0].startswith("learnt")


def test_bars_and_what_is_written_stay_on_the_chart():
    scores = {
        "diffusion": {"A": 0.0, "B": 0.03335, "C": 1.0},
        "diffusion_standard_error": {"A": 0.13, "B": 0.19, "C": 3e-7},
    }
    figure = diffusion(scores, {"A": 0.1})
    figure.draw_without_rendering()
    axes = figure.axes[0]
    written = [text.get_text() for text in axes.texts]
    # Two standard errors, as the bars are, and no digit of a value that is not known.
    assert written == ["0 ± 0.26", "0.03 ± 0.38", "1.000000 ± 6.0×10⁻⁷"]
    low, high = axes.get_xlim()
    bars = [segment[:, 0] for part in axes.collections for segment in part.get_segments()]
    assert len(bars) == 3 and all(low <= bar.min() and bar.max() <= high for bar in bars)
    for text in axes.texts:
        box = text.get_window_extent()
        assert axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
