"""Charts: what is drawn, and that nothing outside them changes."""

import matplotlib
import numpy as np
import pytest

from diffpattern.report import figures


def _candidate(errors):
    return {"nrmse": {"A": errors}, "nrmse_range": {"A": {"low": errors, "high": errors}}}


SCORES = {
    "times": [0.0, 1.0, 2.0],
    "threshold": 0.2,
    **_candidate([0.0, 0.1, None]),
    "baselines": {
        "persistence": _candidate([0.0, 0.5, 1.0]),
        "mean": _candidate([1.0, 1.0, 1.0]),
    },
}


def _lines(figure):
    return {line.get_label(): line.get_xydata() for line in figure.axes[0].lines}


def test_loss_curve_draws_rows_that_have_the_key():
    curves = [
        {"step": 1, "loss": 10.0},
        {"step": 2, "loss": float("nan"), "validation": 0.5},
        {"step": 3, "loss": 0.1, "validation": None},
        {"step": 4},
    ]
    figure = figures.loss_curve(curves)
    lines = _lines(figure)
    np.testing.assert_allclose(lines["training loss"], [[1, 10.0], [3, 0.1]])
    np.testing.assert_allclose(lines["validation score"], [[2, 0.5]])
    assert figure.axes[0].get_yscale() == "log"


def test_nrmse_chart_has_baselines_threshold_and_gaps():
    lines = _lines(figures.nrmse_over_time(SCORES, "A"))
    np.testing.assert_allclose(lines["rule"][:, 1], [np.nan, 0.1, np.nan])
    np.testing.assert_allclose(lines["persistence"][:, 1], [np.nan, 0.5, 1.0])
    np.testing.assert_allclose(lines["training mean"][:, 1], 1.0)
    assert any((points[:, 1] == 0.2).all() for points in lines.values())


@pytest.mark.parametrize("theme", [figures.LIGHT, figures.DARK])
def test_svg_is_the_same_each_time_and_settings_stay(theme):
    with matplotlib.rc_context({"font.size": 33.0}):
        before = dict(matplotlib.rcParams)
        first = figures.to_svg(figures.nrmse_over_time(SCORES, "A", theme))
        second = figures.to_svg(figures.nrmse_over_time(SCORES, "A", theme))
        assert dict(matplotlib.rcParams) == before
    assert first == second
    assert theme.rule.encode() in first


def test_charts_of_nothing_can_be_drawn():
    assert figures.to_svg(figures.loss_curve([]))
    assert figures.to_svg(figures.loss_curve([{"step": 0, "loss": 0.0}]))
