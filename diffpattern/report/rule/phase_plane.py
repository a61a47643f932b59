"""Where the species go while all cells are alike: the reaction of a rule."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from diffpattern.report.figures import LIGHT, SIZE_INCHES, Theme, finish, prepare, with_settings
from diffpattern.report.rule.drawing import Units, colour_bar, legend_above, panes

# Arrows along each axis.
_ARROWS = 16
# Speeds that differ by more than this factor from the largest look alike.
_SPEEDS = 1e3
# How opaque arrows of those and of smaller speeds are, and how many shades there are above.
_FAINT, _SHADES = 0.25, 32


@dataclass(frozen=True, eq=False)
class HomogeneousState:
    """A state of rest where all cells are alike.

    Attributes:
      values: of the species, and of the hidden channels if there are any, [C].
      stable: whether it comes back to itself while all cells stay alike.
    """

    values: NDArray
    stable: bool


@dataclass(frozen=True, eq=False)
class PhasePlane:
    """How two species change where all cells are alike.

    Attributes:
      species: their names.
      places: their places among the channels.
      values: of both, [N] and [M], evenly spaced.
      rates: of change of both, [2, N, M].
      density: how many cells of the data are near each pair of values, [N, M].
      states: of rest.
      true_rates, true_states: those of the system that made the data, where it is known.
      held: what the other channels are held at, by name: at the first state of rest, or, where
        there is none, the species at the mean of the data.
    """

    species: tuple[str, str]
    places: tuple[int, int]
    values: tuple[NDArray, NDArray]
    rates: NDArray
    density: NDArray
    states: Sequence[HomogeneousState] = ()
    true_rates: NDArray | None = None
    true_states: Sequence[HomogeneousState] = ()
    held: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ReactionCurve:
    """How one species changes where all cells are alike.

    Attributes:
      species: its name.
      values: evenly spaced, [N].
      rates: of change, [N].
      density: how many cells of the data are near each value, [N].
      true_rates: that of the system that made the data, where it is known.
      scale: the width of the data over their duration, a rate.
      states: of rest.
      held: as of a phase plane.
    """

    species: str
    values: NDArray
    rates: NDArray
    density: NDArray
    true_rates: NDArray | None = None
    scale: float = 1.0
    states: Sequence[HomogeneousState] = ()
    held: Mapping[str, float] = field(default_factory=dict)

    @property
    def still(self) -> bool:
        """Whether the species does not change at all."""
        return not np.any(self.rates)


@with_settings
def phase_plane(plane: PhasePlane, units: Units, theme: Theme = LIGHT) -> Figure:
    """Where two species go while all cells are alike: arrows, nullclines and states of rest.

    Arrows all have one length; their colour is the speed. Where the data have been, the ground is
    shaded: only there do they say anything about the rule.
    """
    figure, (axes,) = panes(theme, [5.0])
    x, y = plane.values
    extent = x[0], x[-1], y[0], y[-1]
    axes.imshow(
        _shade(plane.density.T, theme),
        extent=extent,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
    )
    arrows = _arrows(axes, plane, theme)
    label = f"speed (plane widths {units.per_time})"
    colour_bar(figure, arrows, axes, theme, label)
    handles = []
    for rates, name, colour in zip(plane.rates, plane.species, theme.runs, strict=False):
        _nullcline(axes, plane, rates, color=colour, linewidth=2.2)
        handles.append(Line2D([], [], color=colour, linewidth=2.2, label=f"d{name}/dt = 0"))
    if plane.true_rates is not None:
        style = {"color": theme.ink, "linewidth": 1.1, "linestyle": "dashed"}
        for rates in plane.true_rates:
            _nullcline(axes, plane, rates, **style)
        handles.append(Line2D([], [], label="true", **style))
    handles.append(Patch(facecolor=_data(theme), alpha=0.4, label="data"))
    first, second = plane.places
    point = lambda values: (values[first], values[second])
    handles += _states(axes, plane.states, plane.true_states, point, theme)
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])
    axes.set_xlabel(plane.species[0])
    axes.set_ylabel(plane.species[1])
    finish(axes, theme)
    legend_above(figure, handles, theme)
    return figure


def _states(
    axes: Axes,
    states: Sequence[HomogeneousState],
    true_states: Sequence[HomogeneousState],
    point: Callable[[NDArray], tuple[float, float]],
    theme: Theme,
) -> list[Line2D]:
    """Draws states of rest at the points of their values; their entries in a legend."""
    dot = {"marker": "o", "markersize": 8, "markeredgewidth": 1.8, "markeredgecolor": theme.ink}
    cross = {"marker": "+", "markersize": 13, "markeredgewidth": 1.6, "color": theme.persistence}
    kinds = (
        ("stable state", [s for s in states if s.stable], dot | {"color": theme.ink}),
        ("unstable state", [s for s in states if not s.stable], dot | {"mfc": "none"}),
        ("true state", true_states, cross),
    )
    handles = []
    for label, some, style in kinds:
        if some:
            points = np.transpose([point(state.values) for state in some])
            axes.plot(*points, linestyle="", zorder=5, clip_on=False, **style)
            handles.append(Line2D([], [], linestyle="", label=label, **style))
    return handles


def _nullcline(
    axes: Axes,
    plane: PhasePlane,
    rates: NDArray,
    *,
    color: str,
    linewidth: float,
    linestyle: str = "solid",
) -> None:
    """The line on which the rates [N, M] are zero, if there is one."""
    if np.nanmin(rates) < 0 < np.nanmax(rates):
        style = {"colors": [color], "linewidths": linewidth, "linestyles": linestyle}
        axes.contour(*plane.values, rates.T, levels=[0.0], **style)


def _arrows(axes: Axes, plane: PhasePlane, theme: Theme) -> Any:
    """Arrows of one length along the rates as the axes show them, coloured by their speed."""
    widths = [values[-1] - values[0] for values in plane.values]
    chosen = [
        np.unique(np.linspace(0, len(values) - 1, _ARROWS + 2).round().astype(int)[1:-1])
        for values in plane.values
    ]
    along = [
        rates[np.ix_(*chosen)] / width for rates, width in zip(plane.rates, widths, strict=True)
    ]
    along = [np.where(np.isfinite(part), part, 0.0) for part in along]
    speed = np.hypot(*along)
    largest = float(speed.max()) or 1.0
    shown = np.maximum(speed, largest / _SPEEDS)
    unit = [part / np.maximum(speed, np.finfo(float).tiny) for part in along]
    # Of one colour, ever less transparent: that leaves the others to the nullclines, and reads on
    # any ground. Few enough of them for the colour bar to be drawn, not embedded as a picture,
    # whose colours `figures.recoloured` could not exchange.
    ink = matplotlib.colors.to_rgb(theme.ink)
    speeds = LinearSegmentedColormap.from_list("speed", [(*ink, _FAINT), (*ink, 1.0)], N=_SHADES)
    return axes.quiver(
        *np.meshgrid(*(values[place] for values, place in zip(plane.values, chosen, strict=True))),
        unit[0].T,
        unit[1].T,
        shown.T,
        cmap=speeds,
        norm=LogNorm(largest / _SPEEDS, largest),
        pivot="mid",
        units="inches",
        scale_units="inches",
        scale=_ARROWS / 3.4,
        width=0.016,
        headwidth=4.0,
        headlength=4.5,
        headaxislength=4.0,
    )


@with_settings
def reaction_curve(curve: ReactionCurve, units: Units, theme: Theme = LIGHT) -> Figure:
    """How fast one species changes while all cells are alike, over its value; the data beneath."""
    figure, (axes,) = panes(theme, [SIZE_INCHES[1]])
    prepare(axes, theme)
    axes.plot(curve.values, curve.rates, color=theme.rule, label="learnt")
    if curve.true_rates is not None:
        axes.plot(curve.values, curve.true_rates, "--", color=theme.persistence, label="true")
    axes.axhline(0.0, color=theme.muted, linewidth=1.0)
    handles, _ = axes.get_legend_handles_labels()
    if not curve.still:
        handles += _states(axes, curve.states, (), lambda values: (values[0], 0.0), theme)
    if curve.still and not np.any(curve.true_rates):
        axes.set_ylim(-curve.scale, curve.scale)
    low, high = axes.get_ylim()
    share = curve.density / (curve.density.max() or 1)
    axes.fill_between(
        curve.values,
        low,
        low + 0.3 * (high - low) * share,
        color=_data(theme),
        alpha=0.35,
        linewidth=0,
        step="mid",
    )
    handles.append(Patch(facecolor=_data(theme), alpha=0.35, label="data"))
    axes.set_ylim(low, high)
    axes.set_xlim(curve.values[0], curve.values[-1])
    axes.set_xlabel(curve.species)
    axes.set_ylabel(f"rate of change ({units.per_time})")
    finish(axes, theme)
    axes.get_legend().remove()
    legend_above(figure, handles, theme)
    return figure


def _shade(density: NDArray, theme: Theme) -> NDArray:
    """Where data are, the more opaque the more there are, [..., 4]."""
    share = np.log1p(density) / (np.log1p(density.max()) or 1.0)
    colour = matplotlib.colors.to_rgb(_data(theme))
    opacity = np.where(density > 0, 0.12 + 0.4 * share, 0.0)
    return np.dstack([*(np.full(density.shape, part) for part in colour), opacity])


def _data(theme: Theme) -> str:
    """The colour of where the data have been."""
    return theme.runs[2]
