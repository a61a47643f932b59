"""Trajectories that stay in their files: parts of them, their splits, and what is refused."""

import h5py
import hdf5_files
import numpy as np
import pytest
import tiny
from hdf5_files import CHANNELS_LAST, SIZES, VALUES, numbered
from hdf5_files import small_pdebench as bench
from hdf5_files import small_the_well as well

from diffpattern.data import environment, stored
from diffpattern.data.hdf5 import PDEBench, TheWell
from diffpattern.data.stored import index
from diffpattern.errors import InputError

N, T = VALUES.shape[:2]
WRITERS = {"the_well": (well, TheWell()), "pdebench": (bench, PDEBench())}
both = pytest.mark.parametrize(("write", "layout"), WRITERS.values(), ids=WRITERS)


def fields(section="the_well", **changes):
    config = tiny.config(**{f"data.{section}.{name}": value for name, value in changes.items()})
    return config.data[section]


def assert_refused(error, *words):
    message = str(error.value)
    assert "\n" not in message and message.endswith(".")
    for word in words:
        assert str(word) in message


@both
def test_a_window_is_read_without_the_rest(tmp_path, write, layout, monkeypatch):
    trajectories = index([write(tmp_path)], layout)
    seen = []
    read = h5py.Dataset.__getitem__

    def spy(dataset, *selection):
        values = read(dataset, *selection)
        seen.append(np.size(values))
        return values

    monkeypatch.setattr(h5py.Dataset, "__getitem__", spy)
    window = trajectories.snapshots(3, 2, 4)
    np.testing.assert_array_equal(window, np.float32(CHANNELS_LAST[3, 2:6]))
    assert window.flags.c_contiguous and window.dtype == np.float32
    assert sum(seen) == window.size


@both
def test_every_second_snapshot(tmp_path, write, layout):
    path = write(tmp_path)
    every, all_of_them = index([path], layout, every=2), index([path], layout)
    np.testing.assert_array_equal(every.times, all_of_them.times[::2])
    np.testing.assert_array_equal(every.snapshots(1, 1, 3), np.float32(CHANNELS_LAST[1, 2:7:2]))
    np.testing.assert_array_equal(every.read().values, np.float32(CHANNELS_LAST[:, ::2]))


def test_files_follow_one_another(tmp_path):
    paths = [
        well(tmp_path / name, fields={"A": sign * VALUES}, scalars={"F": sign, "k": 0.5})
        for name, sign in (("a", 1.0), ("b", 2.0))
    ]
    trajectories = index(paths, TheWell(inputs=("k", "F")))
    assert len(trajectories) == 2 * N
    np.testing.assert_array_equal(
        trajectories.snapshots(N + 1, 0, 1)[0, ..., 0], 2 * VALUES[1, 0].T
    )
    np.testing.assert_array_equal(trajectories.inputs, [[0.5, 1.0]] * N + [[0.5, 2.0]] * N)
    np.testing.assert_array_equal(trajectories.read().inputs, trajectories.inputs)
    forcing = trajectories.forcing(np.array([0, N]), np.array([2, 3]))
    np.testing.assert_array_equal(forcing.inputs, [[0.5, 1.0], [0.5, 2.0]])
    np.testing.assert_array_equal(forcing.time, [20.0, 30.0])


def test_cells_see_the_same_in_every_trajectory(tmp_path):
    trajectories = index([well(tmp_path)], TheWell())
    assert trajectories.seeing(()) is trajectories
    read = trajectories.seeing(("coordinates",)).read()
    np.testing.assert_array_equal(
        read.environment, environment.added(trajectories.read(), ("coordinates",)).environment
    )
    with pytest.raises(InputError, match="no masks"):
        trajectories.seeing(("edge",))


def test_the_sample_is_of_pairs_and_always_the_same(tmp_path):
    path = well(tmp_path)
    trajectories = index([path], TheWell(), sampled=20)
    sample = trajectories.sample
    assert sample.values.shape == (20, 2, SIZES["y"], SIZES["x"], 2)
    np.testing.assert_array_equal(sample.values[:, 1, ..., 0] - sample.values[:, 0, ..., 0], 10.0)
    which, first = np.divmod(sample.values[:, 0, 0, 0, 0], 1000)
    assert set(which) == set(range(N)) and len(set(first)) > 4
    again = index([path], TheWell(), sampled=20)
    np.testing.assert_array_equal(again.sample.values, sample.values)
    assert again.digest() == trajectories.digest()


def test_the_digest_tells_other_data_apart(tmp_path):
    original = index([well(tmp_path / "a")], TheWell()).digest()
    assert index([well(tmp_path / "b")], TheWell()).digest() == original
    for name, other in {
        "values": {"fields": {"A": VALUES, "B": -2 * VALUES}},
        "number": {"fields": {"A": VALUES[:4], "B": -VALUES[:4]}},
        "times": {"times": 5.0 * np.arange(T)},
    }.items():
        assert index([well(tmp_path / name, **other)], TheWell()).digest() != original


@both
def test_splits_out_of_one_file_share_no_trajectory(tmp_path, write, layout):
    path = write(tmp_path)
    section, load = (
        ("the_well", stored.load_the_well)
        if isinstance(layout, TheWell)
        else ("pdebench", stored.load_pdebench)
    )
    chosen = fields(section, train=path, validation_trajectories=1, test_trajectories=2)
    chosen.snapshots = 4
    data = load(chosen)
    numbers = {
        split: {int(trajectory[0, 0, 0, 0]) // 1000 for trajectory in data[split].values}
        for split in ("validation", "test")
    }
    numbers["train"] = {
        int(data["train"].snapshots(which, 0, 1)[0, 0, 0, 0]) // 1000
        for which in range(len(data["train"]))
    }
    assert {split: len(held) for split, held in numbers.items()} == {
        "train": 2,
        "validation": 1,
        "test": 2,
    }
    assert set.union(*numbers.values()) == set(range(N))
    assert data["test"].values.shape[1] == 4 and len(data["train"].times) == T


def test_splits_of_their_own_files(tmp_path):
    for split, count in (("train", 5), ("valid", 3), ("test", 4)):
        for name in ("maze", "spots"):
            path = tmp_path / "data" / split / f"{name}.hdf5"
            hdf5_files.the_well(path, {"A": numbered(count, T)})
    (tmp_path / "data" / "train" / "notes.txt").write_text("not data")
    chosen = fields(
        train=str(tmp_path / "data" / "train"),
        validation=str(tmp_path / "data" / "valid" / "*maze*"),
        test=str(tmp_path / "data" / "test" / "spots.hdf5"),
        validation_trajectories=2,
        test_trajectories=9,
    )
    data = stored.load_the_well(chosen)
    assert len(data["train"]) == 10
    assert len(data["validation"].values) == 2
    assert len(data["test"].values) == 4


def test_a_single_trajectory_serves_all_splits(tmp_path):
    path = well(tmp_path, fields={"A": VALUES[:1]})
    data = stored.load_the_well(fields(train=path))
    assert len(data["train"]) == 1
    np.testing.assert_array_equal(data["test"].values, data["validation"].values)
    np.testing.assert_array_equal(data["test"].values[..., 0], VALUES[:1].transpose(0, 1, 3, 2))


def test_without_a_stream_everything_is_in_memory(tmp_path):
    chosen = fields(train=well(tmp_path), validation_trajectories=1, test_trajectories=1)
    stays = stored.load_the_well(chosen)["train"]
    chosen.stream = False
    read = stored.load_the_well(chosen)["train"]
    np.testing.assert_array_equal(read.values, stays.read().values)


def test_files_that_do_not_fit_together_are_refused(tmp_path):
    one = well(tmp_path / "a")
    for what, other in {
        "species": {"fields": {"A": VALUES}},
        "times": {"times": 5.0 * np.arange(T)},
        "grid": {"kind": "WALL"},
    }.items():
        path = well(tmp_path / what, **other)
        with pytest.raises(InputError) as error:
            index([one, path], TheWell())
        assert_refused(error, path, one, what)
    with pytest.raises(InputError, match="9 snapshots, of which every 9th leaves 1"):
        index([one], TheWell(), every=9)


def test_splits_that_do_not_fit_together_are_refused(tmp_path):
    train = well(tmp_path / "a")
    fewer = well(tmp_path / "b", fields={"A": VALUES})
    faster = well(tmp_path / "c", times=5.0 * np.arange(T))
    for other, word in ((fewer, "species"), (faster, "5 apart")):
        with pytest.raises(InputError) as error:
            stored.load_the_well(fields(train=train, test=other, validation=train))
        assert_refused(error, other, train, word)
    with pytest.raises(InputError) as error:
        stored.load_the_well(fields(train=train, validation_trajectories=1))
    assert_refused(error, "data.the_well.test_trajectories is 8", "4 to take")


@pytest.mark.parametrize("pattern", ["", "nowhere", "nowhere/*.hdf5"])
def test_missing_files_are_refused_by_the_field(pattern):
    with pytest.raises(InputError) as error:
        stored.load_pdebench(fields("pdebench", train=pattern))
    assert_refused(error, "data.pdebench.train", repr(pattern))


@both
def test_not_a_number_is_told_with_its_place(tmp_path, write, layout):
    path = write(tmp_path)
    with h5py.File(path, "r+") as file:
        if isinstance(layout, TheWell):
            file["t0_fields/B"][3, 6, 2, 1] = np.nan
        else:
            file["0003/data"][6, 2, 1, 1] = np.inf
    trajectories = index([path], layout)
    trajectories.snapshots(3, 0, 6)
    told = f"{3 if isinstance(layout, TheWell) else '0003'} at t = {trajectories.times[6]:g},"
    with pytest.raises(InputError) as error:
        trajectories.snapshots(3, 5, 3)
    assert_refused(error, path, told)


def test_everything_is_looked_through_before_training(tmp_path, monkeypatch):
    path = well(tmp_path)
    with h5py.File(path, "r+") as file:
        file["t0_fields/A"][0, 8, 0, 0] = np.nan
    chosen = fields(train=path, validation_trajectories=1, test_trajectories=1)
    chosen.statistics_windows = 1
    monkeypatch.setattr(stored, "_PORTION_BYTES", 2 * 4 * VALUES[0, 0].size * 3)  # three snapshots
    with pytest.raises(InputError, match=r"well\.hdf5 has NaN .* trajectory 0 at t = 80"):
        stored.load_the_well(chosen)
    chosen.scan = False
    stored.load_the_well(chosen)
