"""Charts of patterns: power spectra, dominant wavelengths, and how far damage has healed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import NDArray

from diffpattern.records import Damage
from diffpattern.report import figures
from diffpattern.report.figures import LIGHT, Theme

# The power at which an axis ends, as a share of the highest; below it lies rounding.
_SMALLEST_POWER = 1e-8


@figures.with_settings
def spectra(
    curves: Sequence[tuple[float, NDArray, NDArray, NDArray]],
    species: str,
    unit: str = "",
    theme: Theme = LIGHT,
) -> Figure:
    """Power spectra of one species at some times, of truth and rule, on logarithmic axes.

    Args:
      curves: time, wavenumbers [K], and the power of truth and of rule per wavenumber, [K] each;
        what is not finite or not positive is left out.
      species: whose spectra they are.
      unit: of length.
      theme: colours, for as many times as it has for runs.
    """
    figure, axes = figures.chart(theme)
    drawn = [
        (time, wavenumbers, figures.positive(truth), figures.positive(rule))
        for time, wavenumbers, truth, rule in curves
    ]
    for (time, wavenumbers, truth, rule), colour in zip(drawn, theme.runs, strict=False):
        axes.plot(wavenumbers, truth, "-", color=colour, label=f"t = {time:.6g}")
        # Dashes lie on the line that they should be on, and must be seen there.
        axes.plot(wavenumbers, rule, "--", color=colour, marker="o", markersize=2.5, linewidth=1.0)
    axes.set(xscale="log", yscale="log")
    powers = np.concatenate([power for *_, truth, rule in drawn for power in (truth, rule)])
    highest = np.nanmax(powers)
    axes.set_ylim(max(np.nanmin(powers) / 3, _SMALLEST_POWER * highest), 3 * highest)
    axes.set_xlabel(f"wavenumber (radians per {unit or 'unit of length'})")
    axes.set_ylabel(f"power of {species} per wavenumber")
    figures.finish(axes, theme)
    # Spectra fall to the right, and above is the other axis.
    axes.legend(loc="lower left", frameon=False, labelcolor=theme.ink, fontsize="small")
    _add_wavelengths(axes, unit, theme)
    return figure


def _add_wavelengths(axes: Axes, unit: str, theme: Theme) -> None:
    """A second axis above, with round wavelengths."""
    inverse = lambda numbers: 2 * np.pi / np.maximum(numbers, 1e-300)
    above = axes.secondary_xaxis("top", functions=(inverse, inverse))
    shortest, longest = sorted(inverse(np.array(axes.get_xlim())))
    decades = 10.0 ** np.arange(np.floor(np.log10(shortest)), np.ceil(np.log10(longest)))
    round_ones = np.outer(decades, [1, 2, 5]).ravel()
    shown = round_ones[(round_ones >= shortest) & (round_ones <= longest)]
    above.xaxis.set_major_locator(FixedLocator(shown))
    above.xaxis.set_minor_locator(NullLocator())
    above.xaxis.set_major_formatter(lambda length, _: f"{length:g}")
    above.set_xlabel(figures.with_unit("wavelength", unit), color=theme.ink)
    above.tick_params(color=theme.muted, labelcolor=theme.ink)
    above.spines["top"].set_color(theme.muted)


@figures.with_settings
def wavelengths(scores: Mapping[str, Any], species: str, theme: Theme = LIGHT) -> Figure:
    """The dominant wavelength of one species over time, of truth and rule.

    Args:
      scores: with the "wavelength" of `diffpattern.scores.patterns`; where a pattern is flat there
        is a gap.
      species: whose it is.
      theme: colours.
    """
    figure, axes = figures.chart(theme)
    units = scores.get("units", {})
    both = scores["wavelength"][species]
    for key, colour, style in (("truth", theme.ink, "-"), ("rule", theme.rule, "--")):
        marker = "o" if len(scores["times"]) <= figures.MARKERS_UP_TO else ""
        axes.plot(
            scores["times"],
            figures.positive(both[key]),
            style,
            marker=marker,
            color=colour,
            label=key,
        )
    axes.set_xlabel(figures.with_unit("time", units.get("time", "")))
    axes.set_ylabel(figures.with_unit(f"wavelength of {species}", units.get("length", "")))
    figures.finish(axes, theme)
    return figure


@figures.with_settings
def recovery(
    damage: Damage, species: Sequence[str], unit: str = "", theme: Theme = LIGHT
) -> Figure:
    """How far a damaged lattice is from the one as it was, over the time since the damage.

    Args:
      damage: with an NRMSE for each time and species.
      species: names.
      unit: of time.
      theme: colours; species after the first `figures.NAMED_RUNS` are left out.
    """
    figure, axes = figures.chart(theme)
    elapsed = damage.times - damage.times[0]
    for index, (name, errors) in enumerate(
        zip(species[: figures.NAMED_RUNS], damage.nrmse.T, strict=False)
    ):
        colour, dashes = (
            theme.runs[index % len(theme.runs)],
            figures.DASHES[index % len(figures.DASHES)],
        )
        axes.plot(
            elapsed, np.where(np.isfinite(errors), errors, np.nan), dashes, color=colour, label=name
        )
    axes.set_ylim(bottom=0)
    axes.set_xlabel(figures.with_unit("time since the damage", unit))
    axes.set_ylabel("NRMSE of damaged to undamaged")
    figures.finish(axes, theme)
    return figure
