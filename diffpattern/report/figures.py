"""The report's charts: functions from numbers to a Matplotlib `Figure`.

Figures are built as objects, without pyplot, so a notebook's backend and settings stay as they
are. Every chart is drawn for a `Theme`, because a picture inside a page cannot inherit the page's
colours. The colours of the series are Okabe and Ito's, which differ for the colour-blind too, and
each series has its own line style besides.
"""

import functools
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator, ScalarFormatter

SIZE_INCHES = (5.4, 3.5)
MARKERS_UP_TO = 40
# How many of several runs are told apart, and the most points that a curve of theirs is drawn by.
NAMED_RUNS = 12
POINTS_UP_TO = 1000
# As many as have no divisor with the colours of a theme: 20 runs would all look different.
DASHES = ("-", "--", ":", "-.")

# Only what a user's matplotlibrc could spoil; set while a figure is drawn and undone after it.
_SETTINGS = {
    "font.family": "DejaVu Sans",
    "font.size": 11.0,
    "text.usetex": False,
    "axes.linewidth": 0.8,
    "axes.unicode_minus": True,
    "path.simplify": True,
    "svg.fonttype": "path",
    "svg.hashsalt": "diffpattern",  # else the same figure would differ from one run to the next
}

_SUPERSCRIPTS = str.maketrans("-\N{MINUS SIGN}0123456789", "⁻⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

_P = ParamSpec("_P")


@dataclass(frozen=True)
class Theme:
    """Colours of a chart: ink for text, muted for axes and references, one for each series.

    `runs` are for series of any number, in the order in which they are used.
    """

    ink: str
    muted: str
    grid: str
    rule: str
    persistence: str
    mean: str
    runs: tuple[str, ...]


LIGHT = Theme(
    "#1c2127", "#5a646f", "#dfe3e8", "#0072b2", "#d55e00", "#8a4f7d",
    ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#1c2127"),
)  # fmt: skip
DARK = Theme(
    "#e7eaee", "#9aa5b1", "#343c46", "#56b4e9", "#e69f00", "#d79ac2",
    ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#e7eaee"),
)  # fmt: skip


def with_settings(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """A function that draws alike whatever a user's matplotlibrc says."""

    @functools.wraps(draw)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        with matplotlib.rc_context(_SETTINGS):
            return draw(*args, **kwargs)

    return wrapper


@with_settings
def loss_curve(curves: Sequence[Mapping[str, float]], theme: Theme = LIGHT) -> Figure:
    """Training loss and validation score against the training step, on a logarithmic axis.

    Args:
      curves: one row for each logged step, {"step", "loss", "validation", ...}; a row may lack
        any key but the step, and values that are not finite and positive are left out.
      theme: colours.
    """
    figure, axes = chart(theme)
    for key, label, colour, style in (
        ("loss", "training loss", theme.rule, "-"),
        ("validation", "validation score", theme.persistence, "--"),
    ):
        points = [(row["step"], row[key]) for row in curves if _drawable(row.get(key))]
        if points:
            marker = "o" if len(points) <= MARKERS_UP_TO else ""
            axes.plot(*zip(*points, strict=True), style, marker=marker, color=colour, label=label)
    axes.set_yscale("log")
    axes.set_xlabel("training step")
    _whole(axes)
    axes.set_ylabel("loss")
    finish(axes, theme)
    return figure


@with_settings
def nrmse_over_time(scores: Mapping[str, Any], species: str, theme: Theme = LIGHT) -> Figure:
    """NRMSE of one species over time: median and range of the rule, both baselines, threshold.

    Args:
      scores: what `diffpattern.scores.summarise` returns.
      species: whose errors to draw.
      theme: colours.

    Errors of exactly 0, as at the start, have no place on the logarithmic axis and are left out.
    """
    figure, axes = chart(theme)
    times = np.asarray(scores["times"])
    for name, candidate, colour, style in (
        ("rule", scores, theme.rule, "-"),
        ("persistence", scores["baselines"]["persistence"], theme.persistence, "--"),
        ("training mean", scores["baselines"]["mean"], theme.mean, ":"),
    ):
        spread = candidate["nrmse_range"][species]
        low, high = positive(spread["low"]), positive(spread["high"])
        axes.fill_between(times, low, high, color=colour, alpha=0.22, linewidth=0)
        marker = "o" if len(times) <= MARKERS_UP_TO else ""
        median = positive(candidate["nrmse"][species])
        axes.plot(times, median, style, marker=marker, color=colour, label=name)
    threshold = scores["threshold"]
    axes.axhline(threshold, color=theme.muted, linewidth=1.0)
    axes.annotate(
        f"valid up to {threshold:g}",
        (0.0, threshold),  # on the left, where errors are still small
        xycoords=("axes fraction", "data"),
        xytext=(4, 3),
        textcoords="offset points",
        fontsize="small",
        color=theme.muted,
    )
    axes.set_yscale("log")
    axes.set_xlabel(with_unit("time", scores.get("units", {}).get("time", "")))
    axes.set_ylabel(f"NRMSE of {species}")
    finish(axes, theme)
    return figure


@with_settings
def compared_curves(
    runs: Sequence[tuple[str, Sequence[Mapping[str, float]]]],
    over: str = "step",
    theme: Theme = LIGHT,
) -> Figure:
    """Training loss and, below it, validation score of several runs, on logarithmic axes.

    The first `NAMED_RUNS` differ by colour and by dashes; the rest is grey.

    Args:
      runs: label and curves of each, as `loss_curve` takes them.
      over: "step", or "seconds", which rows may lack.
      theme: colours.
    """
    named = runs[:NAMED_RUNS]
    rows = math.ceil((len(named) + (len(runs) > len(named))) / 2)
    width, height = SIZE_INCHES
    figure = Figure((width, 1.7 * height + 0.25 * rows), layout="constrained", facecolor="none")
    FigureCanvasAgg(figure)
    panes = figure.subplots(2, 1, sharex=True, subplot_kw={"facecolor": "none"})
    handles = {}
    for axes, key, title in zip(
        panes, ("loss", "validation"), ("training loss", "validation score"), strict=True
    ):
        prepare(axes, theme)
        # From the last to the first, which then lies on top.
        for index in reversed(range(len(runs))):
            label, curves = runs[index]
            points = [
                (row[over], row[key]) for row in curves if over in row and _drawable(row.get(key))
            ]
            points = points[:: math.ceil(len(points) / POINTS_UP_TO) or 1]
            style = {"color": theme.muted, "linewidth": 0.8, "alpha": 0.5}
            if index < len(named):
                colour, dashes = theme.runs[index % len(theme.runs)], DASHES[index % len(DASHES)]
                style = {"color": colour, "linestyle": dashes}
            else:
                label = "others"
            if len(points) <= MARKERS_UP_TO:
                style["marker"] = "o"
            (line,) = axes.plot(*(zip(*points, strict=True) if points else ((), ())), **style)
            handles[label] = line
        axes.set_yscale("log")
        axes.set_ylabel(title)
        finish(axes, theme)
    if over == "step":
        _whole(panes[-1])
    panes[-1].set_xlabel({"step": "training step", "seconds": "seconds of training"}[over])
    labels = [label for label, _ in named] + ["others"] * (len(runs) > len(named))
    figure.legend(
        [handles[label] for label in labels],
        labels,
        loc="outside upper left",
        ncols=2,
        frameon=False,
        handlelength=2.6,
        columnspacing=1.1,
        labelcolor=theme.ink,
        fontsize="medium",
    )
    return figure


def _whole(axes: Axes) -> None:
    """Ticks of the axis below at whole numbers only."""
    axes.xaxis.set_major_locator(
        MaxNLocator("auto", integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    )


class Powers(LogFormatter):
    """Ticks of a logarithmic axis as plain text, which is set much faster than mathematics."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of a tick, such as 0.5 or 10⁻⁵; many have none."""
        if not super().__call__(x, pos):
            return ""
        return f"{x:g}" if 1e-3 <= x < 1e4 else _with_power(x, 0)


class Plain(ScalarFormatter):
    """Ticks of a linear axis, each with its own power of ten where they need one.

    Matplotlib writes that power once above the axis, where legends are.
    """

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of a tick, such as 0.5 or 2.5×10⁻⁷."""
        if self.orderOfMagnitude == 0:
            return super().__call__(x, pos)
        return self.fix_minus(_with_power(x, 3)) if x else "0"

    def get_offset(self) -> str:
        """Nothing is written above the axis."""
        return ""


def _with_power(x: float, digits: int) -> str:
    """A number as a factor, of at most so many digits behind its point, and a power of ten."""
    factor, _, exponent = f"{x:.{digits}e}".partition("e")
    power = f"10{superscript(str(int(exponent)))}"
    factor = f"{float(factor):g}"
    return power if factor == "1" else f"{factor}\N{MULTIPLICATION SIGN}{power}"


def superscript(number: str) -> str:
    """A whole number, raised, as plain text."""
    return number.translate(_SUPERSCRIPTS)


def plain_number(number: str) -> str:
    """A number of `mathematics`, which is HTML, as plain text."""
    return re.sub("<sup>(.*?)</sup>", lambda power: superscript(power[1]), number)


def recoloured(svg: bytes) -> bytes:
    """A chart that was drawn in light colours as it would be in dark ones."""
    pairs = [(getattr(LIGHT, field.name), getattr(DARK, field.name)) for field in fields(Theme)]
    pairs += zip(LIGHT.runs, DARK.runs, strict=True)
    dark = {light.encode(): dark.encode() for light, dark in pairs if isinstance(light, str)}
    return re.sub(b"|".join(dark), lambda match: dark[match.group()], svg)


def to_svg(figure: Figure) -> bytes:
    """The figure as SVG with a transparent ground; the same bytes for the same figure."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()


def _drawable(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def positive(values: Sequence[float | None]) -> np.ndarray:
    """Values for a logarithmic axis: a gap where there is none, where it is 0, or not finite."""
    return np.array([value if _drawable(value) else math.nan for value in values], float)


def with_unit(quantity: str, unit: str) -> str:
    """The label of an axis, with the unit's name where there is one."""
    return f"{quantity} ({unit})" if unit else quantity


def chart(theme: Theme) -> tuple[Figure, Axes]:
    """An empty figure with one pair of axes."""
    figure = Figure(figsize=SIZE_INCHES, layout="constrained", facecolor="none")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor="none")
    prepare(axes, theme)
    return figure, axes


def prepare(axes: Axes, theme: Theme) -> None:
    """Gives axes their lines' widths and a grid behind, before anything is drawn."""
    axes.set_prop_cycle(linewidth=[1.8], markersize=[3.2])
    axes.grid(True, which="major", color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)


def finish(axes: Axes, theme: Theme) -> None:
    """Gives axes their colours, and what has a label a legend above them."""
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            axis.set_major_formatter(Powers(labelOnlyBase=True))
            axis.set_minor_formatter(Powers())
        elif type(axis.get_major_formatter()) is ScalarFormatter:
            axis.set_major_formatter(Plain(useOffset=False))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(theme.muted)
    axes.tick_params(which="both", color=theme.muted, labelcolor=theme.ink)
    axes.xaxis.label.set_color(theme.ink)
    axes.yaxis.label.set_color(theme.ink)
    if axes.get_legend_handles_labels()[0]:
        # Above the axes, where no curve can run into it.
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=3,
            frameon=False,
            borderaxespad=0.2,
            handlelength=1.8,
            columnspacing=1.1,
            handletextpad=0.5,
            labelcolor=theme.ink,
            fontsize="medium",
        )
