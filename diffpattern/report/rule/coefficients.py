"""Diffusion coefficients beside the true ones."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from diffpattern.report import mathematics
from diffpattern.report.figures import (
    LIGHT,
    Theme,
    finish,
    plain_number,
    prepare,
    with_settings,
)
from diffpattern.report.rule.drawing import Units, panes


@with_settings
def diffusion(scores: Mapping[str, Any], true: Mapping[str, float], theme: Theme = LIGHT) -> Figure:
    """Learnt diffusion coefficients with two standard errors to either side, and the true ones.

    Args:
      scores: with "diffusion", "diffusion_standard_error" and "units".
      true: those that are known, by species.
      theme: colours.
    """
    learnt, errors = scores["diffusion"], scores.get("diffusion_standard_error", {})
    figure, (axes,) = panes(theme, [1.25 + 0.5 * len(learnt)])
    prepare(axes, theme)
    rows = range(len(learnt))
    # Two standard errors, where there are any.
    around = {name: 2 * (errors.get(name) or 0.0) for name in learnt}
    known = [(true[name], row) for row, name in zip(rows, learnt, strict=True) if name in true]
    ends = [0.0, *(value for value, _ in known)]
    for name, value in learnt.items():
        ends += [value - around[name], value + around[name]]
    room = 0.06 * ((max(ends) - min(ends)) or 1.0)
    low, high = min(ends) - (room if min(ends) < 0 else 0.0), max(ends) + room
    axes.set_xlim(low, high)
    width = figure.canvas.get_renderer().get_text_width_height_descent
    for row, (name, value) in zip(rows, learnt.items(), strict=True):
        axes.errorbar(
            value,
            row,
            xerr=around[name] or None,
            fmt="o",
            color=theme.rule,
            markersize=7,
            capsize=4,
            label="" if row else "learnt, \N{PLUS-MINUS SIGN} two standard errors",
        )
        written = _with_error(value, around[name])
        # Over its point, but for the ends of the axis.
        share = (value - low) / (high - low)
        half = width(written, FontProperties(size="small"), ismath=False)[0] / figure.dpi / 2
        edge = half / (0.75 * figure.get_figwidth())
        axes.annotate(
            written,
            (min(max(share, edge), 1.0 - edge), row),
            xycoords=("axes fraction", "data"),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            fontsize="small",
            color=theme.ink,
        )
    if known:
        axes.plot(
            *zip(*known, strict=True),
            linestyle="",
            marker="|",
            markersize=17,
            markeredgewidth=2.2,
            color=theme.persistence,
            label="true",
            zorder=0,
        )
    axes.set_yticks(rows, learnt)
    axes.set_ylim(len(learnt) - 0.5, -0.7)
    axes.set_xlabel(f"diffusion coefficient ({Units.of(scores).diffusivities})")
    finish(axes, theme)
    return figure


def _with_error(value: float, error: float) -> str:
    """A value, told up to the second digit of what is around it, and that."""
    if not error or not np.isfinite(error):
        return plain_number(mathematics.number(value))
    written = mathematics.number(
        value, mathematics.digits({"coefficient": value, "standard_error": error / 10})
    )
    return plain_number(f"{written} \N{PLUS-MINUS SIGN} {mathematics.number(error, 2)}")
