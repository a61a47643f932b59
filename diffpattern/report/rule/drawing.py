"""What the charts of a rule share: names of units, figures of any height, colour bars, a legend.

Heat maps are embedded as pictures, so that a page of them stays small.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure

from diffpattern.report.figures import SIZE_INCHES, Theme

# Dots per inch of pictures inside a chart.
_DPI = 144
# In inches: how wide a colour bar is; what names and titles about axes take at most, and what lies
# between them and the next ones.
_BAR, _ROOMY, _PADDING = 0.146, 3.0, 0.12


@dataclass(frozen=True)
class Units:
    """Names of the units of length and time, empty where nothing is known of them."""

    length: str = ""
    time: str = ""

    @classmethod
    def of(cls, scores: Mapping[str, Any]) -> "Units":
        """Those of the scores of a run, which may have none."""
        units = scores.get("units", {})
        return cls(units.get("length", ""), units.get("time", ""))

    @property
    def lengths(self) -> str:
        """Of lengths."""
        return self.length or "units of length"

    @property
    def per_time(self) -> str:
        """Of rates."""
        return f"per {self.time or 'unit of time'}"

    @property
    def per_length(self) -> str:
        """Of wavenumbers."""
        return f"radians per {self.length or 'unit of length'}"

    @property
    def speeds(self) -> str:
        """Of velocities."""
        return f"{self.lengths} {self.per_time}"

    @property
    def diffusivities(self) -> str:
        """Of diffusion coefficients."""
        return f"{self.length or 'length'}\N{SUPERSCRIPT TWO} {self.per_time}"


def panes(theme: Theme, heights: Sequence[float], **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure as wide as others and axes below one another, of such heights in inches."""
    size = SIZE_INCHES[0], sum(heights)
    figure = Figure(size, dpi=_DPI, layout="constrained", facecolor="none")
    FigureCanvasAgg(figure)
    axes = figure.subplots(
        len(heights),
        1,
        squeeze=False,
        height_ratios=heights,
        subplot_kw={"facecolor": "none"},
        **options,
    )[:, 0].tolist()
    return figure, axes


def fit_height(figure: Figure, axes: Sequence[Axes], heights: Sequence[float]) -> list[float]:
    """Makes a figure high enough for axes of such heights, and all that is written about them.

    Args:
      figure: of `panes`.
      axes: all there are, below one another.
      heights: without what is written about them, in inches.

    Returns:
      How wide the axes are, in inches.
    """
    figure.set_figheight(sum(heights) + _ROOMY * len(heights))  # where nothing is squeezed
    figure.draw_without_rendering()
    around = sum(one.get_tightbbox().height - one.bbox.height for one in axes) / figure.dpi
    figure.set_figheight(sum(heights) + around + _PADDING * len(heights))
    return [one.bbox.width / figure.dpi for one in axes]


def legend_above(figure: Figure, handles: Sequence[Any], theme: Theme) -> None:
    """A legend above everything else in the figure."""
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=3,
        frameon=False,
        handlelength=1.8,
        columnspacing=1.1,
        handletextpad=0.5,
        labelcolor=theme.ink,
        fontsize="medium",
    )


def colour_bar(
    figure: Figure, drawn: Any, axes: Axes, theme: Theme, label: str, height: float = SIZE_INCHES[1]
) -> Colorbar:
    """A colour bar, always as wide, for what was drawn on some axes of about that height."""
    bar = figure.colorbar(drawn, ax=axes, pad=0.02, aspect=height / _BAR)
    bar.outline.set_edgecolor(theme.muted)
    bar.ax.tick_params(which="both", color=theme.muted, labelcolor=theme.ink, labelsize="small")
    bar.set_label(label, color=theme.ink)
    return bar
