"""Writing snapshots: arrays, TIFF and OME-TIFF, pictures. What `images` reads back.

A file, or a folder of pictures, appears complete or not at all.
"""

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from diffpattern import intervals
from diffpattern.errors import InputError
from diffpattern.files import npz, write_whole

# Channels of a picture, by their number.
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_PICTURE_LEVELS = 255
# OME's units of time (its data model 2016-06, UnitsTime). A step without one is taken for seconds.
_PREFIXES = ("", *"YZEPTGMkhdcm\N{MICRO SIGN}npfazy", "da")
_OME_TIMES = {"min", "h", "d", *(f"{prefix}s" for prefix in _PREFIXES)}
# Names that the channels of pictures have.
_COLOURS = (("intensity",), ("red", "green", "blue"), ("red", "green", "blue", "alpha"))


@dataclass(frozen=True, eq=False)
class Snapshots:
    """Lattices of some trajectories over time, in the data's units.

    Attributes:
      values: [N, T, *space, C].
      times: [T].
      species: names of the channels.
      spacing: distance between cells along each axis.
      length_unit, time_unit: names, or empty.

    Example:
      >>> snapshots = Snapshots(np.zeros((1, 3, 8, 8, 2)), np.arange(3.0), ("u", "v"), (0.5, 0.5))
      >>> snapshots.values.shape
      (1, 3, 8, 8, 2)
    """

    values: np.ndarray
    times: np.ndarray
    species: tuple[str, ...]
    spacing: tuple[float, ...]
    length_unit: str = ""
    time_unit: str = ""


def check_path(path: Path) -> None:
    """Refuses a path whose suffix says no known format, or at which something lies already.

    Raises:
      InputError: naming the path and the formats.

    Example:
      >>> check_path(Path("film.ome.tif"))
      >>> check_path(Path("film.mp4"))
      Traceback (most recent call last):
          ...
      diffpattern.errors.InputError: --output=film.mp4 has a suffix of no known ...
    """
    if _format(path) not in _WRITERS:
        raise InputError(
            f"--output={path} has a suffix of no known format; take one of .npz, .npy, .tif, "
            ".ome.tif, or a folder's name without any for pictures (PNG)."
        )
    if not _format(path):
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise InputError(
                f"--output={path} is there already; pictures go into a new or an empty folder."
            )
        return
    # Of several trajectories a stack has a number before its suffix.
    first = _numbered(path, 2)[0] if _format(path) in (".tif", ".ome.tif") else path
    for place in (path, first):
        if place.exists():
            raise InputError(
                f"{place} is there already, and --output={path} overwrites nothing; give another "
                "name, or move it away."
            )


def write(path: Path, snapshots: Snapshots) -> str:
    """Writes snapshots in the format that the path's suffix names.

    Args:
      path: ends in .npz (values, times, species), .npy (values), .tif (frames in float32), .ome.tif
        (the same with units and names), or has no suffix: a folder for pictures, one for each
        snapshot, in colours where the channels are those of a picture, else for each species.

    Returns:
      What was written, in a sentence.

    Raises:
      InputError: the format cannot hold these lattices, or the path cannot be written.

    Example:
      >>> snapshots = Snapshots(np.zeros((1, 3, 8, 8, 2)), np.arange(3.0), ("u", "v"), (0.5, 0.5))
      >>> write(Path("film.npz"), snapshots)
      'film.npz: 1 x 3 x 8 x 8 x 2 (trajectories, times, space, species u, v)'
      >>> write(Path("film.tif"), snapshots)
      'film.tif: 3 frames'
    """
    check_path(path)
    return _WRITERS[_format(path)](path, snapshots)


def _format(path: Path) -> str:
    name = path.name.lower()
    ome = next((suffix for suffix in (".ome.tif", ".ome.tiff") if name.endswith(suffix)), None)
    return ".ome.tif" if ome else path.suffix.lower().replace(".tiff", ".tif")


def _write_npz(path: Path, snapshots: Snapshots) -> str:
    species = np.array(snapshots.species)
    write_whole(path, npz(values=snapshots.values, times=snapshots.times, species=species))
    return _of_arrays(path, snapshots)


def _write_npy(path: Path, snapshots: Snapshots) -> str:
    content = io.BytesIO()
    np.save(content, snapshots.values)
    write_whole(path, content.getvalue())
    return _of_arrays(path, snapshots)


def _of_arrays(path: Path, snapshots: Snapshots) -> str:
    shape = " x ".join(map(str, snapshots.values.shape))
    return f"{path}: {shape} (trajectories, times, space, species {', '.join(snapshots.species)})"


def _write_tiff(path: Path, snapshots: Snapshots) -> str:
    return _written_tiff(path, snapshots, {})


def _write_ome(path: Path, snapshots: Snapshots) -> str:
    known: dict[str, object] = {"Channel": {"Name": list(snapshots.species)}}
    # Lengths without a name are no micrometres, which is what OME would take them for.
    unit = snapshots.length_unit or "pixel"
    for letter, size in zip("YX", snapshots.spacing, strict=True):
        known |= {f"PhysicalSize{letter}": size, f"PhysicalSize{letter}Unit": unit}
    times = snapshots.times
    if len(times) > 1 and intervals.are_equal(times):
        known |= _time_step(float(times[1] - times[0]), snapshots.time_unit)
    return _written_tiff(path, snapshots, known)


def _time_step(step: float, unit: str) -> dict[str, object]:
    """A time between frames as OME has it; in words, where its unit is none of OME's."""
    if unit in _OME_TIMES:
        return {"TimeIncrement": step, "TimeIncrementUnit": unit}
    told = f"of {unit}" if unit else "of time whose unit is not known"
    return {"Description": f"From frame to frame it is {step:g} {told}."}


def _written_tiff(path: Path, snapshots: Snapshots, known: dict[str, object]) -> str:
    _require_planes(path, snapshots)
    paths = _numbered(path, len(snapshots.values))
    for one, trajectory in zip(paths, snapshots.values, strict=True):
        content, frames = io.BytesIO(), np.moveaxis(trajectory, -1, 1)
        tifffile.imwrite(
            content,
            np.ascontiguousarray(frames, np.float32),
            ome=bool(known),
            photometric="minisblack",
            metadata={"axes": "TCYX"} | known,
        )
        write_whole(one, content.getvalue())
    return f"{', '.join(map(str, paths))}: {len(snapshots.times)} frames"


def _write_pictures(path: Path, snapshots: Snapshots) -> str:
    _require_planes(path, snapshots)
    values = snapshots.values
    # Fractions of full brightness as they are; anything else from its lowest to its highest value.
    # What begins as a picture stays one, though a rule may make it brighter than white.
    looked_at = values[:, :1] if snapshots.species in _COLOURS else values
    fractions = np.nanmin(looked_at) >= -0.05 and np.nanmax(looked_at) <= 1.05
    coloured = values.shape[-1] in _MODES and fractions
    low = np.zeros(values.shape[-1])
    high = np.ones(values.shape[-1])
    if not coloured:
        low, high = (find(values, axis=(0, 1, 2, 3)) for find in (np.nanmin, np.nanmax))
    share = (values - low) / np.where(high > low, high - low, 1.0)
    pixels = np.nan_to_num(np.clip(share, 0, 1) * _PICTURE_LEVELS).round().astype(np.uint8)
    if coloured and values.shape[-1] == 4:
        pixels[..., :3] = _without_transparency(values)
    parts = (
        {"": pixels}
        if coloured
        else {f"-{name}": pixels[..., [at]] for at, name in enumerate(snapshots.species)}
    )

    def draw(folder: Path) -> None:
        for number, trajectory in enumerate(pixels):
            which = f"{number:03d}-" if len(pixels) > 1 else ""
            for moment in range(len(trajectory)):
                for name, part in parts.items():
                    picture = part[number, moment]
                    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
                    image.save(folder / f"{which}{moment:04d}{name}.png")

    _folder_whole(path, draw)
    told = f"{path}: {len(snapshots.values) * len(snapshots.times) * len(parts)} pictures"
    if coloured:
        return told
    scales = "; ".join(
        f"{name} from {least:.4g} (black) to {most:.4g} (white)"
        for name, least, most in zip(snapshots.species, low, high, strict=True)
    )
    return f"{told}, {scales}"


def _without_transparency(values: np.ndarray) -> np.ndarray:
    """Colours [..., 3] of a picture whose colours were multiplied by its alpha, the fourth."""
    alpha = values[..., 3:]
    colours = np.divide(values[..., :3], alpha, out=np.zeros_like(values[..., :3]), where=alpha > 0)
    return np.nan_to_num(np.clip(colours, 0, 1) * _PICTURE_LEVELS).round().astype(np.uint8)


def _folder_whole(path: Path, draw: Callable[[Path], None]) -> None:
    """Fills a folder beside its place and renames it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            draw(beside)
            beside.chmod(0o755)
            os.replace(beside, path)  # onto nothing, or an empty folder
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error


def _require_planes(path: Path, snapshots: Snapshots) -> None:
    if snapshots.values.ndim != 5:
        raise InputError(
            f"--output={path} is for lattices of two axes, but these have "
            f"{snapshots.values.ndim - 3}; take .npz or .npy."
        )


def _numbered(path: Path, count: int) -> Sequence[Path]:
    """A file for each trajectory: the path itself for one, with a number before its suffix else."""
    if count == 1:
        return [path]
    stem, dot, suffixes = path.name.partition(".")
    return [path.with_name(f"{stem}-{number:03d}{dot}{suffixes}") for number in range(count)]


_WRITERS: dict[str, Callable[[Path, Snapshots], str]] = {
    ".npz": _write_npz,
    ".npy": _write_npy,
    ".tif": _write_tiff,
    ".ome.tif": _write_ome,
    "": _write_pictures,
}
