"""What a rule has learnt, number by number: matrices of weights, and what a network sees."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diffpattern.report import images
from diffpattern.report.figures import LIGHT, Theme, finish, prepare, with_settings
from diffpattern.report.rule.drawing import colour_bar, panes

# Names along an axis, numbers along one, and letters that fit beside one another.
MOST_TICKS, FEW_TICKS = 24, 9
# Boxes beside one another.
MOST_GROUPS = 24
_LETTERS = 48


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
    heights = [min(max(0.165 * len(picture), 0.5), 3.6) + 0.75 for picture, *_ in drawn]
    figure, stacked = panes(theme, heights)
    for axes, layer, (picture, names, sides) in zip(stacked, layers, drawn, strict=True):
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
        for axis, side, named in zip((axes.yaxis, axes.xaxis), sides, names, strict=True):
            axis.set_label_text(side)
            _name_ticks(axis, named)
        bar = colour_bar(figure, image, axes, theme, "")
        bar.set_ticks([-limit, 0.0, limit], labels=[f"{-limit:.2g}", "0", f"{limit:.2g}"])
        finish(axes, theme)
    return figure


def _picture(layer: Layer) -> tuple[NDArray, tuple[Sequence[str], ...], tuple[str, str]]:
    """A layer's picture, the names of its rows and columns, and what they are.

    The bias comes behind the inputs, with a gap in between.
    """
    picture, rows = np.asarray(layer.weights, float), layer.inputs
    if layer.bias is not None:
        gap = np.full((1, picture.shape[1]), np.nan)
        picture = np.concatenate([picture, gap, np.asarray(layer.bias, float)[None]])
        rows = (*(rows or map(str, range(len(layer.weights)))), "", "bias")
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
    figure, stacked = panes(theme, [2.6] * len(grouped))
    for axes, (title, names) in zip(stacked, grouped.items(), strict=True):
        prepare(axes, theme)
        groups, count = _groups(layer.weights, names), len(set(names))
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
        _name_ticks(axes.xaxis, list(groups), 1)
        axes.set_xlabel(title)
        axes.set_ylabel("weight")
        finish(axes, theme)
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


def _name_ticks(axis: Axis, names: Sequence[str], first: int = 0) -> None:
    """Names along an axis, no more of them than there is room for; without names, numbers."""
    if not names:
        axis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        return
    counted = all(name.isdigit() for name in names[:-2])
    most = min(len(names), FEW_TICKS if counted else MOST_TICKS)
    chosen = np.linspace(0, len(names) - 1, most).round().astype(int)
    long = axis.axis_name == "x" and sum(len(names[place]) + 2 for place in chosen) > _LETTERS
    turned = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if long else {}
    labels = [names[place] for place in chosen]
    axis.set_ticks([first + place for place in chosen], labels, fontsize="small", **turned)
