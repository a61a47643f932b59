"""Diffusion coefficients beside the true ones."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from diffpattern.report.figures import LIGHT, Theme, finish, prepare, with_settings
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
    for row, (name, value) in zip(rows, learnt.items(), strict=True):
        error = errors.get(name)
        axes.errorbar(
            value,
            row,
            xerr=2 * error if error else None,
            fmt="o",
            color=theme.rule,
            markersize=7,
            capsize=4,
            label="" if row else "learnt, \N{PLUS-MINUS SIGN} two standard errors",
        )
        written = f"{value:.4g}" + (f" \N{PLUS-MINUS SIGN} {error:.1g}" if error else "")
        axes.annotate(
            written,
            (value, row),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            fontsize="small",
            color=theme.ink,
        )
    known = [(true[name], row) for row, name in zip(rows, learnt, strict=True) if name in true]
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
    highest = max([0.0, *learnt.values(), *(value for value, _ in known)])
    lowest = min([0.0, *learnt.values(), *(value for value, _ in known)])
    room = 0.12 * ((highest - lowest) or 1.0)
    axes.set_xlim(lowest - (room if lowest < 0 else 0), highest + room)
    axes.set_xlabel(f"diffusion coefficient ({Units.of(scores).diffusivities})")
    finish(axes, theme)
    return figure
