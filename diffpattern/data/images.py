"""Reading images: pictures, stacks and arrays out of files, as sequences of frames.

Formats go by the suffix of a file. What a file knows of itself (size of a pixel, time between two
frames, names of channels) comes with its frames; what is made of them is for `preparation`.
"""

import contextlib
import glob
import importlib.resources
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from PIL import Image, ImageOps

from diffpattern.errors import InputError
from diffpattern.files import opened_arrays
from diffpattern.models import monomials

BUILT_IN = "skimage:"
_COLOURS = ("red", "green", "blue", "alpha")

# One path, or those of one sequence in their order.
Where = str | Path | Sequence[str | Path]


@dataclass(frozen=True, eq=False)
class ImageSequence:
    """Frames of one size, with what their files know of them.

    Attributes:
      frames: [T, H, W, C] float32, finite. Integers of 8 and 16 bits are fractions of their largest
        value. Colours of pictures with transparency are multiplied by it, and it is the fourth
        channel.
      channels: C names; where the files have none, those of the colours of a picture, "intensity"
        for a single one, else "channel1" and so on.
      pixel_size: distance between rows and between columns; None where the files do not say.
      time_step: between two frames; None where the files do not say.
      length_unit: that of the pixel size; empty where the files do not say.
      time_unit: that of the time step, likewise.
      path: what they were read from, for a person to recognise.
      name: of the folder, or of the first file without what follows its first dot.
    """

    frames: np.ndarray
    channels: tuple[str, ...]
    pixel_size: tuple[float, float] | None = None
    time_step: float | None = None
    length_unit: str = ""
    time_unit: str = ""
    path: str = ""
    name: str = ""


def read(where: Where, axes: str = "") -> ImageSequence:
    """Reads the frames of one trajectory.

    Args:
      where: a folder, a pattern with `*` and the like, a file of one or more frames, the name of a
        picture that scikit-image brings along ("skimage:logo"), or several of these, one after the
        other. Within a folder or a pattern frame9 comes before frame10.
      axes: what the axes of the stored arrays are, a letter each: T (time), Y, X, C (channels), as
        in "TYX"; empty: as the files say, and else a guess (see `_axes_of`).

    Raises:
      InputError: naming the file that is missing, cannot be read, holds numbers that are not
        finite, or does not fit the file before it.
    """
    files = _files(where)
    sequences = [_read_file(file, axes, alone=len(files) == 1) for file in files]
    first = sequences[0]
    for other in sequences[1:]:
        require_alike(first, other, ("size", "channels", "pixel size", "time step"))
    several = isinstance(where, list | tuple)
    folder = files[0] if several else Path(str(where)).expanduser()
    return replace(
        first,
        frames=np.concatenate([sequence.frames for sequence in sequences]),
        path=", ".join(map(str, where)) if several else str(where),
        name=folder.resolve().name if folder.is_dir() else files[0].name.split(".")[0],
    )


def require_alike(first: ImageSequence, other: ImageSequence, what: Sequence[str]) -> None:
    """Refuses frames that cannot belong to one set of data.

    Args:
      first: one sequence.
      other: another.
      what: must be the same: "size", "channels", "pixel size", "time step" and "length".

    Raises:
      InputError: naming both files, and what they differ in.
    """
    for name in what:
        mine, yours = _ALIKE[name](first), _ALIKE[name](other)
        if mine != yours:
            raise InputError(
                f"{other.path} has {yours}, but {first.path} {mine}; give images that agree."
            )


def built_in() -> dict[str, Path]:
    """The pictures that the installed scikit-image has inside its package, by name."""
    folder = Path(str(importlib.resources.files("skimage"))) / "data"
    files = sorted(file for file in folder.iterdir() if _is_image(file))
    return {file.stem: file for file in files}


def _files(where: Where) -> list[Path]:
    """The files of a sequence, in their order."""
    if isinstance(where, list | tuple):
        if files := [file for entry in where for file in _files(entry)]:
            return files
        raise InputError("A list of image files is empty; name one or more.")
    where = str(where)  # A folder called 2024 is a number to those who read command lines.
    if where.startswith(BUILT_IN):
        known, name = built_in(), where.removeprefix(BUILT_IN).partition(".")[0]
        if name not in known:
            raise InputError(f"{where} is not among what scikit-image has: {', '.join(known)}.")
        return [known[name]]
    place = Path(where).expanduser()
    if place.is_file():
        return [place]
    found = place.iterdir() if place.is_dir() else map(Path, glob.glob(str(place), recursive=True))
    if files := sorted(filter(_is_image, found), key=_natural):
        return files
    what = "is no file, nor a folder or pattern with images in it"
    if place.is_dir():
        what = "is a folder without images"
    raise InputError(f"{where} {what}; they end in {', '.join(_READERS)}.")


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in _READERS and not file.name.startswith(".")


def _natural(file: Path) -> list[str | int]:
    """A key of sorting that compares numbers within names as numbers."""
    pieces: list[str | int] = re.split(r"([0-9]+)", str(file))
    pieces[1::2] = map(int, pieces[1::2])
    return pieces


# --- One file ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Stored:
    """An array as a file has it.

    Attributes:
      pixels: of any type and order.
      axes: a letter for each axis: as `read` has them, S for the samples of a colour, I and Q for
        a sequence of unknown kind; empty where the file does not say.
      alpha: whether the last sample is a transparency that colours are yet to be multiplied by.
      partial: whether other files hold further parts of it, which were read as well.
      known: further fields of the `ImageSequence`.
    """

    pixels: np.ndarray
    axes: str = ""
    alpha: bool = False
    partial: bool = False
    known: dict[str, Any] = field(default_factory=dict)


def _read_file(file: Path, axes: str, *, alone: bool) -> ImageSequence:
    if file.suffix.lower() not in _READERS:
        raise InputError(f"{file} is of no known format; take one of {', '.join(_READERS)}.")
    try:
        with _damage_told():
            stored = _READERS[file.suffix.lower()](file)
    except InputError as error:
        raise InputError(f"{file} {error}") from error
    except Exception as error:  # Decoders of damaged files raise whatever they stumble upon.
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()).rstrip(".")
        raise InputError(f"{file} cannot be read: {reason or type(error).__name__}.") from error
    if stored.partial and not alone:
        raise InputError(
            f"{file} is one part of an OME-TIFF of several files; name one of them alone, and all "
            "are read."
        )
    frames = _arranged(file, stored.pixels, axes or stored.axes or _axes_of(stored.pixels))
    frames = _numbers(file, frames)
    if stored.alpha:
        frames[..., :-1] *= frames[..., -1:]
    names = _default_names(frames.shape[-1], _COLOURS if "S" in stored.axes else ())
    if len(stored.known.get("channels", ())) == len(names):
        names = tuple(map(monomials.name_of, stored.known["channels"]))
    return ImageSequence(**stored.known | {"frames": frames, "channels": names, "path": str(file)})


def _default_names(count: int, colours: tuple[str, ...]) -> tuple[str, ...]:
    if count == 1:
        return ("intensity",)
    if 3 <= count <= len(colours):
        return colours[:count]
    return tuple(f"channel{number}" for number in range(1, count + 1))


def _arranged(file: Path, pixels: np.ndarray, axes: str) -> np.ndarray:
    """The array as [T, H, W, C], whatever order and number of axes it has."""
    lengths = dict(zip(axes, pixels.shape, strict=False))
    if len(axes) != pixels.ndim or len(lengths) < len(axes) or not {"Y", "X"} <= lengths.keys():
        raise InputError(
            f"{file} holds an array of shape {pixels.shape}, which are not the axes {axes!r}; name "
            "each axis by one of T, Y, X, C."
        )
    unknown = [axis for axis in axes if axis not in "TIQYXCS"]
    if any(lengths[axis] > 1 for axis in unknown):
        raise InputError(
            f"{file} has the axes {axes} of lengths {pixels.shape}, but frames are flat; project "
            "or pick along the others before."
        )
    order = [axis for kept in ("TIQ", unknown, "Y", "X", "CS") for axis in axes if axis in kept]
    pixels = pixels.transpose([axes.index(axis) for axis in order])
    channels = int(np.prod([lengths.get(axis, 1) for axis in "CS"]))
    return pixels.reshape(-1, lengths["Y"], lengths["X"], channels)


def _axes_of(pixels: np.ndarray) -> str:
    """A guess for arrays of which nothing is known: up to four channels come last.

    One number more than rows and columns are channels if there are at most four of them, and
    frames of one channel otherwise.
    """
    if pixels.ndim == 3:
        return "YXC" if pixels.shape[-1] <= 4 else "TYX"
    return {2: "YX", 4: "TYXC"}.get(pixels.ndim, "?" * pixels.ndim)


def _numbers(file: Path, frames: np.ndarray) -> np.ndarray:
    """The frames as float32, integers of 8 and 16 bits (and truth values) from 0 to 1."""
    if not frames.size:
        raise InputError(f"{file} holds no pixel, its shape is {frames.shape}.")
    if frames.dtype.kind not in "buif":
        raise InputError(f"{file} holds {frames.dtype} where pixels should be; take real numbers.")
    largest = 1
    if frames.dtype.kind in "ui" and frames.dtype.itemsize <= 2:
        largest = np.iinfo(frames.dtype).max
    numbers = np.divide(frames, largest, dtype=np.float32)
    bad = ~np.isfinite(numbers)
    if bad.any():
        raise InputError(
            f"{file} has {bad.sum()} pixels that are NaN or infinite, the first in frame "
            f"{np.argwhere(bad)[0][0]}; give them numbers."
        )
    return numbers


def _pictures(file: Path) -> _Stored:
    """PNG and JPEG, upright."""
    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):  # 16 bits, whichever way Pillow's versions call them
            return _Stored(np.asarray(image).astype(np.uint16), "YX")
        if image.mode in ("1", "L"):
            return _Stored(np.asarray(image.convert("L")), "YX")
        alpha = "A" in image.getbands() or "transparency" in image.info
        return _Stored(np.asarray(image.convert("RGBA" if alpha else "RGB")), "YXS", alpha)


def _array(file: Path) -> _Stored:
    """.npy: [H, W], [T, H, W], [H, W, C] or [T, H, W, C]."""
    with opened_arrays(file) as pixels:
        return _Stored(pixels)


def _archive(file: Path) -> _Stored:
    """.npz: its only array, or the one called `frames`."""
    with opened_arrays(file) as arrays:
        names = list(arrays)
        if len(names) != 1 and "frames" not in names:
            raise InputError(
                f"holds the arrays {', '.join(names) or 'none'}; call the one that is meant "
                "'frames'."
            )
        return _Stored(arrays["frames" if "frames" in names else names[0]])


def _tiff(file: Path) -> _Stored:
    """TIFF with one page or several, also as OME and ImageJ write it."""
    with tifffile.TiffFile(file) as stack:
        if len(stack.series) != 1:
            shapes = ", ".join(str(series.shape) for series in stack.series)
            raise InputError(
                f"holds {len(stack.series)} separate images, of shapes {shapes}; frames of one "
                "sequence must have one size, and other sequences files of their own."
            )
        series = stack.series[0]
        if any(page is None for page in series.pages):
            raise InputError("lacks frames that it announces.")
        known: dict[str, Any] = {}
        if stack.ome_metadata:
            known |= _ome(stack.ome_metadata)
        elif stack.imagej_metadata:
            known |= _imagej(stack)
        samples = series.keyframe.extrasamples
        alpha = series.keyframe.photometric == tifffile.PHOTOMETRIC.RGB and len(samples) == 1
        return _Stored(
            series.asarray(),
            series.axes,
            alpha and samples[0] == tifffile.EXTRASAMPLE.UNASSALPHA,
            series.is_multifile,
            known,
        )


def _ome(text: str) -> dict[str, Any]:
    """What the header of an OME-TIFF knows; units that it leaves out are micrometres and seconds.

    Source: OME data model 2016-06, the element Pixels.
    """
    pixels = ElementTree.fromstring(text).find(".//{*}Pixels")
    names = [channel.get("Name") for channel in pixels.findall("{*}Channel")]
    known: dict[str, Any] = {"channels": names if all(names) else ()}
    across = pixels.get("PhysicalSizeX")
    if across is not None:
        down = pixels.get("PhysicalSizeY", across)
        units = [_unit(pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "XY"]
        if "PhysicalSizeY" in pixels.attrib and units[0] != units[1]:
            raise InputError(f"has pixels {across} {units[0]} wide and {down} {units[1]} high.")
        known |= {"pixel_size": (_positive(down), _positive(across)), "length_unit": units[0]}
    if (step := pixels.get("TimeIncrement")) is not None:
        unit = pixels.get("TimeIncrementUnit", "s")
        known |= {"time_step": _positive(step), "time_unit": unit}
    return known


def _imagej(stack: tifffile.TiffFile) -> dict[str, Any]:
    """What ImageJ and Fiji write: pixels for each unit of length, seconds between two frames."""
    written, known = stack.imagej_metadata, {}
    resolution = [stack.pages.first.tags.valueof(f"{axis}Resolution") for axis in "YX"]
    unit = _unit(str(written.get("unit", "pixel")))
    if unit not in ("pixel", "") and all(resolution) and all(part[0] for part in resolution):
        known["pixel_size"] = tuple(below / above for above, below in resolution)
        known["length_unit"] = unit
    if step := float(written.get("finterval", 0)):
        known |= {"time_step": _positive(step), "time_unit": str(written.get("tunit", "s"))}
    return known


def _unit(written: str) -> str:
    """One spelling for micrometres, which is written with two letters mu, as u, and in words."""
    micro = ("um", "\N{GREEK SMALL LETTER MU}m", "\\u00B5m", "micron", "microns", "micrometer")
    return "µm" if written in micro else written


def _positive(written: str | float) -> float:
    number = float(written)
    if not 0 < number < np.inf:
        raise InputError(f"has {number:g} for the size of a pixel or the time between two frames.")
    return number


@contextlib.contextmanager
def _damage_told() -> Iterator[None]:
    """Makes errors of what decoders only log, such as pages that a stack has lost."""
    told = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: told.append(record.getMessage())
    logger = logging.getLogger("tifffile")
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
    if told:
        raise ValueError(f"it is damaged ({told[0]})")


_READERS: dict[str, Callable[[Path], _Stored]] = {
    ".png": _pictures,
    ".jpg": _pictures,
    ".jpeg": _pictures,
    ".tif": _tiff,
    ".tiff": _tiff,
    ".npy": _array,
    ".npz": _archive,
}


def _physical(value: Any, unit: str) -> str:
    return "unknown" if value is None else f"{value} {unit}".strip()


_ALIKE: dict[str, Callable[[ImageSequence], str]] = {
    "size": lambda it: f"frames of {' x '.join(map(str, it.frames.shape[1:3]))} pixels",
    "channels": lambda it: f"the channels {', '.join(it.channels)}",
    "pixel size": lambda it: f"a pixel size of {_physical(it.pixel_size, it.length_unit)}",
    "time step": lambda it: f"a time step of {_physical(it.time_step, it.time_unit)}",
    "length": lambda it: f"{len(it.frames)} frames",
}
