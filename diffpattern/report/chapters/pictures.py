"""Snapshots of truth and prediction, and their difference."""

import numpy as np

from diffpattern.report import images, mathematics
from diffpattern.report.chapters.pieces import chosen, tiles_in_colours, tiles_of_species
from diffpattern.report.contents import RunReport, Shown


def chapter(report: RunReport) -> str:
    """A row of moments for each species, on lattices of each size."""
    return "\n".join(map(_of_size, report.shown))


def _of_size(shown: Shown) -> str:
    truth, axes = shown.truth, shown.truth.grid.ndim
    parts = [
        f"<p>Trajectory {shown.number + 1} of {len(truth.values)}{shown.size}, the one whose "
        f"error at the last time is the median. {_what_a_picture_is(axes)} Compare "
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
        parts.append(tiles_in_colours(titles, both, truth.species, truth.times, at, remarks))
    for channel, name in enumerate(truth.species):
        at = chosen(shown.seen(channel), truth.times)
        parts.append(
            tiles_of_species(
                name,
                ("truth", "prediction", "difference"),
                [x[..., channel] for x in (shown.actual, shown.predicted, shown.difference)],
                truth.times,
                at,
                [f"NRMSE {mathematics.number(shown.errors[i, channel], 2)}" for i in at],
            )
        )
    if not np.isfinite(shown.predicted).all():
        parts.append("<p class='note'>Grey: the prediction is not a finite number there.</p>")
    return "\n".join(parts)


def _what_a_picture_is(axes: int) -> str:
    if axes == 1:
        return "Space runs from left to right and time downwards."
    if axes == 3:
        return "The pictures are slices through the middle of the lattice's first axis."
    return "Times are spaced evenly in their logarithm, since structure forms early."
