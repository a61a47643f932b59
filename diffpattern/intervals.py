"""The intervals between times: whether they are equal, and of what they are multiples.

Whatever the unit of time, what counts as equal is a share of an interval.
"""

import numpy as np

from diffpattern.errors import InputError

# How many equal intervals are tried where times leave some out.
_MOST = 1000


def are_equal(times: np.ndarray) -> bool:
    """Whether increasing times are equally far apart, but for rounding.

    Example:
      >>> are_equal(0.1 * np.arange(9)), are_equal(np.array([0.0, 1e-9, 3e-9]))
      (True, False)
    """
    intervals = np.diff(times)
    return np.allclose(intervals, intervals[:1], rtol=1e-6, atol=0.0)


def common(times: np.ndarray) -> tuple[float, np.ndarray]:
    """The longest interval of which all times are multiples, counted from the first.

    Args:
      times: [T], two or more, increasing.

    Returns:
      The interval, and each time in units of it, [T] whole numbers.

    Raises:
      InputError: the times are not all one interval apart, and there would be more than 1000 of
        them up to the last time.

    Example:
      >>> interval, places = common(np.array([1.0, 3.0, 9.0]))
      >>> interval, places.tolist()
      (2.0, [0, 1, 4])
    """
    if found := _multiples(times):
        return found
    raise InputError(
        f"The {len(times)} times from {times[0]:g} to {times[-1]:g} are no multiples of one "
        f"interval, of which there would be {_MOST} or fewer; round them."
    )


def between(times: np.ndarray) -> np.ndarray:
    """The intervals between times as of `common`; what rounding alone sets apart comes out equal.

    Example:
      >>> between(0.1 * np.array([0, 1, 2, 3, 5], np.float32)).tolist()
      [0.1, 0.1, 0.1, 0.2]
    """
    intervals = np.diff(times)
    if len(times) > 1 and (found := _multiples(times)):
        interval, places = found
        intervals = interval * np.diff(places)
    # To ten digits, as a person would have written them.
    return np.array([float(f"{interval:.9e}") for interval in intervals])


def _multiples(times: np.ndarray) -> tuple[float, np.ndarray] | None:
    """What `common` gives; None where there is no such interval."""
    span, fewest = float(times[-1] - times[0]), len(times) - 1
    # Equal intervals may be as many as they like.
    for count in (fewest, *range(fewest + 1, _MOST + 1)):
        place = (times - times[0]) * (count / span)
        if np.abs(place - np.round(place)).max() <= 1e-4:
            return span / count, np.round(place).astype(int)
    return None
