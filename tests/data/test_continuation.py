"""Windows grow as they are told to, and parts of an interval lie where the data would."""

import numpy as np
import pytest

from diffpattern.data import continuation
from diffpattern.data.continuation import Growing, Schedule
from diffpattern.data.streams import InMemory, Sampling
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid


def trajectories(times, curve, **given):
    """Cells that all follow a curve of time, each at its own height."""
    heights = np.arange(1.0, 4.0)
    values = heights[:, None, None, None] * curve(times)[:, None, None]
    values = np.broadcast_to(values, (3, len(times), 5, 1))
    return Trajectories(values, times, ("u",), Grid((5,)), **given)


def test_lengths_follow_the_steps():
    schedule = Schedule(3, (0.25, 0.5, 2), steps=4)
    lengths = [schedule.at(step) for step in range(16)]
    assert lengths == [0.25] * 4 + [0.5] * 4 + [2] * 4 + [3] * 4
    assert schedule.at(10**6) == 3 and schedule.lengths == (0.25, 0.5, 2, 3)
    assert Schedule(1).at(0) == 1


@pytest.mark.parametrize(
    ("length", "count", "times"),
    [(0.25, 4, [0, 2]), (1 / 3, 3, [0, 8 / 3]), (1, 1, [0, 8]), (3, 1, [0, 8, 16, 24])],
)
def test_a_window_of_a_length_has_these_times(length, count, times):
    assert continuation.parts(length) == count
    np.testing.assert_allclose(continuation.elapsed(length, 8.0), times)


@pytest.mark.parametrize("length", [0.4, 1.5, 0.0, -1.0])
def test_lengths_that_cut_no_interval_evenly_are_refused(length):
    with pytest.raises(InputError, match=f"training.continuation has {length}; a window spans"):
        Schedule(1, (0.5, length))


@pytest.mark.parametrize(("last", "earlier"), [(1, (0.5, 0.25)), (2, (2,)), (1, (0.5, 3))])
def test_lengths_that_do_not_grow_are_refused(last, earlier):
    with pytest.raises(InputError, match=rf"before windows of {last} .* must be greater"):
        Schedule(last, earlier)


@pytest.mark.parametrize(
    ("sampling", "curve"),
    [
        ("uniform", lambda t: 2 + 0.1 * t - 0.003 * t**2 + 1e-5 * t**3),
        ("log", lambda t: 2 + np.log1p(t / 4) - 0.1 * np.log1p(t / 4) ** 3),
    ],
)
def test_smooth_curves_are_met_between_snapshots(sampling, curve):
    """Cubics, in time or in its logarithm, exactly; and every snapshot in any case."""
    coarse, fine = np.arange(0, 129, 16.0), np.arange(0, 129, 4.0)
    found = continuation.interpolated(trajectories(coarse, curve), 4, sampling)
    expected = trajectories(fine, curve)
    np.testing.assert_allclose(found.times, fine)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-5)
    np.testing.assert_array_equal(found.values[:, ::4], trajectories(coarse, curve).values)


def test_what_cannot_be_interpolated_is_refused():
    few = trajectories(np.arange(3.0), np.cos)
    with pytest.raises(InputError, match="four snapshots or more, all seen, but they are 3"):
        continuation.interpolated(few, 2, "log")
    unseen = trajectories(np.arange(6.0), np.cos, known=np.ones((3, 6, 1)))
    with pytest.raises(InputError, match="but some were not seen"):
        continuation.interpolated(unseen, 2, "log")
    assert continuation.interpolated(few, 1, "log") is few


def test_batches_are_those_of_the_length_of_the_step():
    data = trajectories(np.arange(0, 65, 8.0), np.cos)
    of = lambda length: InMemory(data, Sampling(0, 2, length, "log"))
    growing = Growing(Schedule(4, (1, 2), steps=3), of)
    for step in range(9):
        length = (1, 2, 4)[min(step // 3, 2)]
        found, expected = growing.draw(step)["window"], of(length).draw(step)["window"]
        np.testing.assert_array_equal(found.values, expected.values)
    growing.restore(growing.state())
