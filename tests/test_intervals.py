"""Which times are equally far apart, in any unit of time."""

import numpy as np
import pytest

from diffpattern import intervals
from diffpattern.errors import InputError


@pytest.mark.parametrize("unit", [1e-12, 1e-9, 1.0, 3600.0, 1e12])
def test_equal_intervals_are_so_in_any_unit(unit):
    assert intervals.are_equal(unit * np.arange(7))
    assert intervals.are_equal(unit * (5.0 + np.arange(200) / 3))
    assert not intervals.are_equal(unit * np.array([0.0, 1.0, 3.0, 7.0]))
    assert not intervals.are_equal(unit * np.array([0.0, 1.0, 2.001]))


def test_few_times_are_equally_far_apart():
    assert intervals.are_equal(np.array([3.0])) and intervals.are_equal(np.array([3.0, 4.0]))
    assert len(intervals.between(np.array([3.0]))) == 0


@pytest.mark.parametrize("count", [2, 1002, 2001])
def test_equal_intervals_may_be_as_many_as_they_like(count):
    interval, places = intervals.common(3.0 + 0.5 * np.arange(count))
    assert interval == 0.5
    np.testing.assert_array_equal(places, np.arange(count))


def test_intervals_with_gaps_are_at_most_a_thousand():
    interval, places = intervals.common(np.array([0.0, 1.0, 1000.0]))
    assert interval == 1.0 and places.tolist() == [0, 1, 1000]
    with pytest.raises(InputError, match="The 3 times from 0 to 1001 are no multiples of one"):
        intervals.common(np.array([0.0, 1.0, 1001.0]))


@pytest.mark.parametrize("unit", [1e-9, 0.1, 7.3])
def test_what_rounding_sets_apart_is_equal(unit):
    times = (unit * np.arange(200)).astype(np.float32).astype(np.float64)
    assert np.count_nonzero(np.diff(times, 2)) > 100
    (interval,) = set(intervals.between(times))
    assert interval == pytest.approx(unit, rel=1e-6)
    gap = np.delete(times, 100)
    assert len(set(intervals.between(gap))) == 2


def test_what_is_no_multiple_stays_as_it_is():
    times = np.append(np.arange(5000.0), [5000.1 + np.sqrt(2)])
    found = intervals.between(times)
    np.testing.assert_array_equal(found[:-1], 1.0)
    assert found[-1] == pytest.approx(1.1 + np.sqrt(2), rel=1e-9)


@pytest.mark.parametrize("interval", [0.1, 0.3, 1.0, 16.0, 1e-7])
def test_intervals_come_out_as_a_person_writes_them(interval):
    assert set(intervals.between(interval * np.arange(130))) == {interval}
