"""Snapshots of truth and prediction, and their difference."""

import numpy as np

from diffpattern.report import images, mathematics
from diffpattern.report.chapters.pieces import chosen, tiles_in_colours, tiles_of_species
from diffpattern.report.contents import RunReport, Shown


def chapter(report: RunReport) -> str:
    """A row of moments for each species, on lattices of each size."""
    return "\n".join(_of_size(report, shown) for shown in report.shown)


def _of_size(report: RunReport, shown: Shown) -> str:
    truth, axes, unit = shown.truth, shown.truth.grid.ndim, report.unit("time")
    which = "The only trajectory"
    if len(truth.values) > 1:
        which = f"Trajectory {shown.number + 1} of {len(truth.values)}"
    typical = ", the one whose error at the last time is the median" * (len(truth.values) > 1)
    parts = [
        f"<p>{which}{shown.size}{typical}. {_what_a_picture_is(report, shown)} Compare "
        "position and shape of the structures first; then see in the difference (prediction less "
        "truth) where and when the rule departs from it. Each difference has a scale of its own, "
        "symmetric about zero, whose end is written after \N{PLUS-MINUS SIGN}: a strong colour may "
        "still be a small number. Each scale spans 99% of its values; the rest take the colour of "
        "its ends."
        "</p>"
    ]
    if images.has_colours(truth.species) and axes > 1:
        at = chosen(shown.seen(0), truth.times)
        both = [truth.in_units(shown.actual), truth.in_units(shown.predicted)]
        titles, remarks = ("truth", "prediction"), [""] * len(at)
        parts.append(tiles_in_colours(titles, both, truth.species, truth.times, at, remarks, unit))
    for channel, name in enumerate(truth.species):
        at = chosen(shown.seen(channel), truth.times)
        parts.append(
            tiles_of_species(
                name,
                ("truth", "prediction", "difference"),
                [
                    images.within(x[..., channel], shown.mask)
                    for x in (shown.actual, shown.predicted, shown.difference)
                ],
                shown.scale(channel),
                truth.times,
                at,
                [f"NRMSE {mathematics.number(shown.errors[i, channel], 2)}" for i in at],
                unit,
            )
        )
    grey = [] if shown.mask is None else ["outside of the mask"]
    if not np.isfinite(shown.predicted).all():
        grey.append("where the prediction is not a finite number")
    if grey:
        parts.append(f"<p class='note'>Grey: {' or '.join(grey)}.</p>")
    return "\n".join(parts)


def _what_a_picture_is(report: RunReport, shown: Shown) -> str:
    """What of the lattice is seen, how long its sides are, and which times."""
    grid, unit = shown.truth.grid, report.unit("length") or "units of length"
    sides = [
        f"{cells * spacing:.4g}"
        for cells, spacing in zip(grid.shape[-2:], grid.spacing[-2:], strict=True)
    ]
    if grid.ndim == 1:
        return f"Space, {sides[0]} {unit}, runs from left to right and time downwards."
    size = f"{sides[1]} {unit} wide and {sides[0]} high"
    if grid.ndim == 3:
        told = f"The pictures are slices through the middle of the lattice's first axis, {size}."
    else:
        told = f"Each picture is {size}."
    shown_times = max(len(chosen(shown.seen(c), shown.truth.times)) for c in range(shown.channels))
    if shown_times < len(shown.truth.times):
        told += " Times are spaced evenly in their logarithm, since structure forms early."
    return told
