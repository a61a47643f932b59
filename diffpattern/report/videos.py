"""The videos of a run: truth beside prediction, a damage test, and the hidden channels."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffpattern.data.trajectories import Trajectories
from diffpattern.report import films, images
from diffpattern.report.contents import RunReport, Shown, scale_of
from diffpattern.report.films import Film, Pane, Video

PREDICTION, DAMAGE, HIDDEN = "truth_and_prediction", "damage", "hidden_channels"
# As many species and hidden channels as one can watch.
SPECIES_UP_TO, CHANNELS_UP_TO = 6, 16
# Hidden channels are no longer than so many cells.
_SMALL = 96


@dataclass(frozen=True, eq=False)
class _Part:
    """What is seen at one place: its name, times [T], and snapshots [T, *space, C]."""

    title: str
    times: NDArray
    values: NDArray


def make(report: RunReport) -> dict[str, Video]:
    """All videos of a run by their names; of lattices on one axis there are none."""
    if report.lattices[0][0].grid.ndim == 1:
        return {}  # a kymograph shows all times at once
    return {name: films.written(film) for name, film in _films(report)}


def of_size(place: int) -> str:
    """The name of the video that shows predictions on lattices of one size after another."""
    return PREDICTION if place == 0 else f"{PREDICTION}-{place + 1}"


def _films(report: RunReport) -> Iterator[tuple[str, Film]]:
    for place, shown in enumerate(report.shown):
        yield of_size(place), _prediction(shown, report if place == 0 else None)
    truth, damage, states = report.lattices[0][0], report.damage, report.states
    if damage is not None:
        untouched = _Part("as it was", damage.times, damage.undamaged)
        damaged = _Part("damaged", damage.times, damage.damaged)
        yield DAMAGE, _side_by_side(truth, damage.trajectory, damage.times, untouched, damaged)
    if report.hidden:
        yield HIDDEN, _hidden(states.times, states.values, len(truth.species))


def _prediction(shown: Shown, report: RunReport | None) -> Film:
    """Truth beside prediction, at the times of the report's states where these are more."""
    times, predicted = shown.truth.times, shown.predicted
    states = report.states if report else None
    if states is not None and len(states.times) > len(times):
        times, predicted = states.times, states.values[..., : len(shown.truth.species)]
    return compared(shown.truth, shown.number, times, predicted)


def compared(truth: Trajectories, which: int, times: NDArray, predicted: NDArray) -> Film:
    """Truth beside prediction.

    Args:
      truth: the data.
      which: of their trajectories.
      times: of the frames, those of the predicted snapshots.
      predicted: what a rule made of the trajectory's start, [T, *space, C].
    """
    return _side_by_side(
        truth,
        which,
        times,
        _Part("truth", truth.times, truth.values[which]),
        _Part("prediction", times, predicted),
    )


def _side_by_side(truth: Trajectories, which: int, times: NDArray, *parts: _Part) -> Film:
    """Parts beside each other, a row for each species, or one in colours.

    Args:
      truth: whose species and units they are in.
      which: of its trajectories gives the colour scales, and the mask, outside of which all is
        grey.
      times: of the frames; a part that has fewer shows the next one of its own.
      parts: what is shown.
    """
    species, mask = truth.species, truth.inside(which)
    paint: dict[str, Callable[[NDArray], NDArray]] = {}
    if images.has_colours(species):
        paint[""] = lambda lattice: images.coloured(truth.in_units(lattice), species)
    else:
        for channel, name in enumerate(species[:SPECIES_UP_TO]):
            scale = scale_of(truth, which, channel)
            paint[f"{name}, "] = lambda lattice, channel=channel, scale=scale: images.painted(
                images.plane(images.within(lattice[..., channel], mask)), scale
            )
    rows = [
        [_pane(f"{name}{part.title}", part, times, of_lattice) for part in parts]
        for name, of_lattice in paint.items()
    ]
    if len(rows) > 3:  # two species in a row
        rows = [sum(rows[place : place + 2], []) for place in range(0, len(rows), 2)]
    return Film(rows, times)


def _pane(
    title: str, part: _Part, times: NDArray, of_lattice: Callable[[NDArray], NDArray]
) -> Pane:
    """A part under its title, which tells the part's own time where that is not the frame's."""
    pictures = np.stack([of_lattice(lattice) for lattice in part.values])
    near = 1e-6 * (times[-1] - times[0])
    which = np.searchsorted(part.times, times - near).clip(max=len(pictures) - 1)
    titles = [title] * len(times)
    if len(pictures) < len(times):
        titles = [f"{title} at t = {part.times[i]:.6g}" for i in which]
    return Pane(titles, pictures[which])


def _hidden(times: NDArray, states: NDArray, species: int) -> Film:
    """The channels after the species, each with a scale of its own that has zero in its middle."""
    panes: list[Pane] = []
    for channel in range(min(states.shape[-1] - species, CHANNELS_UP_TO)):
        values = states[..., species + channel].astype(np.float32)
        scale = images.scale_of_differences(values)
        pictures = [images.painted(images.plane(x, _SMALL), scale) for x in values]
        panes.append(Pane([f"hidden {channel + 1}"] * len(times), np.stack(pictures)))
    across = math.ceil(math.sqrt(len(panes)))
    return Film([panes[place : place + across] for place in range(0, len(panes), across)], times)
