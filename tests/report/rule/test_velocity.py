"""Velocities: arrows over the lattice that they are of."""

import numpy as np
import pytest

from diffpattern.report import figures
from diffpattern.report.rule.drawing import Units
from diffpattern.report.rule.velocity import VelocityField, velocity

STATE = np.random.default_rng(0).uniform(size=(40, 60))


def test_arrows_are_means_over_blocks_in_units_of_length():
    along_y = np.broadcast_to(np.arange(40.0)[:, None], (40, 60))
    flow = VelocityField("taxis", "cells", STATE, np.stack([along_y, 0 * STATE]), (0.5, 2.0), 3.0)
    figure = velocity(flow, Units("µm", "h"))
    axes, bar = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x (µm)", "y (µm)")
    assert bar.get_ylabel() == "cells"
    np.testing.assert_array_equal(axes.images[0].get_array(), STATE)
    assert axes.images[0].get_extent() == [0.0, 120.0, 20.0, 0.0]  # rows run downwards
    (arrows,) = axes.collections
    assert arrows.N == 13 * 20
    assert (arrows.X[0], arrows.Y[0]) == (3.0, 0.75)
    assert arrows.V[0] == 1.0 and arrows.V[-1] == 37.0 and not arrows.U.any()
    keys = [part for part in axes.artists + axes.get_children() if hasattr(part, "label")]
    assert any(getattr(key, "label", "") == "40 µm per h" for key in keys)


@pytest.mark.parametrize("theme", [figures.LIGHT, figures.DARK])
def test_on_a_line_state_and_velocity_are_curves(theme):
    flow = VelocityField("advection", "A", STATE[0], STATE[1:2], (0.5,), 3.0)
    state, speed = velocity(flow, Units(), theme).axes
    np.testing.assert_array_equal(state.lines[0].get_ydata(), STATE[0])
    np.testing.assert_array_equal(speed.lines[0].get_ydata(), STATE[1])
    np.testing.assert_allclose(speed.lines[0].get_xdata()[:2], [0.25, 0.75])
    assert speed.get_ylabel() == "velocity (units of length per unit of time)"
    assert speed.get_xlabel() == "x (units of length)"
