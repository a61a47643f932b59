"""Lattices as pictures: colour scales and tiles.

Every lattice becomes one picture: a 2D lattice is drawn as it is, a 3D one by the slice through
the middle of its first axis, and a 1D trajectory as a kymograph whose rows are times. Pictures
are palette images (one byte a cell), which keeps a page of them small.
"""

import functools
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.color import lab2rgb

# The palette: the scale (an odd number, so that a diverging one has an entry for exactly 0), then
# "not finite". What is left of 256 is for the letters of films.
LEVELS = 241
NOT_FINITE = LEVELS
LONGEST_SIDE = 192
KYMOGRAPH_ROWS = 128
COLOURS = ("red", "green", "blue")

# A difference below this share of a scale is what single precision leaves of none.
_ROUNDING = 1e-6
_NOT_FINITE_COLOUR = (150, 150, 150)


@dataclass(frozen=True)
class Scale:
    """Values that the two ends of a colour scale stand for, and which scale it is."""

    low: float
    high: float
    diverging: bool = False

    def palette(self) -> NDArray[np.uint8]:
        """Colours of the palette images drawn on this scale, [LEVELS + 1, 3]."""
        return _palette(self.diverging)

    def indices(self, values: NDArray) -> NDArray[np.uint8]:
        """Palette entry of each value; those beyond the scale take the colour of its end."""
        width = self.high - self.low
        with np.errstate(invalid="ignore", over="ignore"):
            share = (
                (values.astype(np.float64) - self.low) / width if width > 0 else 0.5 + 0 * values
            )
            level = np.clip(share, 0.0, 1.0) * (LEVELS - 1)
        finite = np.isfinite(values)
        return np.where(finite, np.rint(np.where(finite, level, 0)), NOT_FINITE).astype(np.uint8)


def scale_of_states(truth: NDArray, times: NDArray) -> Scale:
    """The scale that spans 99% of one species' truth [T, *space] at the times that are shown.

    Less than all of it, so that a few peaks at the start do not dim the pattern that follows. What
    is not finite, as the outside of a mask is after `within`, counts for nothing.
    """
    shown = truth[chosen_times(times)]
    low, high = np.percentile(shown[np.isfinite(shown)], [0.5, 99.5])
    return Scale(float(low), float(high))


def scale_of_differences(difference: NDArray, states: Scale | None = None) -> Scale:
    """The scale symmetric about 0 that spans 99% of the finite differences.

    Args:
      difference: of some shape.
      states: the scale of what it is a difference of; one that is mere rounding beside that is
        hardly to be seen.
    """
    finite = np.abs(difference[np.isfinite(difference)])
    limit = float(np.percentile(finite, 99)) if finite.size else np.nan
    if states is not None and finite.size:
        limit = max(limit, _ROUNDING * (states.high - states.low))
    return Scale(-limit, limit, diverging=True)


def within(values: NDArray, mask: NDArray | None) -> NDArray:
    """Values [..., *space] of a species, drawn grey (not finite) outside of a mask [*space]."""
    return values if mask is None else np.where(mask > 0, values, np.nan)


@functools.cache
def _palette(diverging: bool) -> NDArray[np.uint8]:
    """Viridis, or blue over white to brown by straight lines of equal length in CIELAB.

    Equal steps along such a line look equally large, so a difference of either sign is seen as
    large as it is; blue and brown stay apart for every common kind of colour blindness.
    """
    if diverging:
        ends = np.array([[38.0, 8.0, -50.5], [97.0, 0.0, 0.0], [38.0, 34.0, 38.2]])
        lab = [np.interp(np.linspace(0, 2, LEVELS), [0, 1, 2], axis) for axis in ends.T]
        scale = lab2rgb(np.stack(lab, axis=-1))
    else:
        scale = matplotlib.colormaps["viridis"](np.linspace(0, 1, LEVELS))[:, :3]
    return np.rint(np.concatenate([255 * scale, [_NOT_FINITE_COLOUR]])).astype(np.uint8)


def chosen_times(times: NDArray, count: int = 7) -> list[int]:
    """Indices of up to `count` times: the first, the last, and evenly in log time between.

    Structure forms fast and then settles, so even steps in time would show mostly its end.
    """
    elapsed = np.asarray(times, np.float64) - times[0]
    if len(elapsed) <= count:
        return list(range(len(elapsed)))
    wanted = np.geomspace(elapsed[1], elapsed[-1], count - 1)
    nearest = {int(np.argmin(np.abs(elapsed - time))) for time in wanted}
    return sorted({0, len(elapsed) - 1, *nearest})


def plane(lattice: NDArray, longest: int = LONGEST_SIDE) -> NDArray:
    """The picture of one species' 2D or 3D lattice, [rows, columns], no longer than that."""
    picture = lattice if lattice.ndim == 2 else lattice[len(lattice) // 2]
    block = math.ceil(max(picture.shape) / longest)
    return _block_means(picture, block, block)


def kymograph(trajectory: NDArray, times: NDArray) -> NDArray:
    """A 1D species' trajectory [T, X] as rows of even times, the first at the top."""
    even = np.linspace(times[0], times[-1], KYMOGRAPH_ROWS)
    nearest = np.abs(np.asarray(times)[None] - even[:, None]).argmin(axis=1)
    return _block_means(trajectory[nearest], 1, math.ceil(trajectory.shape[1] / LONGEST_SIDE))


def _block_means(picture: NDArray, height: int, width: int) -> NDArray:
    """Means over blocks of cells; rows and columns that fill no block at the end are dropped."""
    height = min(height, picture.shape[0])
    width = min(width, picture.shape[1])
    rows, columns = picture.shape[0] // height, picture.shape[1] // width
    whole = picture[: rows * height, : columns * width]
    return whole.reshape(rows, height, columns, width).mean(axis=(1, 3))


def has_colours(species: Sequence[str]) -> bool:
    """Whether the first channels are red, green and blue, as those of photographs are."""
    return tuple(species[:3]) == COLOURS


def coloured(lattice: NDArray, species: Sequence[str]) -> NDArray[np.uint8]:
    """A 2D or 3D lattice [*space, C] in its own colours, [rows, columns, 3].

    Numbers run from 0 to 1; with a channel alpha the colours are premultiplied, and lie on white
    paper. What is not finite is grey.

    Args:
      lattice: numbers of the data, in units of their own.
      species: names of its channels, of which the first are colours.
    """
    numbers = np.stack([plane(lattice[..., n]) for n in range(len(species[:4]))], axis=-1)
    colours = numbers[..., :3]
    if species[3:4] == ("alpha",):
        with np.errstate(invalid="ignore", over="ignore"):
            colours = colours + (1 - numbers[..., 3:])
    bytes_ = np.rint(255 * np.clip(np.nan_to_num(colours), 0, 1)).astype(np.uint8)
    finite = np.isfinite(numbers).all(axis=-1, keepdims=True)
    return np.where(finite, bytes_, np.uint8(_NOT_FINITE_COLOUR))


def painted(picture: NDArray, scale: Scale) -> NDArray[np.uint8]:
    """A picture [rows, columns] in the colours of a scale, [rows, columns, 3]."""
    return scale.palette()[scale.indices(picture)]


def to_png(picture: NDArray, scale: Scale | None = None) -> bytes:
    """A picture as PNG, one pixel a cell.

    Args:
      picture: [rows, columns] on a scale, or colours [rows, columns, 3] without one.
      scale: of its values.
    """
    if scale is None:
        return _encoded(Image.fromarray(picture))
    return _encoded(_paletted(scale.indices(picture), scale.palette()))


def colour_bar(scale: Scale) -> bytes:
    """The colour scale as a PNG one pixel high, low values on the left."""
    return _encoded(_paletted(np.arange(LEVELS, dtype=np.uint8)[None], scale.palette()))


def _paletted(indices: NDArray[np.uint8], palette: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(indices))
    image.putpalette(palette.tobytes())
    return image


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
