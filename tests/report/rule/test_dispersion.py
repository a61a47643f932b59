"""Dispersion relations: what is drawn of them, and what is left out."""

import numpy as np
import pytest

from diffpattern.report import figures
from diffpattern.report.rule.dispersion import dispersion
from diffpattern.report.rule.drawing import Units
from diffpattern.stability import Dispersion

K = np.linspace(0.0, np.pi, 101)


def waves(growth, frequency=None, fastest=1.0, highest=0.2):
    frequency = np.zeros_like(K) if frequency is None else frequency
    return Dispersion(np.array([1.0, 0.5]), K, growth, frequency, fastest, highest)


TURING = waves(0.2 - 0.3 * (K - 1.0) ** 2 - 0.3 * (K - 1.0) ** 4)


@pytest.mark.parametrize("theme", [figures.LIGHT, figures.DARK])
def test_growth_and_the_fastest_wave_are_told_with_their_units(theme):
    true = waves(TURING.growth - 0.1, highest=0.1)
    figure = dispersion(TURING, true, Units("µm", "h"), theme)
    (axes,) = figure.axes
    assert axes.get_ylabel() == "growth rate (per h)"
    assert axes.get_xlabel() == "wavenumber (radians per µm)"
    drawn = {line.get_label(): line for line in axes.lines}
    np.testing.assert_array_equal(drawn["learnt"].get_ydata(), TURING.growth)
    np.testing.assert_array_equal(drawn["true"].get_ydata(), true.growth)
    assert drawn["learnt"].get_linestyle() != drawn["true"].get_linestyle()
    assert [text.get_text() for text in axes.texts] == ["wavelength 6.28"]
    points = [line.get_xydata()[0].tolist() for line in axes.lines if line.get_marker() == "o"]
    assert points == [[1.0, 0.1], [1.0, 0.2]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["learnt", "true"]
    # What decays much faster than others is left out.
    assert axes.get_ylim()[0] == pytest.approx(-4 * 0.5) and axes.get_xlim()[1] < 3.0
    # The scale above: wavelengths, where their wavenumbers are.
    (above,) = axes.child_axes
    assert above.get_xlabel() == "wavelength (µm)"
    for place, label in zip(above.get_xticks(), above.get_xticklabels(), strict=True):
        assert 2 * np.pi / place == pytest.approx(float(label.get_text()))
    assert len(above.get_xticks()) >= 4


def test_waves_that_turn_have_a_second_pane():
    frequency = np.where(K < 0.5, 0.7, 0.0)
    top, bottom = dispersion(waves(TURING.growth, frequency), None, Units()).axes
    np.testing.assert_array_equal(bottom.lines[0].get_ydata(), frequency)
    assert bottom.get_ylabel() == "turning (radians\nper unit of time)"
    assert bottom.get_xlabel() == "wavenumber (radians per unit of length)"
    assert bottom.get_xlim() == top.get_xlim()


def test_what_only_decays_or_stays_can_be_drawn():
    decays = waves(-0.1 - K**2, fastest=0.0, highest=-0.1)
    axes = dispersion(decays, None, Units()).axes[0]
    assert axes.get_ylim() == (pytest.approx(-0.4), pytest.approx(0.18 * 0.4))
    assert not axes.texts
    grows = waves(0.02 - 1e-3 * K**2, fastest=0.0, highest=0.02)
    axes = dispersion(grows, None, Units()).axes[0]
    assert axes.get_ylim() == (pytest.approx(-0.002), pytest.approx(0.02 + 0.18 * 0.022))
    alike = waves(-0.1 + 0 * K, fastest=0.0, highest=-0.1)
    assert dispersion(alike, None, Units()).axes[0].get_ylim()[0] == pytest.approx(-0.105)
    stays = waves(0.0 * K, fastest=0.0, highest=0.0)
    assert figures.to_svg(dispersion(stays, stays, Units()))
    svg = [figures.to_svg(dispersion(TURING, decays, Units())) for _ in range(2)]
    assert svg[0] == svg[1]
