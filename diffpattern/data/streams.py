"""What gives a train step its windows, whether the data are in memory or stay in their files.

Where windows lie is the same function of seed and step for both (`windows.places`), so data give
the same batches whichever way they are held. Windows in files are read ahead by Grain in a thread,
while the step before is computed; where its iterator stands goes into the checkpoint.

Of several processes each knows where all windows of a batch lie, and reads those of its own devices
(`parallel.placement.Share`); of lattices that are cut into blocks, it is given trajectories of its
own cells alone (`of_cells`).
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grain
import numpy as np

from diffpattern import memory
from diffpattern.data import windows
from diffpattern.data.stored import StoredTrajectories
from diffpattern.data.trajectories import Trajectories
from diffpattern.data.windows import Window
from diffpattern.errors import InputError
from diffpattern.parallel.placement import Share

# Batches read ahead: one that the next step takes, and one on its way.
_READ_AHEAD = 2


class Batches(Protocol):
    """The windows of one train step after another."""

    def draw(self, step: int) -> dict[str, Any]:
        """The windows of a step, as `windows.draw` gives them; steps are drawn in their order."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint has to keep, as JSON takes it."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from where `state` was asked for."""


@dataclass(frozen=True)
class Sampling:
    """Which windows are drawn; the attributes are arguments of `windows.places`."""

    seed: int
    count: int
    window: int
    sampling: str


class InMemory:
    """Batches of trajectories in memory: functions of the step alone."""

    def __init__(
        self, trajectories: Trajectories, sampling: Sampling, chosen: np.ndarray | None = None
    ):
        self._trajectories, self._sampling, self._chosen = trajectories, sampling, chosen

    def draw(self, step: int) -> dict[str, Any]:
        """See `Batches`; any step may be asked for."""
        return windows.draw(self._trajectories, step, **vars(self._sampling), chosen=self._chosen)

    def state(self) -> dict[str, Any]:
        """See `Batches`."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Batches`."""


class Stream:
    """Batches of trajectories that stay in files: a Grain iterator.

    What cannot be read raises InputError from `draw`, for the step that would have needed it.
    """

    def __init__(
        self,
        trajectories: StoredTrajectories,
        sampling: Sampling,
        chosen: np.ndarray | None = None,
    ):
        steps = grain.MapDataset.source(_Steps(trajectories, sampling, chosen))
        # HDF5 reads in one thread at a time, so more of them would only wait.
        ahead = grain.ReadOptions(num_threads=1, prefetch_buffer_size=_READ_AHEAD)
        self._iterator = iter(steps.to_iter_dataset(ahead))

    def draw(self, step: int) -> dict[str, Any]:
        """See `Batches`.

        Raises:
          ValueError: another step than `step` is next.
        """
        drawn, batch = next(self._iterator)
        if drawn != step:
            raise ValueError(f"step {step} was asked for, but the stream stands at {drawn}")
        return batch

    def state(self) -> dict[str, Any]:
        """See `Batches`."""
        return self._iterator.get_state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Batches`."""
        self._iterator.set_state(dict(state))


class Whole(InMemory):
    """All trajectories from end to end at every step, for a pool; in memory in any case.

    Args:
      trajectories: of which those are left out that show nothing to learn from.
      count: of the places that they are shared out to.
      chosen: which of these are wanted; None: all.
      window: intervals of the pool's windows.

    Raises:
      InputError: they are in files, and more than memory can hold.
    """

    def __init__(
        self,
        trajectories: Trajectories | StoredTrajectories,
        count: int,
        chosen: np.ndarray | None = None,
        window: int = 1,
    ):
        index = np.arange(count) if chosen is None else chosen
        if _are_stored(trajectories):
            numbers = np.arange(len(trajectories))
        else:
            numbers = windows.comparable(trajectories, window, within=len(trajectories.times))
        which = numbers[windows.shared_out(len(numbers), count)[index]]
        if _are_stored(trajectories):
            needed, which = np.unique(which, return_inverse=True)
            which = which.reshape(len(index), -1)
            trajectories = trajectories.chosen(needed)
            there = memory.of_machine()
            if trajectories.bytes > there:
                raise InputError(
                    f"training.starts='pool' keeps all trajectories in memory, and those of "
                    f"{trajectories.places[0][0]} and so on take {trajectories.bytes / 1e9:.1f} GB "
                    f"of {there / 1e9:.1f}; take training.starts='data', which reads windows, or "
                    "fewer files."
                )
            trajectories = trajectories.read()
        self._batch = windows.whole(trajectories, which, index)

    def draw(self, step: int) -> dict[str, Any]:
        """See `Batches`; any step may be asked for."""
        return self._batch


class OfEachSize:
    """Batches that have a part for each size of lattices.

    Args:
      parts: the batches of one size each, all with as many windows.
      share: which of the windows of each part they draw.
    """

    def __init__(self, parts: Sequence[Batches], share: Share):
        self._parts, self._share = parts, share

    def draw(self, step: int) -> tuple[dict[str, Any], ...]:
        """The parts of a step, each as its own batches give it; places are in the whole batch.

        Each comes with the "weight" of its windows: 0 for those that only fill the batch up.
        """
        drawn = []
        for place, part in enumerate(self._parts):
            windows_of_size = part.draw(step)
            index = windows_of_size["index"] + np.int32(place * self._share.count)
            drawn.append(windows_of_size | {"index": index, "weight": self._share.weight})
        return tuple(drawn)

    def state(self) -> dict[str, Any]:
        """See `Batches`."""
        return {str(place): part.state() for place, part in enumerate(self._parts)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Batches`."""
        for place, part in enumerate(self._parts):
            part.restore(state.get(str(place), {}))


class _Steps:
    """Grain's random access source: step -> (step, its windows, read from the files)."""

    def __init__(
        self, trajectories: StoredTrajectories, sampling: Sampling, chosen: np.ndarray | None
    ):
        self._trajectories, self._sampling = trajectories, sampling
        self._index = np.arange(sampling.count) if chosen is None else chosen

    def __len__(self) -> int:
        return sys.maxsize  # training says when it ends

    def __getitem__(self, step: int) -> tuple[int, dict[str, Any]]:
        stored, sampling = self._trajectories, self._sampling
        which, first = windows.places(len(stored), len(stored.times), step, **vars(sampling))
        which, first = which[self._index], first[self._index]
        values = [
            stored.snapshots(*place, sampling.window + 1)
            for place in zip(which, first, strict=True)
        ]
        window = Window(np.stack(values), stored.forcing(which, first))
        return step, {"window": window, "index": self._index.astype(np.int32)}


def batches(
    trajectories: Trajectories | StoredTrajectories,
    sampling: Sampling,
    chosen: np.ndarray | None = None,
) -> Batches:
    """What gives train steps their windows, from wherever the trajectories are.

    Args:
      trajectories: the data.
      sampling: which windows are drawn.
      chosen: which of those are read, by their places in the batch; None: all.
    """
    kind = Stream if _are_stored(trajectories) else InMemory
    return kind(trajectories, sampling, chosen)


def _are_stored(trajectories: Trajectories | StoredTrajectories) -> bool:
    return isinstance(trajectories, StoredTrajectories)


def sample(trajectories: Trajectories | StoredTrajectories) -> Trajectories:
    """What statistics are taken from: all that is in memory, or a sample of what is in files."""
    if isinstance(trajectories, StoredTrajectories):
        return trajectories.sample
    return trajectories
