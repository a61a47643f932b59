"""Windows that grow while a rule is trained, from fractions of an interval to many.

What happens between two snapshots may be too much for a fit that starts from nothing: its errors
are not linear in the parameters over such times. So training begins with windows that are shorter
than the interval, cut from trajectories that are interpolated between their snapshots. What is
learnt from those is only as right as the interpolation, but near enough to go on from.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import interpolate

from diffpattern.data.streams import Batches
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.precision import real


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long windows are at which step, in intervals between snapshots.

    Attributes:
      last: the length that stays.
      earlier: those before it, each a whole number or one part of a whole number of equal parts.
      steps: how many each of the earlier ones has.

    Raises:
      InputError: naming a length that cannot be, or that does not grow.
    """

    last: int
    earlier: tuple[float, ...] = ()
    steps: int = 1

    def __post_init__(self):
        for length in self.earlier:
            whole = max(length, 1 / length) if length > 0 else 0.0
            if abs(whole - round(whole)) > 1e-6 or whole < 1:
                raise InputError(
                    f"training.continuation has {length!r}; a window spans a whole number of "
                    "intervals, or one part of an interval that is cut in equal parts (0.5, 0.25)."
                )
        if any(first >= second for first, second in itertools.pairwise(self.lengths)):
            raise InputError(
                f"training.continuation is {self.earlier!r}, before windows of "
                f"{self.last} (training.window); each length must be greater than the one before."
            )

    def at(self, step: int) -> float:
        """The length of the windows that a step sees; the first step is 0."""
        stage = step // self.steps
        return self.earlier[stage] if stage < len(self.earlier) else self.last

    @property
    def lengths(self) -> tuple[float, ...]:
        """All of them, in their order."""
        return (*self.earlier, self.last)


def parts(length: float) -> int:
    """Into how many parts an interval is cut for windows of this length."""
    return max(round(1 / length), 1)


def elapsed(length: float, interval: float) -> np.ndarray:
    """The times of a window's snapshots since its first one, in units of time."""
    return interval / parts(length) * np.arange(max(round(length), 1) + 1)


class Growing:
    """Batches of windows that grow.

    Args:
      schedule: how long they are.
      make: length -> the batches of windows of that length.
    """

    def __init__(self, schedule: Schedule, make: Callable[[float], Batches]):
        # Data that are interpolated for one length are let go when the next begins.
        self._schedule, self._make = schedule, functools.lru_cache(maxsize=1)(make)

    def draw(self, step: int) -> dict[str, Any]:
        """See `streams.Batches`; any step may be asked for."""
        return self._make(self._schedule.at(step)).draw(step)

    def state(self) -> dict[str, Any]:
        """See `streams.Batches`."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `streams.Batches`."""


def require_possible(trajectories: Trajectories) -> None:
    """Refuses trajectories that cannot be interpolated.

    Raises:
      InputError: there are fewer than four snapshots, or some were not seen.
    """
    count = len(trajectories.times)
    if count < 4 or trajectories.known is not None:
        found = "some were not seen" if count >= 4 else f"they are {count}"
        raise InputError(
            "training.continuation has windows shorter than an interval, which are interpolated "
            f"between four snapshots or more, all seen, but {found}; leave those windows out."
        )


def interpolated(trajectories: Trajectories, count: int, sampling: str) -> Trajectories:
    """The trajectories with `count` - 1 more snapshots in each interval.

    By cubic splines through all snapshots, in time, or in its logarithm where windows are drawn so
    (`data.windows.draw`): patterns that form fast at first and slowly later are smooth in that. One
    new interval counts as the logarithm's unit.

    Raises:
      InputError: there are fewer than four snapshots, or some were not seen.
    """
    if count == 1:
        return trajectories
    require_possible(trajectories)
    times = trajectories.times
    new = times[0] + (times[1] - times[0]) / count * np.arange(count * (len(times) - 1) + 1)
    unit = new[1] - new[0]
    warped = lambda t: np.log1p((t - times[0]) / unit) if sampling == "log" else t
    spline = interpolate.CubicSpline(warped(times), trajectories.values, axis=1)
    values = spline(warped(new)).astype(real())
    values[:, ::count] = trajectories.values
    return dataclasses.replace(trajectories, values=values, times=new)
