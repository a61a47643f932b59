"""What several chapters share: times and numbers in words, colour scales, pictures in rows."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffpattern.report import images, mathematics
from diffpattern.report.document import data_uri
from diffpattern.report.films import Video


@dataclass(frozen=True, eq=False)
class Tiles:
    """Pictures of several trajectories at some moments, under each other.

    Attributes:
      titles: of the trajectories.
      labels: of the moments: what stands over each.
      remarks: what stands below that, HTML.
      pictures: PNGs, for each moment those of all trajectories.
      unit: of time.
      flat: whether the pictures are kymographs.
    """

    titles: Sequence[str]
    labels: Sequence[str]
    remarks: Sequence[str]
    pictures: Sequence[Sequence[bytes]]
    unit: str = ""
    flat: bool = False

    def figure(self, heading: str, name: str, scales: str = "") -> str:
        """The figure: a column for each moment, which narrow screens turn to rows.

        Args:
          heading: HTML.
          name: of what is shown, for those who cannot see it.
          scales: HTML.
        """
        cells = ["<div></div>", *(f"<div>{title}</div>" for title in self.titles)]
        for label, remark, pictures in zip(self.labels, self.remarks, self.pictures, strict=True):
            cells.append(f"<div>{moment(label, self.unit)}{remark}</div>")
            for title, picture in zip(self.titles, pictures, strict=True):
                alt = html.escape(f"{name}, {title}, t = {label}", quote=True)
                cells.append(f"<img src='{data_uri('png', picture)}' alt='{alt}'>")
        return (
            f"<figure><h3>{heading}</h3>"
            f"<div class='tiles{' kymograph' if self.flat else ''}' "
            f"style='--rows:{len(self.titles)}'>{''.join(cells)}</div>"
            f"<div class='scales'>{scales}</div></figure>"
        )


def tiles_of_species(
    name: str,
    titles: Sequence[str],
    values: Sequence[NDArray],
    states: images.Scale,
    times: NDArray,
    chosen: Sequence[int],
    remarks: Sequence[str],
    unit: str,
) -> str:
    """Two trajectories of one species and how far they are apart.

    Args:
      name: of the species.
      titles: of the trajectories and of their difference.
      values: theirs, [T, *space] each.
      states: the scale of both trajectories, while a difference has one of its own at each time.
      times: [T].
      chosen: the indices of those that are shown; of lattices on one axis all are.
      remarks: for each that is shown a short text.
      unit: of time; empty where nothing is known of it.
    """
    if flat := values[0].ndim == 2:
        labels, remarks = [" to ".join(mathematics.time(t) for t in times[[0, -1]])], [""]
        pictures = [[images.kymograph(one, times) for one in values]]
    else:
        labels = [mathematics.time(times[i]) for i in chosen]
        pictures = [[images.plane(one[i]) for one in values] for i in chosen]
    differences = [images.scale_of_differences(of_moment[-1], states) for of_moment in pictures]
    tiles = Tiles(
        titles,
        labels,
        [
            f"<small>{remark}</small><small><span>difference </span>{plus_minus(scale)}</small>"
            for remark, scale in zip(remarks, differences, strict=True)
        ],
        [
            [images.to_png(picture, states) for picture in of_moment[:-1]]
            + [images.to_png(of_moment[-1], scale)]
            for of_moment, scale in zip(pictures, differences, strict=True)
        ],
        unit,
        flat,
    )
    scales = colour_scale(" and ".join(titles[:-1]), states, *ends(states)) + colour_scale(
        "difference, up to the \N{PLUS-MINUS SIGN} of each time",
        differences[0],
        mathematics.MINUS,
        "+",
    )
    return tiles.figure(f"Species {mathematics.symbol(name)}", name, scales)


def tiles_in_colours(
    titles: Sequence[str],
    values: Sequence[NDArray],
    species: Sequence[str],
    times: NDArray,
    chosen: Sequence[int],
    remarks: Sequence[str],
    unit: str,
) -> str:
    """Trajectories on lattices of two or three axes in their own colours.

    Args:
      titles: theirs.
      values: theirs in the data's own units, [T, *space, C] each.
      species: names of the channels.
      times, chosen, remarks, unit: as `tiles_of_species` has them.
    """
    pictures = [[images.to_png(images.coloured(one[i], species)) for one in values] for i in chosen]
    labels = [mathematics.time(times[i]) for i in chosen]
    notes = [f"<small>{remark}</small>" for remark in remarks]
    return Tiles(titles, labels, notes, pictures, unit).figure("In colours", "in colours")


def film(video: Video, alt: str, caption: str, *, at_once: bool = False) -> str:
    """A video with its caption.

    Args:
      video: it.
      alt: what it shows, for those who cannot see it.
      caption: HTML.
      at_once: whether it plays by itself, over and over, unless the reader wants no motion; else
        when asked to.
    """
    alt = html.escape(alt, quote=True)
    if at_once:
        shown = (
            f"<img class='moving' src='{data_uri('gif', video.gif)}' alt='{alt}'>"
            f"<img class='still' src='{data_uri('png', video.still)}' alt='{alt}, its last frame'>"
        )
    else:
        shown = (
            f"<video controls muted playsinline preload='metadata' aria-label='{alt}' "
            f"poster='{data_uri('png', video.still)}' "
            f"src='{data_uri('mp4', video.mp4, 'video')}'></video>"
        )
    return f"<figure class='film'>{shown}<figcaption>{caption}</figcaption></figure>"


def colour_scale(title: str, scale: images.Scale, low: str, high: str) -> str:
    """A colour scale between its ends."""
    bar = data_uri("png", images.colour_bar(scale))
    return (
        f"<div><small>{title}</small><div class='scale'><div>{low}</div>"
        f"<img src='{bar}' alt='colour scale'>"
        f"<div>{high}</div></div></div>"
    )


def ends(scale: images.Scale) -> tuple[str, str]:
    """The ends of a scale as numbers no finer than its width gives reason for."""
    width = scale.high - scale.low
    decimals = 1 - math.floor(math.log10(width)) if width > 0 else 6  # not 1.8e-05 beside 0.72
    low, high = (mathematics.number(round(end, decimals), 2) for end in (scale.low, scale.high))
    return low, high


def plus_minus(scale: images.Scale) -> str:
    """The end of a scale that is symmetric about zero."""
    if not math.isfinite(scale.high):
        return "not finite"
    return f"\N{PLUS-MINUS SIGN}{mathematics.number(scale.high, 2)}"


def chosen(known: Sequence[int], times: Sequence[float]) -> list[int]:
    """Indices of the times to show, out of those at which there is something to see."""
    known = list(known)
    return [known[i] for i in images.chosen_times(np.asarray(times)[known])]


def moment(value: float | str, unit: str = "") -> str:
    """A time, or what stands in its place, as t = ..., in a unit that may not be known."""
    written = value if isinstance(value, str) else mathematics.time(value)
    written += f"\N{NO-BREAK SPACE}{html.escape(unit)}" if unit else ""
    return f"<i>t</i>\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{written}"


def valid_time(value: float | None, last: float) -> str:
    """A valid time; null says that the threshold was not exceeded at any saved time."""
    return f"beyond {mathematics.time(last)}" if value is None else mathematics.time(value)


def extent(low: float | None, high: float | None) -> str:
    """From the smallest to the largest."""
    return f"{mathematics.number(low, 2)} to {mathematics.number(high, 2)}"
