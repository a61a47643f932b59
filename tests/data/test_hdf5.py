"""HDF5 files in public layouts: read as they were written, or refused in a sentence."""

from pathlib import Path

import h5py
import hdf5_files
import numpy as np
import pytest
import tiny
from hdf5_files import COORDINATES, SIZES, SPACINGS, numbered

from diffpattern.data import environment, hdf5
from diffpattern.data.hdf5 import PDEBench, TheWell
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Boundary, Grid

N, T = 5, 9
VALUES = numbered(N, T)  # [N, T, X, Y]
CHANNELS_LAST = np.stack([VALUES, -VALUES], axis=-1).transpose(0, 1, 3, 2, 4)  # [N, T, Y, X, C]


def well(tmp_path, **options):
    fields = {"A": VALUES, "B": -VALUES}
    return hdf5_files.the_well(tmp_path / "well.hdf5", **{"fields": fields} | options)


def bench(tmp_path, **options):
    return hdf5_files.pdebench(tmp_path / "bench.h5", **{"values": CHANNELS_LAST} | options)


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
def test_all_values_come_back_rows_first_and_channels_last(tmp_path, write, layout):
    stored = hdf5.index([write(tmp_path)], layout)
    read = stored.read()
    np.testing.assert_array_equal(read.values, np.float32(CHANNELS_LAST))
    assert read.grid.shape == (SIZES["y"], SIZES["x"])
    assert read.grid.spacing == (SPACINGS["y"], SPACINGS["x"])
    assert len(stored) == N


def test_what_the_files_say_of_themselves(tmp_path):
    stored = hdf5.index([well(tmp_path)], TheWell())
    assert stored.species == ("A", "B")
    assert stored.grid.boundary == Grid((1, 1)).boundary  # circular
    np.testing.assert_array_equal(stored.times, 10.0 * np.arange(T))
    stored = hdf5.index([bench(tmp_path)], PDEBench())
    assert stored.species == ("u", "v")
    assert {walls.lower for walls in stored.grid.boundary} == {Boundary("symmetric")}
    # Times of single precision are made even: a solver's step has to divide them.
    np.testing.assert_allclose(stored.times, 0.05 * np.arange(T), rtol=1e-7)
    assert np.ptp(np.diff(stored.times)) < 1e-12


@pytest.mark.parametrize(("kind", "meant"), [("WALL", "symmetric"), ("OPEN", "replicate")])
def test_walls_of_the_well(tmp_path, kind, meant):
    path = well(tmp_path, kind=kind)
    walls = hdf5.index([path], TheWell()).grid.boundary
    assert [wall.lower.kind for wall in walls] == [meant, meant]
    walls = hdf5.index([path], TheWell(boundary=("circular", "zero"))).grid.boundary
    assert [wall.lower.kind for wall in walls] == ["circular", "zero"]  # rows, columns


@pytest.mark.parametrize("axes", ["x", "xyz"])
def test_one_and_three_axes(tmp_path, axes):
    values = numbered(2, 3, axes)
    stored = hdf5.index([well(tmp_path, fields={"A": values}, axes=axes)], TheWell())
    assert stored.grid.shape == tuple(SIZES[axis] for axis in reversed(axes))
    expected = np.float32(values).transpose(0, 1, *reversed(range(2, values.ndim)))
    np.testing.assert_array_equal(stored.read().values[..., 0], expected)


def test_one_axis_of_pdebench(tmp_path):
    values = numbered(2, 3, "x")[..., None]
    stored = hdf5.index([bench(tmp_path, values=values)], PDEBench(("u",)))
    np.testing.assert_array_equal(stored.read().values, np.float32(values))


@both
def test_a_window_is_read_without_the_rest(tmp_path, write, layout, monkeypatch):
    stored = hdf5.index([write(tmp_path)], layout)
    seen = []
    read = h5py.Dataset.__getitem__

    def spy(dataset, *selection):
        values = read(dataset, *selection)
        seen.append(np.size(values))
        return values

    monkeypatch.setattr(h5py.Dataset, "__getitem__", spy)
    window = stored.snapshots(3, 2, 4)
    np.testing.assert_array_equal(window, np.float32(CHANNELS_LAST[3, 2:6]))
    assert window.flags.c_contiguous and window.dtype == np.float32
    assert sum(seen) == window.size


@both
def test_every_second_snapshot(tmp_path, write, layout):
    path = write(tmp_path)
    every, all_of_them = hdf5.index([path], layout, every=2), hdf5.index([path], layout)
    np.testing.assert_array_equal(every.times, all_of_them.times[::2])
    np.testing.assert_array_equal(every.snapshots(1, 1, 3), np.float32(CHANNELS_LAST[1, 2:7:2]))
    np.testing.assert_array_equal(every.read().values, np.float32(CHANNELS_LAST[:, ::2]))


def test_files_follow_one_another(tmp_path):
    paths = [
        well(tmp_path / name, fields={"A": sign * VALUES}, scalars={"F": sign, "k": 0.5})
        for name, sign in (("a", 1.0), ("b", 2.0))
    ]
    stored = hdf5.index(paths, TheWell(inputs=("k", "F")))
    assert len(stored) == 2 * N
    np.testing.assert_array_equal(stored.snapshots(N + 1, 0, 1)[0, ..., 0], 2 * VALUES[1, 0].T)
    np.testing.assert_array_equal(stored.inputs, [[0.5, 1.0]] * N + [[0.5, 2.0]] * N)
    np.testing.assert_array_equal(stored.read().inputs, stored.inputs)
    forcing = stored.forcing(np.array([0, N]), np.array([2, 3]))
    np.testing.assert_array_equal(forcing.inputs, [[0.5, 1.0], [0.5, 2.0]])
    np.testing.assert_array_equal(forcing.time, [20.0, 30.0])


def test_fields_can_be_chosen_and_put_in_order(tmp_path):
    path = well(tmp_path)
    read = hdf5.index([path], TheWell(("B",))).read()
    assert read.species == ("B",)
    np.testing.assert_array_equal(read.values, np.float32(CHANNELS_LAST[..., 1:]))
    read = hdf5.index([path], TheWell(("B", "A"))).read()
    np.testing.assert_array_equal(read.values, np.float32(CHANNELS_LAST[..., ::-1]))


def test_cells_see_the_same_in_every_trajectory(tmp_path):
    stored = hdf5.index([well(tmp_path)], TheWell())
    assert stored.seeing(()) is stored
    read = stored.seeing(("coordinates",)).read()
    np.testing.assert_array_equal(
        read.environment, environment.added(stored.read(), ("coordinates",)).environment
    )
    with pytest.raises(InputError, match="no masks"):
        stored.seeing(("edge",))


def test_the_sample_is_of_pairs_and_always_the_same(tmp_path):
    path = well(tmp_path)
    stored = hdf5.index([path], TheWell(), sampled=20)
    sample = stored.sample
    assert sample.values.shape == (20, 2, SIZES["y"], SIZES["x"], 2)
    np.testing.assert_array_equal(sample.values[:, 1, ..., 0] - sample.values[:, 0, ..., 0], 10.0)
    which, first = np.divmod(sample.values[:, 0, 0, 0, 0], 1000)
    assert set(which) == set(range(N)) and len(set(first)) > 4
    again = hdf5.index([path], TheWell(), sampled=20)
    np.testing.assert_array_equal(again.sample.values, sample.values)
    assert again.digest() == stored.digest()


def test_the_digest_tells_other_data_apart(tmp_path):
    original = hdf5.index([well(tmp_path / "a")], TheWell()).digest()
    assert hdf5.index([well(tmp_path / "b")], TheWell()).digest() == original
    for name, other in {
        "values": {"fields": {"A": VALUES, "B": -2 * VALUES}},
        "number": {"fields": {"A": VALUES[:4], "B": -VALUES[:4]}},
        "times": {"times": 5.0 * np.arange(T)},
    }.items():
        assert hdf5.index([well(tmp_path / name, **other)], TheWell()).digest() != original


@both
def test_splits_out_of_one_file_share_no_trajectory(tmp_path, write, layout):
    path = write(tmp_path)
    section, load = (
        ("the_well", hdf5.load_the_well)
        if isinstance(layout, TheWell)
        else ("pdebench", hdf5.load_pdebench)
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
    data = hdf5.load_the_well(chosen)
    assert len(data["train"]) == 10
    assert len(data["validation"].values) == 2
    assert len(data["test"].values) == 4


def test_a_single_trajectory_serves_all_splits(tmp_path):
    path = well(tmp_path, fields={"A": VALUES[:1]})
    data = hdf5.load_the_well(fields(train=path))
    assert len(data["train"]) == 1
    np.testing.assert_array_equal(data["test"].values, data["validation"].values)
    np.testing.assert_array_equal(data["test"].values[..., 0], VALUES[:1].transpose(0, 1, 3, 2))


def test_without_a_stream_everything_is_in_memory(tmp_path):
    chosen = fields(train=well(tmp_path), validation_trajectories=1, test_trajectories=1)
    stays = hdf5.load_the_well(chosen)["train"]
    chosen.stream = False
    read = hdf5.load_the_well(chosen)["train"]
    np.testing.assert_array_equal(read.values, stays.read().values)


def spoil(path, name, value=None, rename=None):
    """Changes one thing in a file: an entry's numbers, its name, or that it is there."""
    with h5py.File(path, "r+") as file:
        if rename:
            file.move(name, rename)
        elif value is None:
            del file[name]
        else:
            shape = np.shape(value)
            del file[name]
            file.create_dataset(name, data=value, shape=shape)
    return path


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("dimensions", None, ["group", "/dimensions", "t0_fields"]),
        ("dimensions/time", None, ["dataset", "dimensions/time", "x, y"]),
        ("dimensions/x", None, ["dimensions/x"]),
        ("t0_fields", None, ["t0_fields", "boundary_conditions"]),
        ("t0_fields/B", None, ["t0_fields/B", "A"]),
        ("boundary_conditions", None, ["boundary_conditions"]),
        ("dimensions/time", [0.0, 10, 20, 15, 40, 50, 60, 70, 80], ["from 20 to 15", "entry 3"]),
        ("dimensions/time", [0.0, 10, 20, 30, 40, 50, 60, 70, 99], ["from 10 to 29", "equal"]),
        ("dimensions/time", np.zeros((2, T)), ["dimensions/time", "(2, 9)"]),
        ("dimensions/x", [0.0, 1, 2, np.nan, 4, 5], ["dimensions/x", "finite"]),
        ("dimensions/y", np.arange(4.0), ["t0_fields/A", "(5, 9, 6, 5)", "(5, 9, 6, 4)"]),
        ("t0_fields/B", VALUES[:3], ["t0_fields/B", "(3, 9, 6, 5)"]),
        ("t1_fields/velocity", VALUES, ["vectors", "velocity", "data.the_well.fields"]),
    ],
)
def test_a_file_of_the_well_that_lacks_or_breaks_something_is_refused(tmp_path, name, value, words):
    path = well(tmp_path)
    if name == "t1_fields/velocity":
        with h5py.File(path, "r+") as file:
            file["t1_fields/velocity"] = value
    else:
        spoil(path, name, value)
    with pytest.raises(InputError) as error:
        hdf5.index([path], TheWell())
    assert_refused(error, path, *words)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("0001/data", None, ["0001/data", "grid"]),
        ("0000/grid", None, ["0000/grid", "data"]),
        ("0002/grid/t", None, ["0002/grid/t"]),
        ("0002/grid/t", 0.1 * np.arange(T), ["0002", "0000", "times"]),
        ("0000/grid/t", -0.1 * np.arange(T), ["0000/grid/t", "increase"]),
        ("0001/data", CHANNELS_LAST[1, ..., :1], ["0001/data", "(9, 5, 6, 1)", "(9, 5, 6, 2)"]),
    ],
)
def test_a_file_of_pdebench_that_lacks_or_breaks_something_is_refused(tmp_path, name, value, words):
    path = spoil(bench(tmp_path), name, value)
    with pytest.raises(InputError) as error:
        hdf5.index([path], PDEBench())
    assert_refused(error, path, *words)


def test_files_of_one_layout_are_not_taken_for_the_other(tmp_path):
    with pytest.raises(InputError, match=r"well\.hdf5 has no group /boundary_conditions/grid"):
        hdf5.index([well(tmp_path)], PDEBench())
    with pytest.raises(InputError, match=r"bench\.h5 has no group /dimensions, .* holds 0000"):
        hdf5.index([bench(tmp_path)], TheWell())


def test_unclear_walls_and_inputs_are_refused(tmp_path):
    path = well(tmp_path, kind="SLIP")
    with pytest.raises(InputError, match=r"SLIP as boundary of its axis y.*data\.the_well\.bound"):
        hdf5.index([path], TheWell())
    path = well(tmp_path, scalars={"F": np.arange(4.0)})
    with pytest.raises(InputError, match=r"well\.hdf5 has the scalar F with 4 values"):
        hdf5.index([path], TheWell(inputs=("F",)))
    with pytest.raises(InputError, match=r"no dataset /scalars/k.* holds F\)"):
        hdf5.index([path], TheWell(inputs=("k",)))
    with pytest.raises(InputError, match=r"well\.hdf5 gives no lattice: .*boundary"):
        hdf5.index([path], TheWell(boundary=("circular",) * 3))


def test_what_is_no_hdf5_file_is_refused(tmp_path):
    path = tmp_path / "text.hdf5"
    path.write_text("not data")
    with pytest.raises(InputError) as error:
        hdf5.index([str(path)], TheWell())
    assert_refused(error, path, "HDF5")
    cut = tmp_path / "cut.hdf5"
    cut.write_bytes(Path(well(tmp_path)).read_bytes()[:3000])
    with pytest.raises(InputError, match=r"cut\.hdf5 cannot be read"):
        hdf5.index([str(cut)], TheWell())


def test_files_that_do_not_fit_together_are_refused(tmp_path):
    one = well(tmp_path / "a")
    for what, other in {
        "species": {"fields": {"A": VALUES}},
        "times": {"times": 5.0 * np.arange(T)},
        "grid": {"kind": "WALL"},
    }.items():
        path = well(tmp_path / what, **other)
        with pytest.raises(InputError) as error:
            hdf5.index([one, path], TheWell())
        assert_refused(error, path, one, what)
    with pytest.raises(InputError, match="9 snapshots, of which every 9th leaves 1"):
        hdf5.index([one], TheWell(), every=9)


def test_splits_that_do_not_fit_together_are_refused(tmp_path):
    train = well(tmp_path / "a")
    fewer = well(tmp_path / "b", fields={"A": VALUES})
    faster = well(tmp_path / "c", times=5.0 * np.arange(T))
    for other, word in ((fewer, "species"), (faster, "5 apart")):
        with pytest.raises(InputError) as error:
            hdf5.load_the_well(fields(train=train, test=other, validation=train))
        assert_refused(error, other, train, word)
    with pytest.raises(InputError) as error:
        hdf5.load_the_well(fields(train=train, validation_trajectories=1))
    assert_refused(error, "data.the_well.test_trajectories is 8", "4 to take")


@pytest.mark.parametrize("pattern", ["", "nowhere", "nowhere/*.hdf5"])
def test_missing_files_are_refused_by_the_field(pattern):
    with pytest.raises(InputError) as error:
        hdf5.load_pdebench(fields("pdebench", train=pattern))
    assert_refused(error, "data.pdebench.train", repr(pattern))


@both
def test_not_a_number_is_told_with_its_place(tmp_path, write, layout):
    path = write(tmp_path)
    with h5py.File(path, "r+") as file:
        if isinstance(layout, TheWell):
            file["t0_fields/B"][3, 6, 2, 1] = np.nan
        else:
            file["0003/data"][6, 2, 1, 1] = np.inf
    stored = hdf5.index([path], layout)
    stored.snapshots(3, 0, 6)
    told = f"{3 if isinstance(layout, TheWell) else '0003'} at t = {stored.times[6]:g},"
    with pytest.raises(InputError) as error:
        stored.snapshots(3, 5, 3)
    assert_refused(error, path, told)


def test_everything_is_looked_through_before_training(tmp_path, monkeypatch):
    path = well(tmp_path)
    with h5py.File(path, "r+") as file:
        file["t0_fields/A"][0, 8, 0, 0] = np.nan
    chosen = fields(train=path, validation_trajectories=1, test_trajectories=1)
    chosen.statistics_windows = 1
    monkeypatch.setattr(hdf5, "_PORTION_BYTES", 2 * 4 * VALUES[0, 0].size * 3)  # three snapshots
    with pytest.raises(InputError, match=r"well\.hdf5 has NaN .* trajectory 0 at t = 80"):
        hdf5.load_the_well(chosen)
    chosen.scan = False
    hdf5.load_the_well(chosen)


def test_rounding_far_from_zero_is_no_uneven_spacing(tmp_path):
    path = well(tmp_path)
    spoil(path, "dimensions/y", np.float32(1e6 + COORDINATES["y"]))
    assert hdf5.index([path], TheWell()).grid.spacing[0] == pytest.approx(SPACINGS["y"], rel=0.03)
