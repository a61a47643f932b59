"""Reading images: every format by its numbers, what files know, and what is refused."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from diffpattern.data import images
from diffpattern.data.preparation import Preparation
from diffpattern.errors import InputError

RANDOM = np.random.default_rng(0)
GRAY = RANDOM.integers(0, 256, (8, 9), np.uint8)
DEEP = RANDOM.integers(0, 65536, (8, 9), np.uint16)
COLOUR = RANDOM.integers(0, 256, (8, 9, 3), np.uint8)
GLASS = RANDOM.integers(0, 256, (8, 9, 4), np.uint8)
STACK = RANDOM.integers(0, 65536, (5, 8, 9), np.uint16)
FILM = RANDOM.random((5, 8, 9, 2))

OME = {
    "axes": "TCYX",
    "PhysicalSizeX": 0.65,
    "PhysicalSizeXUnit": "µm",
    "PhysicalSizeY": 0.5,
    "PhysicalSizeYUnit": "µm",
    "TimeIncrement": 5.0,
    "TimeIncrementUnit": "min",
    "Channel": {"Name": ["DAPI", "SOX2"]},
}


def write(path, array, **further):
    """Writes an array in the format of the path's suffix; the path as text."""
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, array)
    elif path.suffix == ".tif":
        photometric = "rgb" if array.shape[-1] in (3, 4) else "minisblack"
        tifffile.imwrite(path, array, **{"photometric": photometric} | further)
    else:
        Image.fromarray(array).save(path, **further)
    return str(path)


def premultiplied(array):
    fraction = array / 255
    return np.concatenate([fraction[..., :3] * fraction[..., 3:], fraction[..., 3:]], -1)


@pytest.mark.parametrize(
    ("name", "array", "expected", "channels"),
    [
        ("a.png", GRAY, GRAY[None, ..., None] / 255, ("intensity",)),
        ("a.png", DEEP, DEEP[None, ..., None] / 65535, ("intensity",)),
        ("a.png", COLOUR, COLOUR[None] / 255, ("red", "green", "blue")),
        ("a.png", GLASS, premultiplied(GLASS)[None], ("red", "green", "blue", "alpha")),
        ("a.png", GRAY > 99, (GRAY > 99)[None, ..., None], ("intensity",)),
        ("a.tif", GRAY, GRAY[None, ..., None] / 255, ("intensity",)),
        ("a.tif", COLOUR, COLOUR[None] / 255, ("red", "green", "blue")),
        ("a.tif", GLASS, premultiplied(GLASS)[None], ("red", "green", "blue", "alpha")),
        ("a.tif", STACK, STACK[..., None] / 65535, ("intensity",)),
        ("a.tif", FILM[..., 0].astype(np.float32), FILM[..., :1], ("intensity",)),
        ("a.npy", FILM, FILM, ("channel1", "channel2")),
        ("a.npz", FILM, FILM, ("channel1", "channel2")),
        ("a.npy", STACK, STACK[..., None] / 65535, ("intensity",)),
        ("a.npy", COLOUR, COLOUR[None] / 255, ("channel1", "channel2", "channel3")),
        ("a.npy", GRAY.astype(np.int32), GRAY[None, ..., None], ("intensity",)),
    ],
)
def test_every_format_gives_its_numbers(tmp_path, name, array, expected, channels):
    sequence = images.read(write(tmp_path / name, array))
    assert sequence.frames.dtype == np.float32 and sequence.channels == channels
    np.testing.assert_allclose(sequence.frames, expected, rtol=1e-6, atol=1e-7)
    assert sequence.name == "a" and sequence.pixel_size is None and sequence.time_step is None


def test_a_jpeg_gives_its_numbers_roughly_and_upright(tmp_path):
    ramp = np.repeat(np.arange(0, 256, 16, dtype=np.uint8)[:, None], 8, axis=1)
    image, exif = Image.fromarray(ramp), Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn clockwise
    image.save(tmp_path / "plain.jpg", quality=95)
    image.save(tmp_path / "turned.jpeg", quality=95, exif=exif)
    plain = images.read(str(tmp_path / "plain.jpg")).frames
    turned = images.read(str(tmp_path / "turned.jpeg")).frames
    np.testing.assert_allclose(plain[0, ..., 0], ramp / 255, atol=0.02)
    np.testing.assert_array_equal(turned[0, ..., 0], np.rot90(plain[0, ..., 0], -1))


def test_gray_with_transparency_and_palettes_become_colours(tmp_path):
    gray = Image.new("LA", (3, 2), (102, 51))
    gray.save(tmp_path / "gray.png")
    Image.new("RGB", (3, 2), (255, 0, 51)).quantize(4).save(tmp_path / "palette.png")
    np.testing.assert_allclose(
        images.read(str(tmp_path / "gray.png")).frames[0, 0, 0], [0.08, 0.08, 0.08, 0.2], rtol=1e-5
    )
    np.testing.assert_allclose(
        images.read(str(tmp_path / "palette.png")).frames[0, 0, 0], [1, 0, 0.2], rtol=1e-5
    )


@pytest.mark.parametrize(("kind", "factor"), [("unassalpha", 0.2), ("assocalpha", 1.0)])
def test_a_tiff_says_whether_colours_are_multiplied_already(tmp_path, kind, factor):
    array = np.full((8, 9, 4), 51, np.uint8)
    path = write(tmp_path / "a.tif", array, extrasamples=[kind])
    np.testing.assert_allclose(
        images.read(path).frames[0, 0, 0], [0.2 * factor] * 3 + [0.2], rtol=1e-5
    )


def test_folders_patterns_and_lists_have_an_order(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image")
    for number in (10, 9, 100, 1):
        write(tmp_path / f"frame{number}.png", np.full((4, 5), number, np.uint8))
    given = [str(tmp_path / f"frame{number}.png") for number in (9, 100, 1)]
    for where, order in (
        (str(tmp_path), [1, 9, 10, 100]),
        (str(tmp_path / "frame1*"), [1, 10, 100]),
        (given, [9, 100, 1]),
        ([str(tmp_path), given[0]], [1, 9, 10, 100, 9]),
    ):
        sequence = images.read(where)
        np.testing.assert_allclose(sequence.frames[:, 0, 0, 0] * 255, order, rtol=1e-6)
    assert images.read(str(tmp_path)).name == images.read(tmp_path).name == tmp_path.name
    assert images.read(given).name == "frame9"


def test_a_folder_may_be_called_by_a_number(tmp_path, monkeypatch):
    (tmp_path / "2024").mkdir()
    write(tmp_path / "2024" / "a.png", GRAY)
    monkeypatch.chdir(tmp_path)
    sequence = images.read(2024)
    assert (sequence.name, sequence.path) == ("2024", "2024")


def test_stacks_follow_one_another(tmp_path):
    first, second = write(tmp_path / "a.npy", FILM[:2]), write(tmp_path / "b.npy", FILM[2:])
    np.testing.assert_allclose(images.read((first, second)).frames, FILM, rtol=1e-6)


def test_an_ome_tiff_knows_its_axes_pixels_times_and_channels(tmp_path):
    film = np.moveaxis((FILM * 255).astype(np.uint8), -1, 1)
    path = write(tmp_path / "a.ome.tif", film, metadata=OME)
    sequence = images.read(path)
    np.testing.assert_allclose(sequence.frames, np.moveaxis(film, 1, -1) / 255, rtol=1e-6)
    assert sequence.channels == ("DAPI", "SOX2")
    assert sequence.pixel_size == (0.5, 0.65) and sequence.length_unit == "µm"
    assert sequence.time_step == 5.0 and sequence.time_unit == "min"
    assert sequence.name == "a"


def test_names_of_channels_are_one_word(tmp_path):
    film = np.moveaxis((FILM * 255).astype(np.uint8), -1, 1)
    named = OME | {"Channel": {"Name": ["Alexa 488", "SOX2^high"]}}
    sequence = images.read(write(tmp_path / "a.ome.tif", film, metadata=named))
    assert sequence.channels == ("Alexa_488", "SOX2_high")
    # What is to be kept may be called as the file calls it.
    for name in ("Alexa 488", "Alexa_488", 0):
        kept = Preparation(section="data.images", select=(name,))(sequence).sequence
        assert kept.channels == ("Alexa_488",)
        np.testing.assert_array_equal(kept.frames, sequence.frames[..., :1])


def test_units_that_an_ome_tiff_leaves_out_are_those_of_the_standard(tmp_path):
    metadata = {"axes": "TYX", "PhysicalSizeX": 2.0, "TimeIncrement": 3.0}
    sequence = images.read(write(tmp_path / "a.ome.tif", STACK, metadata=metadata))
    assert (sequence.pixel_size, sequence.length_unit) == ((2.0, 2.0), "µm")
    assert (sequence.time_step, sequence.time_unit) == (3.0, "s")
    assert sequence.channels == ("intensity",)


def test_an_imagej_stack_knows_its_pixels_and_times(tmp_path):
    metadata = {"axes": "TYX", "finterval": 30.0, "unit": "um"}
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, imagej=True, resolution=(4.0, 2.0), metadata=metadata)
    sequence = images.read(str(path))
    assert (sequence.pixel_size, sequence.length_unit) == ((0.5, 0.25), "µm")
    assert (sequence.time_step, sequence.time_unit) == (30.0, "s")
    assert sequence.frames.shape == (5, 8, 9, 1)


def ome_of_two_files(folder):
    """One image of two frames, each in a file that names both."""
    places = "".join(
        f'<TiffData FirstT="{t}" PlaneCount="1"><UUID FileName="t{t}.ome.tif">urn:uuid:0000000{t}'
        "</UUID></TiffData>"
        for t in (0, 1)
    )
    for t in (0, 1):
        description = (
            '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:0000000{t}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
            'DimensionOrder="XYZCT" Type="uint16" SizeX="9" SizeY="8" SizeZ="1" SizeC="1" '
            f'SizeT="2" TimeIncrement="2"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{places}'
            "</Pixels></Image></OME>"
        )
        path = folder / f"t{t}.ome.tif"
        write(path, STACK[t], description=description, metadata=None)
    return str(folder / "t0.ome.tif")


def test_parts_of_one_ome_tiff_are_read_by_naming_one(tmp_path):
    path = ome_of_two_files(tmp_path)
    np.testing.assert_allclose(images.read(path).frames, STACK[:2, ..., None] / 65535, rtol=1e-6)
    with pytest.raises(InputError, match="t0.ome.tif is one part of an OME-TIFF of several files"):
        images.read(str(tmp_path))
    (tmp_path / "t1.ome.tif").unlink()
    with pytest.raises(InputError, match="t0.ome.tif lacks frames"):
        images.read(path)


@pytest.mark.parametrize(
    ("name", "axes", "expected"),
    [
        ("a.npy", "TYX", STACK[:3, ..., None]),
        ("a.npy", "CYX", np.moveaxis(STACK[:3], 0, -1)[None]),
        ("a.npy", "YXC", STACK[None, :3]),
        ("a.npy", "XTY", STACK[:3].transpose(1, 2, 0)[..., None]),
        # Three planes are taken for colours by tifffile, which says so in the file.
        ("a.tif", "TYX", STACK[:3, ..., None]),
    ],
)
def test_axes_that_are_given_count(tmp_path, name, axes, expected):
    array = STACK[:3]
    path = write(tmp_path / name, array, **{"photometric": "rgb"} if name == "a.tif" else {})
    frames = images.read(path, axes).frames
    np.testing.assert_allclose(frames, expected / 65535, rtol=1e-6)


def test_an_archive_of_several_arrays_names_the_frames(tmp_path):
    np.savez(tmp_path / "a.npz", times=np.arange(5), frames=FILM)
    np.testing.assert_allclose(images.read(str(tmp_path / "a.npz")).frames, FILM, rtol=1e-6)


def test_pictures_of_scikit_image_are_built_in():
    logo = images.read("skimage:logo")
    assert logo.frames.shape == (1, 500, 500, 4) and logo.name == "logo"
    np.testing.assert_array_equal(images.read("skimage:logo.png").frames, logo.frames)
    assert {"logo", "camera", "brick"} <= images.built_in().keys()
    with pytest.raises(InputError, match=r"skimage:snake is not among .*astronaut, .*logo.*\.$"):
        images.read("skimage:snake")


NAN = FILM.copy()
NAN[3, 1, 2, 0] = np.nan


def broken(path, fraction=0.6):
    """Loses the end of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])


def wrong(kind, folder):
    """Makes something that cannot be read; what to read, and the file that is to blame."""
    path = folder / f"bad.{kind.split()[0]}"
    if kind in ("png none", "npy none"):
        pass
    elif kind.endswith("garbage"):
        path.write_bytes(b"no image")
    elif kind.endswith("cut"):
        write(path, STACK if path.suffix == ".tif" else FILM if path.suffix == ".npz" else DEEP)
        broken(path)
    elif kind == "tif lost pages":
        write(path, np.repeat(STACK, 100, axis=1), metadata=None)
        broken(path)
    elif kind == "png sizes":
        write(folder / "a.png", GRAY)
        write(path, GRAY[:, :5])
        return str(folder), path
    elif kind == "png colours":
        write(folder / "a.png", GRAY)
        write(path, COLOUR)
        return str(folder), path
    elif kind == "tif sizes":
        with tifffile.TiffWriter(path) as stack:
            stack.write(GRAY)
            stack.write(GRAY[:, :5])
    elif kind == "tif depth":
        write(path, STACK, metadata={"axes": "ZYX"}, ome=True)
    elif kind == "tif backwards":
        write(path, STACK, metadata={"axes": "TYX", "TimeIncrement": -2.0}, ome=True)
    elif kind == "tif nan":
        write(path, NAN[..., 0])
    elif kind == "npy nan":
        write(path, NAN)
    elif kind == "npy complex":
        write(path, FILM * 1j)
    elif kind == "npy objects":
        write(path, np.array([{}, {}]))
    elif kind == "npy line":
        write(path, FILM[0, 0, 0])
    elif kind == "npy empty":
        write(path, FILM[:0])
    elif kind == "npz many":
        np.savez(path, a=FILM, b=FILM)
    elif kind == "bmp other":
        write(path, GRAY)
    return str(path), path


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("png none", "is no file"),
        ("png garbage", "cannot be read"),
        ("jpg garbage", "cannot be read"),
        ("tif garbage", "cannot be read"),
        ("npy garbage", "cannot be read"),
        ("npz garbage", "cannot be read"),
        ("png cut", "cannot be read"),
        ("tif cut", "cannot be read"),
        ("tif lost pages", "damaged"),
        ("npz cut", "cannot be read"),
        ("png sizes", "frames of 8 x 5 pixels, but .*a.png frames of 8 x 9"),
        ("png colours", "red, green, blue, but .*a.png the channels intensity"),
        ("tif sizes", r"2 separate images, of shapes \(8, 9\), \(8, 5\)"),
        ("tif depth", "axes ZYX .* frames are flat"),
        ("tif backwards", "has -2"),
        ("tif nan", "1 pixels that are NaN or infinite, the first in frame 3"),
        ("npy nan", "1 pixels that are NaN or infinite, the first in frame 3"),
        ("npy complex", "complex128"),
        ("npy objects", "cannot be read"),
        ("npy line", "name each axis"),
        ("npy empty", "no pixel"),
        ("npz many", "arrays a, b"),
        ("bmp other", "no known format"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_sentence(tmp_path, kind, told, caplog):
    where, file = wrong(kind, tmp_path)
    with pytest.raises(InputError, match=told) as error:
        images.read(where)
    message = str(error.value)
    assert str(file) in message and message.endswith(".") and "\n" not in message
    assert not caplog.records


def test_places_without_images_are_told(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    for where, told in (
        (str(tmp_path), "is a folder without images; they end in .png"),
        (str(tmp_path / "*.png"), r"\*.png is no file, nor a folder or pattern"),
        ([], "list of image files is empty"),
    ):
        with pytest.raises(InputError, match=told):
            images.read(where)


@pytest.mark.parametrize("axes", ["YX", "TTX", "TYC", "TYXC"])
def test_axes_that_do_not_fit_are_refused(tmp_path, axes):
    path = write(tmp_path / "a.npy", STACK)
    with pytest.raises(InputError, match=f"a.npy holds an array .* not the axes '{axes}'"):
        images.read(path, axes)
