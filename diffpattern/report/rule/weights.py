"""What a rule has learnt, number by number: matrices of weights, and what a network sees."""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from numpy.typing import NDArray

from diffpattern.report import images, mathematics
from diffpattern.report.figures import (
    LIGHT,
    Theme,
    finish,
    plain_number,
    prepare,
    superscript,
    with_settings,
)
from diffpattern.report.rule.drawing import colour_bar, fit_height, panes

# How high box plots are, and how many there are beside one another.
_BOXES = 2.0
MOST_GROUPS = 24
# Of a row of a matrix, and of all rows together at least and at most, in inches.
_ROW, _LOWEST, _HIGHEST = 0.165, 0.5, 3.6
# What a line of names needs, and the room between two of one line, in inches.
_LINE, _BETWEEN = 0.15, 0.06
_BIAS = "bias"
# Numbers beside one another are further apart than they need to be.
_NUMBER = 0.4


@dataclass(frozen=True, eq=False)
class Layer:
    """A matrix of weights.

    Attributes:
      name: of the layer.
      weights: [inputs, outputs].
      bias: [outputs]; None: it has none.
      inputs, outputs: their names; empty: they have only their order.
      sides: what rows and columns are.
    """

    name: str
    weights: NDArray
    bias: NDArray | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    sides: tuple[str, str] = ("input", "output")


@dataclass(frozen=True, eq=False)
class FirstLayer:
    """The weights of what a network sees.

    Attributes:
      name: of the network.
      weights: [inputs, units].
      channels: for each input what is seen.
      kernels: for each input the kernel that it is seen through; empty: none.
      remark: a sentence on what the weights are of.
    """

    name: str
    weights: NDArray
    channels: tuple[str, ...]
    kernels: tuple[str, ...] = ()
    remark: str = ""


@with_settings
def weights(layers: Sequence[Layer], theme: Theme = LIGHT) -> Figure:
    """Every matrix of weights as a heat map, biases as a strip beside it, in the layers' order.

    A matrix lies so that its longer side runs from left to right: the units of a hidden layer
    have the same order where they are made and where they are read. Each has a scale of its own,
    symmetric about zero.
    """
    drawn = [_picture(layer) for layer in layers]
    heights = [min(max(_ROW * len(picture), _LOWEST), _HIGHEST) for picture, *_ in drawn]
    figure, stacked = panes(theme, heights)
    for axes, layer, (picture, names, sides), height in zip(
        stacked, layers, drawn, heights, strict=True
    ):
        limit = float(np.nanmax(np.abs(picture))) or 1.0
        image = axes.imshow(
            picture,
            cmap=_diverging(),
            vmin=-limit,
            vmax=limit,
            aspect="auto",
            interpolation="nearest",
        )
        axes.set_title(layer.name, loc="left", fontsize="medium", color=theme.ink)
        axes.set_xlabel(sides[1])
        axes.set_ylabel(sides[0])
        _name_ticks(axes.yaxis, names[0], height / len(picture))
        bar = colour_bar(figure, image, axes, theme, "", height)
        most = plain_number(mathematics.number(limit, 2))
        bar.set_ticks([-limit, 0.0, limit], labels=[f"{mathematics.MINUS}{most}", "0", most])
        finish(axes, theme)
    # Names below are set once it is known how wide the axes are.
    for axes, width, (picture, names, _) in zip(
        stacked, fit_height(figure, stacked, heights), drawn, strict=True
    ):
        _name_ticks(axes.xaxis, names[1], width / picture.shape[1])
    fit_height(figure, stacked, heights)
    return figure


def _picture(layer: Layer) -> tuple[NDArray, tuple[Sequence[str], ...], tuple[str, str]]:
    """A layer's picture, the names of its rows and columns, and what they are.

    The bias comes behind the inputs, with a gap in between.
    """
    picture, rows = np.asarray(layer.weights, float), layer.inputs
    if layer.bias is not None:
        gap = np.full((1, picture.shape[1]), np.nan)
        picture = np.concatenate([picture, gap, np.asarray(layer.bias, float)[None]])
        rows = (*(rows or map(str, range(len(layer.weights)))), "", _BIAS)
    if len(layer.weights) <= layer.weights.shape[1]:
        return picture, (rows, layer.outputs), layer.sides
    return picture.T, (layer.outputs, rows), layer.sides[::-1]


@with_settings
def first_layer(layer: FirstLayer, theme: Theme = LIGHT) -> Figure:
    """The weights of what a network sees, by the kernel and by the channel, as box plots.

    Boxes span the quartiles, with the median; whiskers reach from 5% to 95%. Of very many channels
    or monomials those of the largest weights are shown.
    """
    grouped = {"seen through": layer.kernels, "what is seen": layer.channels}
    grouped = {title: names for title, names in grouped.items() if names}
    heights = [_BOXES] * len(grouped)
    figure, stacked = panes(theme, heights)
    drawn = [_groups(layer.weights, names) for names in grouped.values()]
    for axes, groups, (title, names) in zip(stacked, drawn, grouped.items(), strict=True):
        prepare(axes, theme)
        count = len(set(names))
        if len(groups) < count:
            title = f"{title} ({len(groups)} of {count}, those of the largest weights)"
        line = {"color": theme.ink, "linewidth": 1.0}
        axes.boxplot(
            list(groups.values()),
            whis=(5, 95),
            showfliers=False,
            widths=0.6,
            patch_artist=True,
            boxprops={"facecolor": theme.rule, "alpha": 0.55, "edgecolor": theme.ink},
            medianprops={"color": theme.ink, "linewidth": 2.0},
            whiskerprops=line,
            capprops=line,
        )
        axes.axhline(0.0, color=theme.muted, linewidth=1.0)
        axes.set_xlabel(title)
        axes.set_ylabel("weight")
        finish(axes, theme)
    for axes, width, groups in zip(
        stacked, fit_height(figure, stacked, heights), drawn, strict=True
    ):
        _name_ticks(axes.xaxis, list(groups), width / len(groups), 1)
    fit_height(figure, stacked, heights)
    return figure


def _groups(weights: NDArray, names: Sequence[str]) -> dict[str, NDArray]:
    """The weights of all inputs of one name, by that name, in the order of the inputs."""
    names = np.array(names)
    groups = {name: weights[names == name].ravel() for name in dict.fromkeys(names.tolist())}
    size = {name: np.square(values).mean() for name, values in groups.items()}
    shown = set(sorted(groups, key=size.__getitem__, reverse=True)[:MOST_GROUPS])
    return {name: values for name, values in groups.items() if name in shown}


def _diverging() -> ListedColormap:
    """The colours of signed numbers, as the report's pictures of differences have them."""
    colours = images.Scale(-1.0, 1.0, diverging=True).palette()[: images.LEVELS]
    return ListedColormap(colours / 255)


def _name_ticks(axis: Axis, names: Sequence[str], pitch: float, first: int = 0) -> None:
    """Names along an axis, evenly thinned where there is no room for all; a bias is told too.

    Args:
      axis: whose ticks they are.
      names: one for each place along it; empty: places have numbers.
      pitch: inches from one place to the next.
      first: the place of the first name.
    """
    if not names:
        axis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        return
    names = [re.sub(r"\^(\d+)", lambda power: superscript(power[1]), name) for name in names]
    counted = names[-1] == _BIAS and all(name.isdigit() for name in names[:-2])
    turned: dict[str, Any] = {}
    if counted:
        room = _NUMBER if axis.axis_name == "x" else _LINE
        step = _round_step(room / pitch)
    else:
        room, step = _LINE, math.ceil(_LINE / pitch)
        if axis.axis_name == "x" and not _fit(axis, names, pitch):
            turned = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"}
        elif axis.axis_name == "x":
            step = 1
    chosen = list(range(0, len(names), step))
    if names[-1] == _BIAS and chosen[-1] != len(names) - 1:
        chosen = [place for place in chosen if (len(names) - 1 - place) * pitch >= room]
        chosen.append(len(names) - 1)
    labels = [names[place] for place in chosen]
    axis.set_ticks([first + place for place in chosen], labels, fontsize="small", **turned)


def _fit(axis: Axis, names: Sequence[str], pitch: float) -> bool:
    """Whether all names have room beside one another."""
    figure, small = axis.get_figure(), FontProperties(size="small")
    measure = figure.canvas.get_renderer().get_text_width_height_descent
    widths = [measure(name, small, ismath=False)[0] / figure.dpi for name in names]
    return all((one + two) / 2 + _BETWEEN <= pitch for one, two in itertools.pairwise(widths))


def _round_step(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20 ... that is not less."""
    steps = (factor * 10**power for power in itertools.count() for factor in (1, 2, 5))
    return next(step for step in steps if step >= least)
