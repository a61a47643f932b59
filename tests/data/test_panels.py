"""Tables of colonies, and what colonies of several panels and times show together."""

import numpy as np
import pytest

from diffpattern.data import panels
from diffpattern.data.images import ImageSequence
from diffpattern.data.preparation import Preparation, Prepared
from diffpattern.errors import InputError

PREPARATION = Preparation(section="data.panels")


@pytest.fixture
def table(tmp_path):
    """Writes a table beside three pictures; its path."""
    for name in "abc":
        np.save(tmp_path / f"{name}.npy", np.full((1, 4, 5, 2), ord(name) - 96.0))

    def write(*lines, header="file,time,panel,colony,split"):
        path = tmp_path / "table.csv"
        path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
        return str(path)

    return write


def colony(channels, level, seen=None, inside=None):
    """A frame of 2 x 3 cells, whose channels are `level`, `level + 1` and so on."""
    frames = np.broadcast_to(level + np.arange(len(channels)), (1, 2, 3, len(channels)))
    everywhere = np.ones((2, 3), bool)
    sequence = ImageSequence(frames.astype(np.float32), channels, path=f"{level}.png")
    return Prepared(
        sequence,
        everywhere if seen is None else np.array(seen, bool),
        everywhere if inside is None else np.array(inside, bool),
    )


def test_a_table_says_what_each_picture_is(table, tmp_path):
    path = table("a.npy,0,A,1,", "", f"{tmp_path}/b.npy, 12.5 ,B,1,test", "c.npy,-3,A,x,train")
    rows = panels.read_table(path)
    assert [(row.time, row.panel, row.colony, row.split) for row in rows] == [
        (0.0, "A", "1", "train"),
        (12.5, "B", "1", "test"),
        (-3.0, "A", "x", "train"),
    ]
    assert [row.file for row in rows] == [tmp_path / f"{name}.npy" for name in "abc"]


@pytest.mark.parametrize("mark", [";", "\t", ","])
def test_tables_of_spreadsheets_are_read(table, tmp_path, mark):
    path = table(
        mark.join(["2", "A", "a.npy", "note", "1"]),
        header=mark.join(["\ufefftime", "panel", "file", "remark", "colony"]),
    )
    (row,) = panels.read_table(path)
    assert (row.time, row.panel, row.colony, row.split) == (2.0, "A", "1", "train")


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (("a.npy,0,A,1,", "d.npy,0,A,2,"), "line 3, names d.npy, but there is no file"),
        (("a.npy,soon,A,1,",), "line 2, has 'soon' for a time"),
        (("a.npy,nan,A,1,",), "line 2, has 'nan' for a time"),
        (("a.npy,0,,1,",), "line 2, has no panel"),
        (("a.npy,0",), "line 2, has no panel"),
        (("a.npy,0,A,1,tests",), "line 2, has 'tests' for a split; take one of train, validation"),
        (("a.npy,0,A,1,", "b.npy,0,B,1,", "c.npy,0.0,A,1,"), "line 4, .* colony as line 2"),
        (("a.npy,0,A,1,test",), "has no row to train on"),
        ((), "has no row to train on"),
    ],
    ids=str,
)
def test_a_table_that_cannot_work_is_told_by_its_line(table, lines, told):
    with pytest.raises(InputError, match=told) as error:
        panels.read_table(table(*lines))
    message = str(error.value)
    assert "table.csv" in message and message.endswith(".") and "\n" not in message


def test_a_file_that_is_no_table_is_told(table, tmp_path):
    with pytest.raises(InputError, match=r"table.csv has no column time and no colony; its first"):
        panels.read_table(table("a.npy,A", header="file,panel"))
    (tmp_path / "table.csv").write_bytes(b"")
    with pytest.raises(InputError, match="has no column file and no time"):
        panels.read_table(str(tmp_path / "table.csv"))
    (tmp_path / "table.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="table.csv cannot be read: it is no text"):
        panels.read_table(str(tmp_path / "table.csv"))
    with pytest.raises(InputError, match=r"none.csv cannot be read: No such file"):
        panels.read_table(str(tmp_path / "none.csv"))


def test_species_are_typed_panel_by_panel():
    assert panels.species_by_panel("") == {}
    assert panels.species_by_panel("DAPI, SOX2") == {"": ("DAPI", "SOX2")}
    assert panels.species_by_panel("A: DAPI,SOX2 ; day 2: DAPI,-,-,BRA;") == {
        "A": ("DAPI", "SOX2"),
        "day 2": ("DAPI", "-", "-", "BRA"),
    }


@pytest.mark.parametrize("written", ["A: x; A: y", "A: x,,y", "A: x,x", "A: -", "A:", "x; y"])
def test_species_that_make_no_sense_are_refused(written):
    with pytest.raises(InputError, match="data.panels.species is .* write as in 'A: DAPI"):
        panels.species_by_panel(written)


def test_a_colony_has_the_channels_of_its_panel(table, tmp_path):
    np.save(tmp_path / "a.npy", np.arange(40.0).reshape(1, 4, 5, 2))
    (row,) = panels.read_table(table("a.npy,0,A,1,"))
    read = lambda **species: panels.read_colony(row, species, PREPARATION).sequence
    assert read().channels == ("channel1", "channel2")
    assert read(A=("x", "y")).channels == ("x", "y")
    chosen = panels.read_colony(row, {"": ("-", "y")}, PREPARATION).sequence
    assert chosen.channels == ("y",)
    np.testing.assert_array_equal(chosen.frames[0, ..., 0], np.arange(1, 40, 2).reshape(4, 5))
    with pytest.raises(InputError, match=r"nothing of the panel A, which .*a.npy is of; it has B"):
        read(B=("x", "y"))
    with pytest.raises(InputError, match=r"a.npy has 2 channels, but its panel 3: x, y, z"):
        read(A=("x", "y", "z"))
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5, 2)))
    with pytest.raises(InputError, match=r"a.npy has 3 frames, but a row of the table is for one"):
        read()


def test_colonies_of_several_panels_and_times_become_one_trajectory():
    merged = panels.merge(
        [4.0, 0.0, 0.0, 0.0, 1.5],
        [
            colony(("x", "y"), 10.0),
            colony(("x", "y"), 1.0),
            colony(("x", "y"), 3.0),
            colony(("z", "x"), 5.0),  # x is 6 in this one
            colony(("z",), 7.0),
        ],
        ("x", "y", "z"),
        "mean",
    )
    np.testing.assert_array_equal(merged.times, [0.0, 1.5, 4.0])
    np.testing.assert_array_equal(merged.known, [[1, 1, 1], [0, 0, 1], [1, 1, 0]])
    expected = [[10 / 3, 3, 5], [0, 0, 7], [10, 11, 0]]
    for row, column in np.ndindex(2, 3):
        np.testing.assert_allclose(merged.values[:, row, column], expected, rtol=1e-6)
    assert merged.values.dtype == np.float32


def test_a_cell_that_one_colony_does_not_show_is_the_mean_of_the_others():
    left, none = [[1, 1, 0], [1, 1, 0]], np.zeros((2, 3))
    merged = panels.merge(
        [0.0, 0.0, 0.0],
        [colony(("x",), 2.0, seen=left), colony(("x",), 6.0), colony(("x",), 99.0, seen=none)],
        ("x",),
        "mean",
    )
    np.testing.assert_allclose(merged.values[0, ..., 0], [[4, 4, 6], [4, 4, 6]])
    assert merged.seen.all()


def test_background_of_a_small_colony_stays_out_of_a_large_one():
    """The second colony has only the left column; the third, later one nothing of the right."""
    left, two = [[1, 0, 0], [1, 0, 0]], [[1, 1, 0], [1, 1, 0]]
    colonies = [
        colony(("x",), 6.0), colony(("x",), 2.0, inside=left), colony(("x",), 3.0, inside=two),
    ]  # fmt: skip
    closed, kept = (
        panels.merge([0.0, 0.0, 1.0], colonies, ("x",), "union", closed=closed)
        for closed in (True, False)
    )
    np.testing.assert_allclose(closed.values[0, ..., 0], [[4, 6, 6], [4, 6, 6]])
    np.testing.assert_allclose(kept.values[0, ..., 0], np.full((2, 3), 4.0))
    # Beyond all masks of a time there is background, which was seen.
    np.testing.assert_allclose(closed.values[1, ..., 0], np.full((2, 3), 3.0))
    assert closed.seen.all() and closed.inside.all()


def test_masks_become_one():
    insides = [[[1, 1, 0], [1, 1, 0]], [[1, 0, 0], [1, 0, 0]], [[0, 1, 0], [1, 0, 1]]]
    colonies = [colony(("x",), 1.0, inside=inside) for inside in insides]
    mean, union = (
        panels.merge([0.0, 1.0, 2.0], colonies, ("x",), overlap).inside
        for overlap in ("mean", "union")
    )
    np.testing.assert_array_equal(mean, [[1, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(union, [[1, 1, 0], [1, 1, 1]])
    apart = [colony(("x",), 1.0, inside=np.eye(2, 3, k)) for k in (0, 1, 2)]
    with pytest.raises(InputError, match=r"1.0.png and the other colonies have no cell"):
        panels.merge([0.0, 1.0, 2.0], apart, ("x",), "mean")
