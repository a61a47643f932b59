"""Where a rule carries a species."""

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diffpattern.report.figures import LIGHT, Theme, finish, prepare, with_settings
from diffpattern.report.rule.drawing import Units, colour_bar, panes

# Arrows along the longer axis of a lattice.
_ARROWS = 20


@dataclass(frozen=True, eq=False)
class VelocityField:
    """What a term makes of a lattice: where it carries one species.

    Attributes:
      term: name of the term.
      species: what is carried.
      state: of that species, [X] or [H, W].
      velocity: [1, X] or [2, H, W], along y and x.
      spacing: of the cells, along each axis.
      time: of the state.
    """

    term: str
    species: str
    state: NDArray
    velocity: NDArray
    spacing: tuple[float, ...]
    time: float


@with_settings
def velocity(flow: VelocityField, units: Units, theme: Theme = LIGHT) -> Figure:
    """Where a term carries a species, over the state that it was asked about."""
    if flow.state.ndim == 1:
        return _velocity_along_a_line(flow, units, theme)
    rows, columns = flow.state.shape
    height, width = (n * h for n, h in zip(flow.state.shape, flow.spacing, strict=True))
    figure, (axes,) = panes(theme, [min(max(4.0 * height / width, 2.0), 6.0) + 0.8])
    image = axes.imshow(
        flow.state,
        cmap="viridis",
        extent=(0.0, width, height, 0.0),
        interpolation="nearest",
    )
    colour_bar(figure, image, axes, theme, flow.species)
    block = max(1, math.ceil(max(rows, columns) / _ARROWS))
    along_y, along_x = (_means(part, block) for part in flow.velocity)
    y, x = (
        (np.arange(count) + 0.5) * block * step
        for count, step in zip(along_y.shape, flow.spacing, strict=True)
    )
    largest = float(np.hypot(along_y, along_x).max()) or 1.0
    arrows = axes.quiver(
        x,
        y,
        along_x,
        along_y,
        angles="xy",
        scale_units="xy",
        scale=largest / (1.5 * block * max(flow.spacing)),
        units="inches",
        width=0.022,
        headwidth=4.0,
        color="white",
        edgecolor="black",
        linewidth=0.5,
    )
    key = float(f"{largest:.1g}")
    axes.quiverkey(
        arrows,
        0.02,
        1.05,
        key,
        f"{key:g} {units.speeds}",
        labelpos="E",
        coordinates="axes",
        color=theme.ink,
        edgecolor=theme.ink,
        labelcolor=theme.ink,
    )
    axes.set_xlabel(f"x ({units.lengths})")
    axes.set_ylabel(f"y ({units.lengths})")
    finish(axes, theme)
    return figure


def _velocity_along_a_line(flow: VelocityField, units: Units, theme: Theme) -> Figure:
    figure, both = panes(theme, [2.2, 2.2], sharex=True)
    places = (np.arange(len(flow.state)) + 0.5) * flow.spacing[0]
    for axes, values, colour, label in zip(
        both,
        (flow.state, flow.velocity[0]),
        (theme.rule, theme.persistence),
        (flow.species, f"velocity ({units.speeds})"),
        strict=True,
    ):
        prepare(axes, theme)
        axes.plot(places, values, color=colour)
        axes.set_ylabel(label)
        finish(axes, theme)
    both[1].axhline(0.0, color=theme.muted, linewidth=1.0)
    both[1].set_xlabel(f"x ({units.lengths})")
    return figure


def _means(field_: NDArray, block: int) -> NDArray:
    """Means over square blocks of cells; what fills no block at the end is dropped."""
    rows, columns = (max(1, size // block) for size in field_.shape)
    whole = field_[: rows * block, : columns * block]
    return whole.reshape(rows, -1, columns, whole.shape[1] // columns).mean(axis=(1, 3))
