"""The phase plane: nullclines, arrows, states of rest, and where data were."""

import dataclasses
import re
import warnings

import numpy as np
import pytest

from diffpattern.report import figures
from diffpattern.report.rule.drawing import Units
from diffpattern.report.rule.phase_plane import (
    HomogeneousState,
    PhasePlane,
    ReactionCurve,
    phase_plane,
    reaction_curve,
)

X, Y = np.linspace(-1.0, 1.0, 41), np.linspace(0.0, 4.0, 31)
# dx/dt = -x, dy/dt = y - 1: rest at (0, 1).
RATES = np.stack(np.broadcast_arrays(-X[:, None], Y[None] - 1.0))
DENSITY = np.zeros((41, 31))
DENSITY[20, 10] = 5.0
PLANE = PhasePlane(
    ("u", "v"),
    (2, 0),
    (X, Y),
    RATES,
    DENSITY,
    [HomogeneousState(np.array([1.0, 9.0, 0.0]), False)],
    true_rates=RATES + np.array([0.5, 0.0])[:, None, None],
    true_states=[HomogeneousState(np.array([1.0, 9.0, 0.5]), True)],
    held={"w": 9.0},
)


def lines_of(axes):
    return [
        path for part in axes.collections if hasattr(part, "levels") for path in part.get_paths()
    ]


@pytest.mark.parametrize("theme", [figures.LIGHT, figures.DARK])
def test_nullclines_states_and_data_are_where_they_belong(theme):
    figure = phase_plane(PLANE, Units(time="h"), theme)
    axes, bar = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("u", "v")
    assert bar.get_ylabel() == "speed (plane widths per h)"
    ours_u, ours_v, true_u, _ = (line.vertices for line in lines_of(axes))
    np.testing.assert_allclose(ours_u[:, 0], 0.0, atol=1e-9)
    np.testing.assert_allclose(ours_v[:, 1], 1.0)
    np.testing.assert_allclose(true_u[:, 0], 0.5)
    (state,), (true,) = (line.get_xydata() for line in axes.lines)
    assert state.tolist() == [0.0, 1.0] and true.tolist() == [0.5, 1.0]
    assert axes.lines[0].get_markerfacecolor() == "none"  # unstable
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == ["du/dt = 0", "dv/dt = 0", "true", "data", "unstable state", "true state"]
    assert axes.get_legend() is None
    shade = axes.images[0].get_array()
    assert np.argwhere(shade[..., 3] > 0).tolist() == [[10, 20]]
    if theme == figures.LIGHT:
        assert len(figures.to_svg(figure)) < 160_000


def test_arrows_point_along_the_rates_as_the_axes_show_them():
    (arrows,) = [
        part for part in phase_plane(PLANE, Units()).axes[0].collections if hasattr(part, "U")
    ]
    x, y = arrows.X, arrows.Y
    along_x, along_y = -x / 2.0, (y - 1.0) / 4.0
    speed = np.hypot(along_x, along_y)
    far = speed > 1e-6
    np.testing.assert_allclose(arrows.U[far], (along_x / speed)[far], atol=1e-9)
    np.testing.assert_allclose(arrows.V[far], (along_y / speed)[far], atol=1e-9)
    shown = np.asarray(arrows.get_array())
    np.testing.assert_allclose(shown[far], np.maximum(speed, shown.max() / 1e3)[far])


def test_speeds_are_as_strong_on_a_dark_ground_as_on_a_light_one():
    svg = figures.to_svg(phase_plane(PLANE, Units()))
    dark = figures.recoloured(svg).decode()
    arrows = dark[dark.index('id="Quiver_1"') :]
    arrows = arrows[: arrows.index("</g>")]
    colours = set(re.findall(r"fill: (#[0-9a-f]{6})", arrows))
    opacities = {float(one) for one in re.findall(r"fill-opacity: ([0-9.]+)", arrows)}
    assert colours == {figures.DARK.ink} and len(opacities) > 5
    # The colour bar is no picture either, whose colours would stay those of light pages.
    assert svg.count(b"<image") == 1  # where data were
    ((axes, _),) = [phase_plane(PLANE, Units()).axes]
    (quiver,) = [part for part in axes.collections if hasattr(part, "U")]
    opacity = quiver.cmap([0.0, 0.5, 1.0])[:, 3]
    assert opacity[0] < opacity[1] < opacity[2] == 1.0


def test_what_never_rests_or_is_not_finite_can_be_drawn_without_a_word():
    rates = np.ones_like(RATES)
    rates[0, 3, 3] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plane = dataclasses.replace(PLANE, rates=rates, states=(), true_rates=None, true_states=())
        axes = phase_plane(plane, Units()).axes[0]
    assert not lines_of(axes) and not axes.lines


def test_the_curve_of_one_species_has_the_true_one_and_the_data_beside_it():
    values = np.linspace(-1.5, 1.5, 31)
    rates, density = values - values**3, np.exp(-(values**2))
    curve = ReactionCurve("u", values, rates, density, 2 * rates)
    figure = reaction_curve(curve, Units())
    axes = figure.axes[0]
    assert axes.get_ylabel() == "rate of change (per unit of time)"
    drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_array_equal(drawn["learnt"], rates)
    np.testing.assert_array_equal(drawn["true"], 2 * rates)
    told = lambda figure: [text.get_text() for text in figure.legends[0].get_texts()]
    assert told(figure) == ["learnt", "true", "data"] and axes.get_legend() is None
    states = [HomogeneousState(np.array([1.0, 7.0]), True)]
    figure = reaction_curve(dataclasses.replace(curve, states=states), Units())
    assert told(figure) == ["learnt", "true", "stable state", "data"]
    assert [1.0, 0.0] in [line.get_xydata()[0].tolist() for line in figure.axes[0].lines]


def test_a_species_that_never_changes_has_a_line_at_zero_on_the_scale_of_the_data():
    values = np.linspace(-1.5, 1.5, 31)
    curve = ReactionCurve("u", values, 0 * values, 1 + 0 * values, 0 * values, 0.25)
    assert curve.still
    axes = reaction_curve(curve, Units()).axes[0]
    assert axes.get_ylim() == (-0.25, 0.25)
    moves = dataclasses.replace(curve, true_rates=values)
    assert reaction_curve(moves, Units()).axes[0].get_ylim()[1] > 1.0
