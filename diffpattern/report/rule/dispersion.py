"""Which waves grow on a homogeneous state: the learnt dispersion relation beside the true one."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffpattern.report.figures import LIGHT, SIZE_INCHES, Theme, finish, prepare, with_settings
from diffpattern.report.rule.drawing import Units, legend_above, panes
from diffpattern.stability import Dispersion

# Growth rates below minus this many times the leading ones are not shown.
_DEPTH = 4.0
# Where nothing decays, this share of them below zero is.
_BELOW = 0.1
# A curve that is shown down to its lowest point does not lie on the axis there.
_ROOM = 1.05
# Frequencies below this share of the rates are rounding: such waves stand.
_STANDS = 1e-6


@with_settings
def dispersion(
    learnt: Dispersion, true: Dispersion | None, units: Units, theme: Theme = LIGHT
) -> Figure:
    """Growth rates of waves on a homogeneous state; where waves turn, below it how fast.

    Growth is shown down to some times the leading rates, since what decays fastest matters least.
    """
    curves = [("learnt", learnt, theme.rule, "-")]
    if true is not None:
        curves.append(("true", true, theme.persistence, "--"))
    lowest = _lowest_shown([one for _, one, _, _ in curves])
    end = max(_last_above(lowest, one) for _, one, _, _ in curves)
    end = min(end, float(learnt.wavenumbers[-1]))
    turning = [one.frequency[one.wavenumbers <= end] for _, one, _, _ in curves]
    turns = any(
        frequency.max() > _STANDS * np.abs(one.growth).max()
        for frequency, (_, one, _, _) in zip(turning, curves, strict=True)
    )
    heights = [SIZE_INCHES[1] + 0.5, 1.5] if turns else [SIZE_INCHES[1] + 0.5]
    figure, both = panes(theme, heights, sharex=True)
    top, bottom = both[0], both[-1]
    for axes in both:
        prepare(axes, theme)
    for label, one, colour, style in curves:
        top.plot(one.wavenumbers, one.growth, style, color=colour, label=label)
        if turns:
            bottom.plot(one.wavenumbers, one.frequency, style, color=colour)
    top.axhline(0.0, color=theme.ink, linewidth=1.0)
    if learnt.waves_grow:
        top.fill_between(
            learnt.wavenumbers,
            0.0,
            learnt.growth,
            where=learnt.growth > 0,
            color=theme.rule,
            alpha=0.15,
            linewidth=0,
        )
    for _, one, colour, _ in reversed(curves):
        if one.fastest and one.fastest <= end:
            top.plot(one.fastest, one.fastest_growth, "o", color=colour, markersize=6)
    highest = max(0.0, *(one.fastest_growth for _, one, _, _ in curves))
    if learnt.fastest and learnt.fastest <= end:
        top.annotate(
            f"wavelength {learnt.wavelength:.3g}",
            (learnt.fastest, highest),
            xytext=(0, 7),
            textcoords="offset points",
            ha="right" if learnt.fastest > 0.85 * end else "center",
            fontsize="small",
            color=theme.ink,
        )
    room = 0.18 * (highest - lowest)
    top.set_ylim(lowest, highest + room)
    top.set_xlim(0.0, end)
    top.set_ylabel(f"growth rate ({units.per_time})")
    bottom.set_xlabel(f"wavenumber ({units.per_length})")
    if turns:
        bottom.set_ylabel(f"turning (radians\n{units.per_time})")
        bottom.set_ylim(0.0, 1.1 * max(float(frequency.max()) for frequency in turning))
    handles, _ = top.get_legend_handles_labels()
    for axes in both:
        finish(axes, theme)
    top.get_legend().remove()
    legend_above(figure, handles, theme)
    _wavelengths(top, end, units, theme)
    return figure


def _lowest_shown(curves: Sequence[Dispersion]) -> float:
    """The lowest growth rate that a chart goes down to."""
    leading = max(max(abs(one.fastest_growth), abs(one.growth[0])) for one in curves)
    smallest = min(float(one.growth.min()) for one in curves)
    lowest = _ROOM * smallest
    if leading > 1e-6 * abs(smallest):
        lowest = max(lowest, -_DEPTH * leading)
    # Some room below zero where nothing decays.
    return min(lowest, -_BELOW * leading) or -1.0


def _last_above(lowest: float, curve: Dispersion) -> float:
    """The first wavenumber from which on the growth stays below, or the last one."""
    last = int(np.flatnonzero(curve.growth >= lowest).max(initial=0)) + 1
    return float(curve.wavenumbers[min(last, len(curve.wavenumbers) - 1)])


def _wavelengths(axes: Axes, end: float, units: Units, theme: Theme) -> None:
    """A second scale above the axes: wavelengths, at places of their wavenumbers."""
    above = axes.secondary_xaxis("top")
    places: list[tuple[float, str]] = []
    for exponent in range(6, -7, -1):
        for factor in (8, 6, 5, 4, 3, 2.5, 2, 1.5, 1.2, 1):
            wavelength = factor * 10.0**exponent
            place = 2 * np.pi / wavelength
            previous = places[-1][0] if places else 0.0
            if 0.05 * end < place <= end and place - previous > 0.075 * end:
                places.append((place, f"{wavelength:g}"))
    above.set_xticks([place for place, _ in places], [label for _, label in places])
    above.set_xlabel(f"wavelength ({units.lengths})", color=theme.ink)
    above.tick_params(color=theme.muted, labelcolor=theme.ink)
    above.spines["top"].set_color(theme.muted)
