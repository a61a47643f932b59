"""What is written is what was given, and can be read back."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from diffpattern.data import images
from diffpattern.data.snapshots import Snapshots, write
from diffpattern.errors import InputError

TIMES = np.array([0.0, 0.5, 1.0])


def snapshots(count=1, channels=2, **changes):
    values = np.random.default_rng(0).uniform(0, 1, (count, 3, 6, 5, channels)).astype(np.float32)
    species = ("A", "B", "C", "D")[:channels]
    fields = {"values": values, "times": TIMES, "species": species, "spacing": (2.0, 1.0)}
    return Snapshots(**fields | changes)


def test_arrays_are_kept_to_the_bit(tmp_path):
    made = snapshots(count=2)
    told = write(tmp_path / "new" / "out.npz", made)
    assert "2 x 3 x 6 x 5 x 2" in told and "A, B" in told
    with np.load(tmp_path / "new" / "out.npz") as kept:
        np.testing.assert_array_equal(kept["values"], made.values)
        np.testing.assert_array_equal(kept["times"], TIMES)
        assert tuple(kept["species"]) == ("A", "B")
    write(tmp_path / "out.npy", made)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), made.values)


@pytest.mark.parametrize("name", ["out.tif", "out.ome.tiff"])
def test_frames_are_read_back_by_their_axes(tmp_path, name):
    made = snapshots()
    write(tmp_path / name, made)
    read = images.read(tmp_path / name, axes="" if "ome" in name else "TCYX")
    np.testing.assert_array_equal(read.frames, made.values[0])


def test_ome_has_names_and_units(tmp_path):
    made = snapshots(count=2, length_unit="\N{MICRO SIGN}m", time_unit="h")
    told = write(tmp_path / "out.ome.tif", made)
    assert "out-000.ome.tif" in told and "3 frames" in told
    read = images.read(tmp_path / "out-001.ome.tif")
    np.testing.assert_array_equal(read.frames, made.values[1])
    assert read.channels == ("A", "B")
    assert read.pixel_size == (2.0, 1.0) and read.time_step == 0.5
    assert (read.length_unit, read.time_unit) == ("\N{MICRO SIGN}m", "h")


@pytest.mark.parametrize(
    ("unit", "told"), [("", "0.5 of time whose unit is not known"), ("cycles", "0.5 of cycles")]
)
def test_ome_is_told_no_seconds_that_are_none(tmp_path, unit, told):
    write(tmp_path / "out.ome.tif", snapshots(time_unit=unit))
    header = tifffile.tiffcomment(tmp_path / "out.ome.tif")
    assert "TimeIncrement" not in header and f"is {told}.</Description>" in header
    read = images.read(tmp_path / "out.ome.tif")
    assert read.time_step is None and read.frames.shape == (3, 6, 5, 2)


def test_fractions_of_full_brightness_are_pictures_as_they_are(tmp_path):
    made = snapshots(channels=3)
    assert "3 pictures" in write(tmp_path / "out", made)
    assert len(list((tmp_path / "out").iterdir())) == 3
    np.testing.assert_allclose(images.read(tmp_path / "out").frames, made.values[0], atol=0.5 / 255)


def test_transparent_pictures_are_read_back_as_they_were(tmp_path):
    made = snapshots(channels=4)
    values = made.values.copy()
    values[..., :3] *= values[..., 3:]
    values[:, :, 0] = 0.0
    write(tmp_path / "out", snapshots(channels=4, values=values))
    np.testing.assert_allclose(images.read(tmp_path / "out").frames, values[0], atol=1.1 / 255)


def test_other_numbers_are_pictures_from_black_to_white_for_each_species(tmp_path):
    made = snapshots(count=2, values=5 * snapshots(count=2).values - 2)
    told = write(tmp_path / "out", made)
    assert "12 pictures" in told and "B from -1." in told and "(white)" in told
    picture = np.asarray(Image.open(tmp_path / "out" / "001-0002-B.png")) / 255
    low, high = made.values[..., 1].min(), made.values[..., 1].max()
    np.testing.assert_allclose(
        picture, (made.values[1, 2, ..., 1] - low) / (high - low), atol=0.5 / 255
    )


def test_what_begins_as_a_picture_stays_one(tmp_path):
    values = snapshots(channels=3).values.copy()
    values[0, 2] += 1.0
    colours = snapshots(values=values, species=("red", "green", "blue"))
    assert "3 pictures" in write(tmp_path / "colours", colours)
    whitest = np.asarray(Image.open(tmp_path / "colours" / "0002.png"))
    assert whitest.shape == (6, 5, 3) and whitest.min() == 255
    # Nobody knows what else would be white.
    for name, changes in (("A", {"species": ("A", "B", "C")}), ("red", {"values": 2 * values})):
        fields = {"values": values, "species": colours.species} | changes
        told = write(tmp_path / name, snapshots(**fields))
        assert "9 pictures" in told and f"{name} from" in told


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("kept")
    kept = ["a.npy", "a.npz", "a.tif", "b-000.tif", "c-000.ome.tif"]
    for name in kept:
        (tmp_path / name).write_text("kept")
    line = snapshots(values=np.zeros((1, 3, 6, 2), np.float32), spacing=(1.0,))
    for name, made, told in (
        ("out.mp3", snapshots(), "suffix of no known format; take one of .npz"),
        ("full", snapshots(), "is there already; pictures go into a new or an empty folder"),
        ("out.tif", line, "is for lattices of two axes, but these have 1"),
        ("out", line, "is for lattices of two axes"),
        ("full/mine.txt/out", snapshots(), "cannot be written"),
        ("a.npy", snapshots(), "a.npy is there already, and .* overwrites nothing"),
        ("a.npz", snapshots(), "a.npz is there already"),
        ("a.tif", snapshots(), "a.tif is there already"),
        ("b.tif", snapshots(), "b-000.tif is there already, and --output=.*b.tif overwrites"),
        ("c.ome.tif", snapshots(), "c-000.ome.tif is there already"),
    ):
        with pytest.raises(InputError, match=told):
            write(tmp_path / name, made)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [*kept, "full", "mine.txt"]
    assert {(tmp_path / name).read_text() for name in kept} == {"kept"}
