"""HDF5 files in public layouts: read as they were written, or refused in a sentence."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from hdf5_files import CHANNELS_LAST, COORDINATES, SIZES, SPACINGS, VALUES, numbered
from hdf5_files import small_pdebench as bench
from hdf5_files import small_the_well as well

from diffpattern.data import hdf5
from diffpattern.data.hdf5 import PDEBench, TheWell
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Boundary, Grid

N, T = VALUES.shape[:2]
WRITERS = {"the_well": (well, TheWell()), "pdebench": (bench, PDEBench())}
both = pytest.mark.parametrize(("write", "layout"), WRITERS.values(), ids=WRITERS)


def content(path, layout):
    with hdf5.opened(path) as file:
        return layout.content(file)


def everything(path, layout):
    """All values, [N, T, *space, C]."""
    with hdf5.opened(path) as file:
        items = layout.content(file).items
        return np.stack([layout.read(file, item, slice(None)) for item in items])


def assert_refused(error, *words):
    message = str(error.value)
    assert "\n" not in message and message.endswith(".")
    for word in words:
        assert str(word) in message


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


@both
def test_all_values_come_back_rows_first_and_channels_last(tmp_path, write, layout):
    path = write(tmp_path)
    np.testing.assert_array_equal(everything(path, layout), np.float32(CHANNELS_LAST))
    found = content(path, layout)
    assert found.grid.shape == (SIZES["y"], SIZES["x"])
    assert found.grid.spacing == (SPACINGS["y"], SPACINGS["x"])
    assert len(found.items) == N


def test_what_the_files_say_of_themselves(tmp_path):
    found = content(well(tmp_path), TheWell())
    assert found.species == ("A", "B")
    assert found.grid.boundary == Grid((1, 1)).boundary  # circular
    np.testing.assert_array_equal(found.times, 10.0 * np.arange(T))
    found = content(bench(tmp_path), PDEBench())
    assert found.species == ("u", "v")
    assert {walls.lower for walls in found.grid.boundary} == {Boundary("symmetric")}
    # Times of single precision are made even: a solver's step has to divide them.
    np.testing.assert_allclose(found.times, 0.05 * np.arange(T), rtol=1e-7)
    assert np.ptp(np.diff(found.times)) < 1e-12


@pytest.mark.parametrize(("kind", "meant"), [("WALL", "symmetric"), ("OPEN", "replicate")])
def test_walls_of_the_well(tmp_path, kind, meant):
    path = well(tmp_path, kind=kind)
    walls = content(path, TheWell()).grid.boundary
    assert [wall.lower.kind for wall in walls] == [meant, meant]
    walls = content(path, TheWell(boundary=("circular", "zero"))).grid.boundary
    assert [wall.lower.kind for wall in walls] == ["circular", "zero"]  # rows, columns


@pytest.mark.parametrize("axes", ["x", "xyz"])
def test_one_and_three_axes(tmp_path, axes):
    values = numbered(2, 3, axes)
    path = well(tmp_path, fields={"A": values}, axes=axes)
    assert content(path, TheWell()).grid.shape == tuple(SIZES[axis] for axis in reversed(axes))
    expected = np.float32(values).transpose(0, 1, *reversed(range(2, values.ndim)))
    np.testing.assert_array_equal(everything(path, TheWell())[..., 0], expected)


def test_one_axis_of_pdebench(tmp_path):
    values = numbered(2, 3, "x")[..., None]
    path = bench(tmp_path, values=values)
    assert content(path, PDEBench(("u",))).grid.shape == (SIZES["x"],)
    np.testing.assert_array_equal(everything(path, PDEBench(("u",))), np.float32(values))


def test_names_of_fields_are_one_word(tmp_path):
    path = well(tmp_path, fields={"cell density": VALUES, "B": -VALUES})
    layout = TheWell(fields=("B", "cell density"))
    assert content(path, layout).species == ("B", "cell_density")
    np.testing.assert_array_equal(everything(path, layout), everything(path, TheWell())[..., ::-1])


def test_fields_can_be_chosen_and_put_in_order(tmp_path):
    path = well(tmp_path)
    assert content(path, TheWell(("B",))).species == ("B",)
    np.testing.assert_array_equal(
        everything(path, TheWell(("B",))), np.float32(CHANNELS_LAST[..., 1:])
    )
    np.testing.assert_array_equal(
        everything(path, TheWell(("B", "A"))), np.float32(CHANNELS_LAST[..., ::-1])
    )


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
        content(path, TheWell())
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
        content(path, PDEBench())
    assert_refused(error, path, *words)


def test_files_of_one_layout_are_not_taken_for_the_other(tmp_path):
    with pytest.raises(InputError, match=r"well\.hdf5 has no group /boundary_conditions/grid"):
        content(well(tmp_path), PDEBench())
    with pytest.raises(InputError, match=r"bench\.h5 has no group /dimensions, .* holds 0000"):
        content(bench(tmp_path), TheWell())


def test_unclear_walls_and_inputs_are_refused(tmp_path):
    path = well(tmp_path, kind="SLIP")
    with pytest.raises(InputError, match=r"SLIP as boundary of its axis y.*data\.the_well\.bound"):
        content(path, TheWell())
    path = well(tmp_path, scalars={"F": np.arange(4.0)})
    with pytest.raises(InputError, match=r"well\.hdf5 has the scalar F with 4 values"):
        content(path, TheWell(inputs=("F",)))
    with pytest.raises(InputError, match=r"no dataset /scalars/k.* holds F\)"):
        content(path, TheWell(inputs=("k",)))
    with pytest.raises(InputError, match=r"well\.hdf5 gives no lattice: .*boundary"):
        content(path, TheWell(boundary=("circular",) * 3))


def test_what_is_no_hdf5_file_is_refused(tmp_path):
    path = tmp_path / "text.hdf5"
    path.write_text("not data")
    with pytest.raises(InputError) as error:
        content(str(path), TheWell())
    assert_refused(error, path, "HDF5")
    cut = tmp_path / "cut.hdf5"
    cut.write_bytes(Path(well(tmp_path)).read_bytes()[:3000])
    with pytest.raises(InputError, match=r"cut\.hdf5 cannot be read"):
        content(str(cut), TheWell())


def test_rounding_far_from_zero_is_no_uneven_spacing(tmp_path):
    path = well(tmp_path)
    spoil(path, "dimensions/y", np.float32(1e6 + COORDINATES["y"]))
    assert content(path, TheWell()).grid.spacing[0] == pytest.approx(SPACINGS["y"], rel=0.03)
