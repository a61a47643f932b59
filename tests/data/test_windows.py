import dataclasses

import numpy as np
import pytest

from diffpattern.data import windows
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid


def numbered(count=5, snapshots=21, times=None):
    """Trajectories whose values tell where they are from: 1000 n + t."""
    values = 1000.0 * np.arange(count)[:, None] + np.arange(snapshots)
    times = np.arange(snapshots) * 2.0 if times is None else times
    return Trajectories(values[..., None, None], times, ("A",), Grid((1,)))


DATA = numbered()


def draw(step=0, seed=0, count=8, window=3, sampling="uniform", data=DATA):
    return windows.draw(data, step, seed=seed, count=count, window=window, sampling=sampling)


def origins(batch):
    """Trajectory and first snapshot of each window."""
    return np.divmod(batch["window"].values[:, 0, 0, 0].astype(int), 1000)


@pytest.mark.parametrize("sampling", windows.SAMPLINGS)
def test_windows_are_stretches_of_one_trajectory(sampling):
    batch = draw(sampling=sampling)
    assert (
        batch["window"].values.shape == (8, 4, 1, 1) and batch["window"].values.dtype == np.float32
    )
    np.testing.assert_array_equal(np.diff(batch["window"].values[..., 0, 0], axis=1), 1.0)
    np.testing.assert_array_equal(batch["index"], np.arange(8))
    assert batch["index"].dtype == np.int32


def test_a_window_knows_when_and_where_it_is():
    data = dataclasses.replace(
        numbered(),
        environment=np.arange(5.0)[:, None, None],
        inputs=10.0 * np.arange(5)[:, None],
        times=3.0 + np.arange(21) * 2.0,
    )
    batch = draw(data=data)
    which, first = origins(batch)
    forcing = batch["window"].forcing
    np.testing.assert_array_equal(forcing.time, 3.0 + 2.0 * first)
    np.testing.assert_array_equal(forcing.environment, which[:, None, None])
    np.testing.assert_array_equal(forcing.inputs, 10.0 * which[:, None])
    assert forcing.mask is None


def test_a_batch_is_a_function_of_seed_and_step():
    np.random.seed(1)
    first = draw(step=7, seed=3)
    np.random.seed(2)
    draw(step=1)
    np.testing.assert_array_equal(first["window"].values, draw(step=7, seed=3)["window"].values)
    for other in (draw(step=8, seed=3), draw(step=7, seed=4)):
        assert (first["window"].values != other["window"].values).any()


@pytest.mark.parametrize("window", [1, 3, 20])
@pytest.mark.parametrize("sampling", windows.SAMPLINGS)
def test_every_start_that_fits_is_drawn_and_no_other(sampling, window):
    batches = [draw(step, window=window, sampling=sampling) for step in range(200)]
    first = np.concatenate([origins(batch)[1] for batch in batches])
    np.testing.assert_array_equal(np.unique(first), np.arange(21 - window))


@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_every_trajectory_is_drawn_equally_often(count):
    which = np.concatenate([origins(draw(step, count=count))[0] for step in range(600)])
    share = np.bincount(which, minlength=5) / len(which)
    assert np.abs(share - 0.2).max() < 4 * np.sqrt(0.2 * 0.8 / len(which))


@pytest.mark.parametrize(("count", "most"), [(3, 1), (5, 1), (12, 3)])
def test_no_trajectory_is_drawn_again_before_all_were(count, most):
    for step in range(50):
        seen = np.bincount(origins(draw(step, count=count))[0], minlength=5)
        assert seen.max() <= most and seen.max() - seen.min() <= 1


def test_uniform_starts_are_one_in_each_part_of_time():
    for step in range(50):
        first = origins(draw(step, count=6, window=3))[1]  # 18 starts, parts of 3
        np.testing.assert_array_equal(first // 3, np.arange(6))


def test_log_starts_are_one_in_each_part_of_log_time():
    data = numbered(snapshots=256)
    for step in range(50):
        first = origins(draw(step, count=8, window=1, sampling="log", data=data))[1]
        # 255 starts: the parts of log2(1 + t) from 0 to 8 end at 1, 3, 7, ...
        assert (first + 1 >= 2.0 ** np.arange(8)).all()
        assert (first + 1 <= 2.0 ** np.arange(1, 9)).all()


def test_log_sampling_has_the_density_of_log_time():
    data = numbered(snapshots=65)
    first = np.concatenate(
        [
            origins(draw(step, count=16, window=1, sampling="log", data=data))[1]
            for step in range(400)
        ]
    )
    expected = np.diff(np.log(np.arange(1, 66))) / np.log(65)
    share = np.bincount(first, minlength=64) / len(first)
    # Stratified draws vary less than independent ones, whose spread this is.
    assert (np.abs(share - expected) < 4 * np.sqrt(expected / len(first))).all()


@pytest.mark.parametrize("window", [0, 21, 100])
def test_a_window_that_does_not_fit_is_refused(window):
    with pytest.raises(InputError, match=f"training.window is {window} .* have 20; take 1 to 20"):
        windows.check(DATA.times, window, "log")
    windows.check(DATA.times, 20, "log")


def test_an_unknown_sampling_is_refused():
    with pytest.raises(InputError, match="training.sampling is 'cubic'; take one of uniform, log"):
        windows.check(DATA.times, 1, "cubic")


def test_the_interval():
    assert windows.interval(DATA) == 2.0
    with pytest.raises(InputError, match="equal intervals, but .* from 1 to 3"):
        windows.interval(numbered(snapshots=3, times=[0.0, 1.0, 4.0]))
    with pytest.raises(InputError, match="from 1e-09 to 4e-09"):
        windows.interval(numbered(snapshots=4, times=[0.0, 1e-9, 3e-9, 7e-9]))


def test_windows_begin_with_something_that_was_seen():
    known = np.ones((2, 9, 1))
    known[0, [0, 2, 3]] = 0
    data = Trajectories(
        np.arange(18.0).reshape(2, 9, 1, 1) + np.zeros((1, 1, 4, 1)),
        np.arange(9.0),
        ("A",),
        Grid((4,)),
        known=known,
    )
    starts = {0: set(), 1: set()}
    for step in range(40):
        batch = windows.draw(data, step, seed=0, count=4, window=2, sampling="uniform")
        for time, seen, value in zip(
            batch["window"].forcing.time,
            batch["window"].known,
            batch["window"].values[:, 0, 0, 0],
            strict=True,
        ):
            which = int(value >= 9)
            starts[which].add(int(time))
            assert seen[0, 0] == 1 and value == 9 * which + time
            np.testing.assert_array_equal(seen, known[which, int(time) : int(time) + 3])
    # After 1 nothing was seen for the length of a window.
    assert starts == {0: {4, 5, 6}, 1: {0, 1, 2, 3, 4, 5, 6}}


def test_windows_begin_where_all_was_seen_if_that_is_anywhere():
    known = np.ones((2, 6, 2))
    known[0, [1, 2, 4, 5], 1] = 0  # all at 0 and 3
    known[1, :, 0] = 0
    known[1, [0, 3], 1] = 0  # never all
    starts = windows.beginnings(known)
    np.testing.assert_array_equal(starts, [[1, 0, 0, 1, 0, 0], [0, 1, 1, 0, 1, 1]])
    before = windows.begun_by(known, window=1, within=6)
    np.testing.assert_array_equal(before, [[0, 0, 0, 3, 3], [1, 1, 2, 2, 4]])


def test_predictions_go_on_from_where_all_trajectories_may_begin():
    known = np.ones((2, 4, 2))
    known[0, 0, 1] = known[1, :2, 0] = 0
    seen = Trajectories(known[:, :, None], np.arange(4.0), ("A", "B"), Grid((1,)), known=known)
    found = windows.from_beginning(seen)
    np.testing.assert_array_equal(found.times, [2, 3])
    assert found.values.shape == (2, 2, 1, 2) and found.known.all()
    assert windows.from_beginning(found) is found
    known = np.array([[[1, 1], [1, 0]], [[1, 0], [1, 1]]])
    with pytest.raises(InputError, match="nothing to predict from"):
        windows.from_beginning(
            Trajectories(known[:, :, None], np.arange(2.0), ("A", "B"), Grid((1,)), known=known)
        )


def at_times(*times):
    """One trajectory for each set of times at which it was seen, of whole numbers up to 7."""
    known = np.zeros((len(times), 8, 1))
    for of_one, seen in zip(known, times, strict=True):
        of_one[list(seen)] = 1
    return dataclasses.replace(numbered(len(times), 8), known=known)


@pytest.mark.parametrize("sampling", windows.SAMPLINGS)
@pytest.mark.parametrize("window", [1, 2, 3, 4, 5, 6])
def test_something_is_seen_in_each_window_after_its_beginning(window, sampling):
    data, trajectories = at_times((0, 2, 7), (0, 3, 4), (5, 6, 7), (3,)), set()
    for step in range(20):
        batch = draw(step, count=5, window=window, sampling=sampling, data=data)
        assert (batch["window"].known[:, 0] == 1).all()
        assert (batch["window"].known[:, 1:] == 1).any(axis=(1, 2)).all()
        trajectories |= set(origins(batch)[0])
    assert trajectories == {1: {1, 2}, 2: {0, 1, 2}}.get(window, {0, 1})


def test_draws_are_the_same_whether_or_not_data_say_that_all_was_seen():
    known = dataclasses.replace(DATA, known=np.ones((5, 21, 1)))
    for step in range(20):
        one, other = draw(step), draw(step, data=known)
        np.testing.assert_array_equal(other["window"].values, one["window"].values)
        part = windows.draw(
            at_times((0, 2, 7), (3,), (0, 3, 4)), step, seed=0, count=8, window=2,
            sampling="log", chosen=np.array([2, 5]),
        )  # fmt: skip
        whole = draw(step, window=2, sampling="log", data=at_times((0, 2, 7), (3,), (0, 3, 4)))
        np.testing.assert_array_equal(part["window"].values, whole["window"].values[[2, 5]])


def test_windows_that_show_nothing_are_refused_with_what_would_do():
    data = at_times((0, 3), (0, 2, 5))
    told = "training.window asks for windows of 1 x 2 units of time, .* take 2, the least that"
    with pytest.raises(InputError, match=told):
        windows.require_comparable(data, 1, None, "training.window")
    for window in (2, 3, 7):
        windows.require_comparable(data, window, None, "training.window")
    # In a pool a slot may come to what was seen.
    windows.require_comparable(data, 1, 8, "training.window")
    for lost in (at_times((4,)), at_times(())):
        with pytest.raises(InputError, match="no other length would do either"):
            windows.require_comparable(lost, 1, None, "training.window")
    assert len(draw(data=at_times((4,)))["window"].values) == 8
