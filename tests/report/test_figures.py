"""Charts: what is drawn, and that nothing outside them changes."""

import re

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
    units = {"length": "µm", "time": "h"}
    for scores, label in ((SCORES, "time"), (SCORES | {"units": units}, "time (h)")):
        assert figures.nrmse_over_time(scores, "A").axes[0].get_xlabel() == label


@pytest.mark.parametrize("last", [1, 2, 8, 1000])
def test_steps_are_whole_numbers(last):
    rows = [{"step": step, "loss": 1.0} for step in (1, last)]
    for figure in (figures.loss_curve(rows), figures.compared_curves([("run", rows)])):
        figure.draw_without_rendering()
        ticks = figure.axes[-1].get_xticks()
        assert len(ticks) >= 1 and all(tick == round(tick) for tick in ticks)
    seconds = [{"step": 1, "seconds": time, "loss": 1.0} for time in (0.1, 0.2)]
    ticks = figures.compared_curves([("run", seconds)], "seconds").axes[-1].get_xticks()
    assert any(tick % 1 for tick in ticks)


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


def test_compared_curves_differ_by_colour_and_dashes_and_the_rest_is_grey():
    rows = [{"step": n, "loss": 1.0 / n, "seconds": 3.0 * n} for n in (1, 2)] + [
        {"step": 3, "loss": None},
        {"step": 4, "loss": 0.5, "validation": 0.25},
    ]
    runs = [(f"run {number}", rows) for number in range(figures.NAMED_RUNS + 3)]
    figure = figures.compared_curves(runs)
    loss, validation = figure.axes
    assert loss.get_yscale() == validation.get_yscale() == "log"
    assert len(loss.lines) == len(validation.lines) == len(runs)
    for line in loss.lines:
        np.testing.assert_allclose(line.get_xydata(), [[1, 1.0], [2, 0.5], [4, 0.5]])
    styles = [(line.get_color(), line.get_linestyle()) for line in loss.lines]
    named = set(styles[3:])
    assert len(named) == figures.NAMED_RUNS
    assert set(styles[:3]) == {(figures.LIGHT.muted, "-")}
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == [name for name, _ in runs[: figures.NAMED_RUNS]] + ["others"]
    # The legend's samples are those of the curves.
    (first, *_), best = figure.legends[0].get_lines(), loss.lines[-1]
    assert first.get_color() == best.get_color() == figures.LIGHT.runs[0]

    over_seconds = figures.compared_curves(runs[:2], "seconds", figures.DARK).axes
    np.testing.assert_allclose(over_seconds[0].lines[0].get_xydata(), [[3, 1.0], [6, 0.5]])
    assert over_seconds[1].lines[0].get_xydata().size == 0


def test_long_curves_are_drawn_by_few_points():
    rows = [{"step": n, "loss": 1.0} for n in range(1, 5001)]
    line = figures.compared_curves([("long", rows)]).axes[0].lines[0]
    assert 500 <= len(line.get_xydata()) <= figures.POINTS_UP_TO
    assert not figures.compared_curves([]).axes[0].lines


@pytest.mark.parametrize(
    "draw",
    [
        lambda theme: figures.nrmse_over_time(SCORES, "A", theme),
        lambda theme: figures.compared_curves(
            [
                (f"run {n}", [{"step": 1, "loss": n + 1.0}, {"step": 2, "loss": 1.0}])
                for n in range(6)
            ],
            theme=theme,
        ),
    ],
)
def test_a_chart_in_dark_colours_is_the_light_one_recoloured(draw):
    light, dark = (figures.to_svg(draw(theme)) for theme in (figures.LIGHT, figures.DARK))
    # But for the names of markers, which are made of their colours.
    unnamed = lambda svg: re.sub(rb"\bm[0-9a-f]{10}\b", b"m", svg)
    assert unnamed(figures.recoloured(light)) == unnamed(dark) != unnamed(light)


def test_ticks_of_logarithmic_axes_are_plain_numbers_or_powers():
    axes = figures.nrmse_over_time(SCORES, "A").axes[0]
    labels = [axes.yaxis.get_major_formatter()(x) for x in (1e-7, 1e-2, 0.1, 1.0, 1e3, 1e5)]
    assert labels == ["10⁻⁷", "0.01", "0.1", "1", "1000", "10⁵"]
    axes.set_ylim(2e-5, 9e-5)  # less than a decade, where other ticks are labelled too
    shown = [text.get_text() for text in axes.yaxis.get_ticklabels(minor=True)]
    assert "3×10⁻⁵" in shown


def test_small_numbers_of_a_linear_axis_have_their_power_of_ten_themselves():
    figure, axes = figures.chart(figures.LIGHT)
    axes.plot([0.0, 1.0], [-2e-7, 5e-7], label="a")
    figures.finish(axes, figures.LIGHT)
    figure.draw_without_rendering()
    told = {text.get_text() for text in axes.get_yticklabels()}
    assert {"−2×10⁻⁷", "0", "10⁻⁷", "4×10⁻⁷"} <= told and "0.2" not in told
    assert not axes.yaxis.get_offset_text().get_text()
    axes.set_ylim(-1.0, 1.0)
    figure.draw_without_rendering()
    assert {"−0.5", "0.0", "0.50"} & {text.get_text() for text in axes.get_yticklabels()}
