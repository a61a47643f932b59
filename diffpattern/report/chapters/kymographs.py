"""A cut through the lattice over all times."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffpattern.report import images, mathematics
from diffpattern.report.chapters.pieces import colour_scale, ends, moment
from diffpattern.report.contents import RunReport, Shown
from diffpattern.report.document import data_uri

# With fewer times there is nothing to follow.
_SNAPSHOTS_FROM = 5


def chapter(report: RunReport) -> str:
    """The middle row of each species, truth above prediction, where space has several axes."""
    drawn = [
        _figure(shown, channel, name, report)
        for shown in report.shown
        if shown.truth.grid.ndim > 1
        for channel, name in enumerate(shown.truth.species)
        if len(shown.seen(channel)) >= _SNAPSHOTS_FROM
    ]
    if not drawn:
        return ""
    return (
        "<p>The cells of the lattice's middle row, from below upwards, and time from left to "
        "right, of the same trajectory. A structure that stays is a horizontal stripe, one that "
        "drifts a slanted one, and a fork is where one divides. See whether the stripes of truth "
        "and prediction begin, bend and end together; in the difference, errors that come and go "
        "are spots, and those that stay are stripes.</p>" + "\n".join(drawn)
    )


def _figure(shown: Shown, channel: int, name: str, report: RunReport) -> str:
    seen, times, grid = shown.seen(channel), shown.truth.times, shown.truth.grid
    pictures = [
        _picture(_cut(images.within(x[seen][..., channel], shown.mask)), times[seen])
        for x in (shown.actual, shown.predicted, shown.difference)
    ]
    states = shown.scale(channel)
    difference = images.scale_of_differences(pictures[-1], states)
    titles = ("truth", "prediction", "difference")
    rows = "".join(
        f"<div>{title}</div><img src='{data_uri('png', images.to_png(picture, scale))}' "
        f"alt='{title}, middle row over time'>"
        for title, picture, scale in zip(
            titles, pictures, (states, states, difference), strict=True
        )
    )
    first, last = times[seen][[0, -1]]
    axis = "".join(
        f"<span>{moment(time, report.unit('time'))}</span>"
        for time in (first, (first + last) / 2, last)
    )
    end = mathematics.number(difference.high, 2)
    side = f"{grid.shape[-1] * grid.spacing[-1]:.4g} {report.unit('length') or 'units of length'}"
    return (
        f"<figure><h3>Species {mathematics.symbol(name)}{shown.size}, along {side}</h3>"
        f"<div class='cut'>{rows}<div></div><div class='axis'>{axis}</div></div>"
        f"<div class='scales'>{colour_scale('truth and prediction', states, *ends(states))}"
        f"{colour_scale('difference', difference, mathematics.number(difference.low, 2), end)}"
        "</div></figure>"
    )


def _cut(trajectory: NDArray) -> NDArray:
    """The middle row [T, X] of a trajectory [T, *space]."""
    while trajectory.ndim > 2:
        trajectory = trajectory[:, trajectory.shape[1] // 2]
    return trajectory


def _picture(cut: NDArray, times: Sequence[float]) -> NDArray:
    """The cut with time from left to right and space from below upwards."""
    return images.kymograph(cut, np.asarray(times)).T[::-1]
