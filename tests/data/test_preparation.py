"""Bringing images onto a lattice: each function by numbers that are known."""

import dataclasses
import math

import numpy as np
import pytest
from PIL import Image
from skimage.measure import label, regionprops

from diffpattern.data import preparation
from diffpattern.data.images import ImageSequence
from diffpattern.data.preparation import Preparation
from diffpattern.errors import InputError

PIXELS = np.arange(2 * 6 * 9 * 2, dtype=np.float32).reshape(2, 6, 9, 2)


def filled_ellipse(shape=(60, 80), centre=(27.0, 42.0), axes=(10.0, 20.0), angle=0.0):
    """True in an ellipse with semi-axes across and along a direction."""
    y, x = np.indices(shape) - np.reshape(centre, (2, 1, 1))
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (along / axes[1]) ** 2 + (across / axes[0]) ** 2 <= 1


def sequence(frames, **further):
    frames = np.asarray(frames, np.float32)
    channels = tuple(f"channel{number}" for number in range(frames.shape[-1]))
    return ImageSequence(frames, **{"channels": channels, "path": "a.png", "name": "a"} | further)


def colony(inside, level=0.8, background=0.1):
    """A frame of one channel that is bright inside."""
    return sequence(np.where(inside, level, background)[None, ..., None])


def prepared(sequence, **settings):
    return Preparation(section="data.images", **settings)(sequence)


def test_downsampling_averages_whole_blocks():
    result = preparation.downsample(PIXELS, 3)
    np.testing.assert_allclose(result[0, 1, 2], PIXELS[0, 3:6, 6:9].mean((0, 1)))
    np.testing.assert_allclose(result.mean((1, 2)), PIXELS.mean((1, 2)), rtol=1e-6)
    assert result.shape == (2, 2, 3, 2) and result.dtype == np.float32


def test_downsampling_leaves_out_what_fills_no_block_on_both_sides():
    result = preparation.downsample(PIXELS, 4)
    np.testing.assert_allclose(result[1, 0, 0], PIXELS[1, 1:5, 0:4].mean((0, 1)))
    np.testing.assert_allclose(result[1, 0, 1], PIXELS[1, 1:5, 4:8].mean((0, 1)))
    np.testing.assert_array_equal(preparation.downsample(PIXELS, 1), PIXELS)


def test_a_point_comes_to_the_middle_by_whole_cells():
    moved = preparation.place(PIXELS, (4.0, 2.0), (6, 9))
    # The middle of 6 rows is at 2.5: row 4 comes to row 2 or 3; column 2 comes to column 4.
    np.testing.assert_array_equal(moved[:, 0:4, 2:9], PIXELS[:, 2:6, 0:7])
    assert not moved[:, 4:].any() and not moved[:, :, :2].any()


def test_a_square_is_cut_out_and_may_reach_beyond_the_picture():
    middle = (2.5, 4.0)
    np.testing.assert_array_equal(preparation.place(PIXELS, middle, (4, 4)), PIXELS[:, 1:5, 3:7])
    wide = preparation.place(PIXELS, middle, (8, 7))
    np.testing.assert_array_equal(wide[:, 1:7], PIXELS[:, :, 1:8])
    assert not wide[:, [0, -1]].any()
    assert not preparation.place(PIXELS, (50.0, 50.0), (3, 3)).any()


def test_a_quarter_turn_is_exact():
    square = PIXELS[:, :, :6]
    turned = preparation.place(square, (2.5, 2.5), (6, 6), math.pi / 2)
    # What pointed along y, downwards, points along x.
    np.testing.assert_allclose(turned, np.rot90(square, 1, (1, 2)), atol=1e-4)


def test_a_turned_picture_is_linear_between_cells():
    y, x = np.indices((21, 21), np.float32)
    plane = (2 * x + 3 * y)[None, ..., None]
    angle = 0.3
    turned = preparation.place(plane, (10.0, 10.0), (5, 5), angle)[0, ..., 0]
    along, down = np.meshgrid(np.arange(-2, 3), np.arange(-2, 3))
    expected = 50 + 2 * (along * np.cos(angle) - down * np.sin(angle))
    expected += 3 * (along * np.sin(angle) + down * np.cos(angle))
    np.testing.assert_allclose(turned, expected, rtol=1e-5)


def test_padding_adds_zeros_on_every_side():
    padded = preparation.pad(PIXELS, 2)
    np.testing.assert_array_equal(padded[:, 2:-2, 2:-2], PIXELS)
    assert padded.shape == (2, 10, 13, 2) and padded.sum() == PIXELS.sum()


@pytest.mark.parametrize("level", [0.8, 0.0], ids=["bright", "dark"])
def test_the_foreground_differs_from_the_border(level):
    disc = filled_ellipse(axes=(12.0, 12.0))
    noise = np.random.default_rng(0).normal(scale=0.05, size=disc.shape)
    frames = np.where(disc, level, 0.4) + noise
    found = preparation.foreground(frames[None, ..., None], blur=1.5)
    assert (found != disc).sum() < 0.05 * disc.sum()


def test_the_foreground_is_what_is_bright_at_any_time_in_any_channel():
    frames = np.zeros((2, 20, 30, 2), np.float32)
    frames[0, 3:8, 3:8, 0] = 1.0
    frames[1, 10:15, 20:25, 1] = 1000.0
    found = preparation.foreground(frames, blur=0.0)
    np.testing.assert_array_equal(found, (frames > 0).any((0, 3)))
    # Each channel counts relative to its own largest value, and a threshold to the sum's.
    frames[1, 10:15, 20:25, 0] = 0.5
    found = preparation.foreground(frames, blur=0.0, threshold=0.9)
    np.testing.assert_array_equal(found, frames[1, ..., 1] > 0)


def test_what_fills_the_border_is_told_from_black():
    frames = np.zeros((1, 20, 20, 1), np.float32)
    frames[:, :, :15] = 1.0
    bright = preparation.foreground(frames, "black", blur=0.0)
    other = preparation.foreground(frames, "border", blur=0.0)
    assert bright[:, :15].all() and not bright[:, 15:].any()
    np.testing.assert_array_equal(other, ~bright)


def test_the_hull_is_convex_and_closes_rings():
    ring = filled_ellipse() & ~filled_ellipse(axes=(5.0, 15.0))
    dented = ring.copy()
    dented[27:, 42] = False
    closed = preparation.hull(dented)
    np.testing.assert_array_equal(preparation.hull(ring), filled_ellipse())
    assert closed[27, 42] and (closed != filled_ellipse()).sum() <= 3
    line = np.eye(9, dtype=bool)
    np.testing.assert_array_equal(preparation.hull(line), line)


@pytest.mark.parametrize("angle", [0.0, 0.5, -1.2])
def test_an_ellipse_is_fitted_to_what_it_was(angle):
    true = filled_ellipse(angle=angle)
    fitted = preparation.ellipse(true)
    assert (fitted != true).sum() < 0.03 * true.sum()
    assert preparation.long_axis(true) == pytest.approx(angle, abs=0.02)
    np.testing.assert_allclose(preparation.centroid(true), (27.0, 42.0), atol=0.1)


def test_the_ellipse_of_a_square_is_that_of_scikit_image():
    square = np.zeros((40, 50), bool)
    square[5:25, 10:42] = True
    (region,) = regionprops(label(square))
    fitted = preparation.ellipse(square)
    area = math.pi / 4 * region.axis_major_length * region.axis_minor_length
    assert fitted.sum() == pytest.approx(area, rel=0.01)
    np.testing.assert_allclose(preparation.centroid(fitted), region.centroid, atol=1e-6)
    columns = np.flatnonzero(fitted.any(0))
    assert columns[-1] - columns[0] + 1 == pytest.approx(region.axis_major_length, abs=1)


def test_normalisations_by_hand():
    values = np.array([[1.0, 5.0, 2.0], [3.0, 5.0, 9.0], [8.0, 5.0, 9.0]])
    where = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 0]], bool)
    expected = {
        "none": ((0, 0, 0), (1, 1, 1)),
        "range": ((1, 5, 0), (2, 1, 1)),
        "standard": ((2, 5, 0), (1, 1, 1)),
    }
    for kind, (offset, scale) in expected.items():
        assert preparation.scaling(values, where, kind) == (offset, scale)


def test_a_preparation_that_asks_for_nothing_changes_nothing():
    result = prepared(sequence(PIXELS, pixel_size=(0.5, 0.25)))
    np.testing.assert_array_equal(result.sequence.frames, PIXELS)
    assert result.seen.all() and result.inside.all()
    assert result.sequence.pixel_size == (0.5, 0.25)


def test_cells_are_as_large_as_the_pixels_in_them():
    assert prepared(sequence(PIXELS, pixel_size=(0.5, 0.25)), downsample=3).sequence.pixel_size == (
        1.5,
        0.75,
    )


def test_channels_are_chosen_by_name_and_number():
    frames = np.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3)
    given = sequence(frames, channels=("red", "green", "blue"))
    result = prepared(given, select=("blue", 0)).sequence
    assert result.channels == ("blue", "red")
    np.testing.assert_array_equal(result.frames, frames[..., [2, 0]])


@pytest.mark.parametrize("mask", ["hull", "ellipse"])
def test_a_colony_comes_to_the_middle(mask):
    inside = filled_ellipse(centre=(20.0, 50.0), axes=(10.0, 15.0))
    result = prepared(colony(inside), mask=mask, centre="mask", blur=0.0)
    middle = (np.array(inside.shape) - 1) / 2
    assert np.abs(preparation.centroid(result.inside) - middle).max() <= 0.51
    bright = result.sequence.frames[0, ..., 0] > 0.5
    assert (bright != result.inside).sum() < 0.03 * bright.sum()
    # Whole cells that came from beyond the picture are zero, and not seen.
    assert not result.sequence.frames[:, ~result.seen].any() and not result.seen.all()
    assert np.unique(result.sequence.frames).tolist() == pytest.approx([0.0, 0.1, 0.8])


def test_its_long_axis_comes_to_lie_along_x():
    tilted = colony(filled_ellipse((80, 80), (36.0, 44.0), (8.0, 24.0), angle=1.0))
    result = prepared(tilted, mask="ellipse", centre="mask", turn=True)
    assert preparation.long_axis(result.inside) == pytest.approx(0.0, abs=0.03)
    upright = filled_ellipse((80, 80), (39.5, 39.5), (8.0, 24.0))
    assert (result.inside != upright).sum() < 0.08 * upright.sum()
    bright = result.sequence.frames[0, ..., 0] > 0.45
    assert (bright != upright).sum() < 0.08 * upright.sum()


def test_squares_and_borders_follow_the_centring():
    inside = filled_ellipse(centre=(20.0, 50.0), axes=(8.0, 8.0))
    result = prepared(colony(inside), mask="hull", centre="mask", crop=30, padding=3)
    assert result.sequence.frames.shape == (1, 36, 36, 1)
    np.testing.assert_allclose(preparation.centroid(result.inside), (17.5, 17.5), atol=0.51)
    assert not result.seen[:3].any() and not result.seen[:, -3:].any()
    assert result.seen[3:-3, 3:-3].all()


def test_a_mask_is_averaged_down_with_the_picture():
    inside = np.zeros((6, 8), bool)
    inside[:3, :5] = True
    result = prepared(colony(inside), mask="hull", blur=0.0, downsample=2)
    expected = np.zeros((3, 4), bool)
    expected[:2, :3] = True  # half of a block inside is inside, a quarter is not
    expected[1, 2] = False
    np.testing.assert_array_equal(result.inside, expected)


def test_what_is_cleared_is_clear_before_it_is_averaged():
    inside = np.zeros((6, 8), bool)
    inside[:3, :5] = True
    given = colony(inside, level=0.8, background=0.4)
    cleared = prepared(given, mask="hull", blur=0.0, downsample=2, exterior="cleared")
    kept = prepared(given, mask="hull", blur=0.0, downsample=2, exterior="kept")
    np.testing.assert_allclose(cleared.sequence.frames[0, :2, 2, 0], [0.4, 0.2])
    np.testing.assert_allclose(kept.sequence.frames[0, :2, 2, 0], [0.6, 0.5])
    assert cleared.seen[1, 2] and not cleared.seen[2].any() and kept.seen.all()


def test_transparency_tells_the_foreground_where_there_is_any():
    frames = np.random.default_rng(0).random((1, 20, 20, 4))
    frames[..., 3] = 0.0
    frames[:, 5:12, 6:14, 3] = 1.0
    given = sequence(frames, channels=("red", "green", "blue", "alpha"))
    result = prepared(given, mask="hull", blur=0.0)
    np.testing.assert_array_equal(result.inside, frames[0, ..., 3] > 0)
    opaque = frames.copy()
    opaque[..., :3] = frames[..., 3:]
    opaque[..., 3] = 1.0
    result = prepared(dataclasses.replace(given, frames=opaque), mask="hull", blur=0.0)
    np.testing.assert_array_equal(result.inside, frames[0, ..., 3] > 0)


def test_a_marker_tells_the_foreground():
    frames = np.zeros((1, 20, 20, 2))
    frames[:, 2:9, 2:9, 0] = 1.0
    frames[:, 9:16, 9:16, 1] = 1.0
    given = sequence(frames, channels=("SOX2", "DAPI"))
    result = prepared(given, mask="hull", marker="DAPI", select=("SOX2",), blur=0.0)
    np.testing.assert_array_equal(result.inside, frames[0, ..., 1] > 0)
    assert result.sequence.channels == ("SOX2",)


@pytest.mark.parametrize("kind", ["gray", "labels", "clear"])
def test_masks_come_from_files(tmp_path, kind):
    inside = filled_ellipse((20, 30), (9.0, 12.0), (5.0, 8.0))
    if kind == "clear":
        array = np.zeros((20, 30, 4), np.uint8)
        array[inside] = 255
        array[..., 3] = 255
    else:
        array = inside.astype(np.uint8) * (255 if kind == "gray" else 1)
    Image.fromarray(array).save(tmp_path / "a_mask.png")
    result = prepared(sequence(np.ones((2, 20, 30, 1))), mask=str(tmp_path / "{name}_mask.png"))
    np.testing.assert_array_equal(result.inside, inside)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"downsample": 0}, "data.images.downsample is 0, but must be 1 or more"),
        ({"downsample": 7}, "data.images.downsample is 7, .* nothing of the 6 x 9 pixels of a.png"),
        ({"crop": -1}, "data.images.crop is -1"),
        ({"padding": -1}, "data.images.padding is -1"),
        ({"blur": math.nan}, "data.images.blur is nan"),
        ({"threshold": -0.1}, "data.images.threshold is -0.1"),
        ({"turn": True}, "turn is True, but data.images.mask is 'none'"),
        ({"centre": "mask"}, "centre is 'mask', but data.images.mask is 'none'"),
        ({"select": ("red",)}, "data.images.select asks for 'red', but a.png has 2 channels"),
        ({"select": (2,)}, "data.images.select asks for 2, but a.png has 2 channels"),
        ({"select": (0, "channel0")}, "only once"),
        ({"mask": "hull", "marker": "red"}, "foreground.marker asks for 'red'"),
        ({"mask": "hull", "threshold": 2.0}, "a.png has nothing that stands out"),
        ({"mask": "hulk"}, "data.images.mask takes none, hull, ellipse or a file: hulk is no file"),
        ({"mask": "FOLDER/small.png"}, "small.png, a mask, has 2 x 2 .* a.png has 6 x 9"),
        ({"mask": "FOLDER/empty.png"}, "empty.png, a mask, is 0 everywhere"),
        ({"mask": "FOLDER/corner.png", "crop": 2}, "a.png has no cell of its mask .* 2 x 2 cells"),
    ],
    ids=str,
)
def test_what_cannot_be_prepared_is_told_in_one_sentence(tmp_path, settings, told):
    corner = np.zeros((6, 9), np.uint8)
    corner[0, 0] = 1
    for name, array in (
        ("small", np.ones((2, 2), np.uint8)),
        ("empty", 0 * corner),
        ("corner", corner),
    ):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    if "mask" in settings:
        settings = settings | {"mask": settings["mask"].replace("FOLDER", str(tmp_path))}
    with pytest.raises(InputError, match=told) as error:
        prepared(sequence(PIXELS), **settings)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_flat_pictures_have_no_foreground_and_oblong_pixels_no_turn():
    with pytest.raises(InputError, match=r"a.png has nothing that stands out"):
        prepared(sequence(np.ones((1, 8, 8, 1))), mask="ellipse")
    oblong = dataclasses.replace(colony(filled_ellipse()), pixel_size=(1.0, 0.5))
    with pytest.raises(InputError, match=r"a.png has pixels that are not square"):
        prepared(oblong, mask="hull", turn=True)
