"""Charts of patterns: what is drawn, between which ends, in which units."""

import numpy as np
import pytest
from tiny_reports import make_report

from diffpattern.report import figures, pattern_charts

WAVENUMBERS = np.array([0.1, 0.2, 0.4])
CURVES = [
    (16.0, WAVENUMBERS, np.array([1.0, 0.1, 1e-3]), np.array([1.0, 0.2, 0.0])),
    (64.0, WAVENUMBERS, np.array([2.0, 0.1, 1e-30]), np.array([np.nan, 0.2, 0.1])),
]


def test_spectra_have_truth_and_rule_at_each_time_on_two_axes():
    figure = pattern_charts.spectra(CURVES, "B", "µm")
    axes = figure.axes[0]
    lines = [line.get_xydata() for line in axes.lines]
    assert len(lines) == 4
    np.testing.assert_allclose(lines[0], np.stack(CURVES[0][1:3], axis=1))
    assert np.isnan(lines[1][2, 1]) and np.isnan(lines[3][0, 1])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    # Rounding has no place on the axis.
    assert axes.get_ylim()[0] == pytest.approx(2e-8)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["t = 16", "t = 64"]
    assert axes.get_xlabel() == "wavenumber (radians per µm)"
    (above,) = axes.child_axes
    assert above.get_xlabel() == "wavelength (µm)"
    assert set(above.get_xticks()) == {20.0, 50.0}


def test_wavelengths_have_gaps_where_patterns_are_flat():
    scores = {
        "times": [0.0, 1.0, 2.0],
        "units": {"time": "h", "length": "µm"},
        "wavelength": {"A": {"truth": [None, 12.0, 10.0], "rule": [None, 11.0, 10.0]}},
    }
    axes = pattern_charts.wavelengths(scores, "A").axes[0]
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(lines["truth"], [np.nan, 12, 10])
    np.testing.assert_allclose(lines["rule"], [np.nan, 11, 10])
    assert axes.get_xlabel() == "time (h)"
    assert axes.get_ylabel() == "wavelength of A (µm)"


def test_recovery_begins_at_the_damage():
    damage = make_report(hidden=1).damage
    axes = pattern_charts.recovery(damage, ("A", "B")).axes[0]
    assert [line.get_label() for line in axes.lines] == ["A", "B"]
    for channel, line in enumerate(axes.lines):
        np.testing.assert_allclose(line.get_xdata(), np.arange(10) * 16.0)
        np.testing.assert_allclose(line.get_ydata(), damage.nrmse[:, channel])
        assert (np.diff(line.get_ydata()) < 0).all()
    assert axes.get_ylim()[0] == 0
    assert axes.get_xlabel() == "time since the damage"


@pytest.mark.parametrize("theme", [figures.LIGHT, figures.DARK])
def test_charts_are_the_same_each_time(theme):
    first, second = (
        figures.to_svg(pattern_charts.spectra(CURVES, "B", theme=theme)) for _ in range(2)
    )
    assert first == second
    assert theme.runs[1].encode() in first
