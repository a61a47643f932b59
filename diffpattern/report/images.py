"""Lattices as pictures: colour scales, tiles and the animation.

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
from PIL import Image, ImageDraw, ImageFont
from skimage.color import lab2rgb

# The palette: the scale (an odd number, so that a diverging one has an entry for exactly 0), then
# shades from the animation's ground to its letters, which smooth them, then "not finite".
LEVELS = 241
SHADES = 14
GROUND, TEXT, NOT_FINITE = LEVELS, LEVELS + SHADES - 1, LEVELS + SHADES
LONGEST_SIDE = 192
KYMOGRAPH_ROWS = 128
FRAMES_UP_TO = 96
FRAME_SECONDS = 0.08
LAST_FRAME_SECONDS = 1.6
ANIMATION_BYTES = 1_900_000

_GROUND_COLOUR, _TEXT_COLOUR, _NOT_FINITE_COLOUR = (22, 26, 31), (226, 230, 235), (150, 150, 150)


@dataclass(frozen=True)
class Scale:
    """Values that the two ends of a colour scale stand for, and which scale it is."""

    low: float
    high: float
    diverging: bool = False

    def palette(self) -> NDArray[np.uint8]:
        """Colours of the palette images drawn on this scale, [256, 3]."""
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

    Less than all of it, so that a few peaks at the start do not dim the pattern that follows.
    """
    low, high = np.percentile(truth[chosen_times(times)], [0.5, 99.5])
    return Scale(float(low), float(high))


def scale_of_differences(difference: NDArray) -> Scale:
    """The scale symmetric about 0 that spans 99% of the finite differences."""
    finite = np.abs(difference[np.isfinite(difference)])
    limit = float(np.percentile(finite, 99)) if finite.size else 0.0
    return Scale(-limit, limit, diverging=True)


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
    shades = np.linspace(_GROUND_COLOUR, _TEXT_COLOUR, SHADES)
    return np.rint(np.concatenate([255 * scale, shades, [_NOT_FINITE_COLOUR]])).astype(np.uint8)


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


def plane(lattice: NDArray) -> NDArray:
    """The picture of one species' 2D or 3D lattice, [rows, columns], of a moderate size."""
    picture = lattice if lattice.ndim == 2 else lattice[len(lattice) // 2]
    block = math.ceil(max(picture.shape) / LONGEST_SIDE)
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


def to_png(picture: NDArray, scale: Scale) -> bytes:
    """A picture [rows, columns] as PNG, one pixel a cell."""
    return _encoded(scale.indices(picture), scale.palette(), "PNG", optimize=True)


def colour_bar(scale: Scale) -> bytes:
    """The colour scale as a PNG one pixel high, low values on the left."""
    return _encoded(np.arange(LEVELS, dtype=np.uint8)[None], scale.palette(), "PNG")


def animation(
    truth: NDArray, prediction: NDArray, times: NDArray, species: Sequence[str]
) -> tuple[bytes, bytes]:
    """Truth beside prediction as a looping GIF, one row of panes for each species.

    Args:
      truth: one trajectory on a 2D or 3D lattice, [T, *space, C].
      prediction: of the same shape.
      times: [T], written under the panes.
      species: names, written over the panes.

    Returns:
      The GIF, and its last frame as a PNG for those who want no motion. Frames are dropped evenly
      until the GIF is smaller than ANIMATION_BYTES.
    """
    scales = [scale_of_states(truth[..., channel], times) for channel in range(len(species))]
    palette = scales[0].palette()
    count = min(len(times), FRAMES_UP_TO)
    while True:
        shown = np.unique(np.linspace(0, len(times) - 1, count).round().astype(int))
        frames = [
            _frame(truth[i], prediction[i], species, scales, times[i], i / (len(times) - 1 or 1))
            for i in shown
        ]
        durations = [round(1000 * FRAME_SECONDS)] * (len(frames) - 1)
        durations.append(round(1000 * LAST_FRAME_SECONDS))
        rest = [_paletted(frame, palette) for frame in frames[1:]]
        gif = _encoded(
            frames[0],
            palette,
            "GIF",
            save_all=True,
            append_images=rest,
            duration=durations,
            loop=0,
            optimize=False,
        )
        if len(gif) <= ANIMATION_BYTES or count <= 2:
            return gif, _encoded(frames[-1], palette, "PNG", optimize=True)
        count = max(2, min(count - 1, int(count * ANIMATION_BYTES / len(gif))))


def _frame(
    truth: NDArray,
    prediction: NDArray,
    species: Sequence[str],
    scales: Sequence[Scale],
    time: float,
    share: float,
) -> NDArray[np.uint8]:
    """Palette entries of one frame: titled panes, then the time, and its share as a bar."""
    font = ImageFont.load_default(size=14)
    gap, line = 8, 24
    panes = [
        [_enlarged(scale.indices(plane(lattice[..., channel]))) for lattice in (truth, prediction)]
        for channel, scale in enumerate(scales)
    ]
    height, width = panes[0][0].shape
    size = (3 * gap + 2 * width, len(panes) * (height + line + gap) + line + gap)
    frame = np.full(size[::-1], GROUND, np.uint8)
    letters = Image.new("L", size, 0)
    draw = ImageDraw.Draw(letters)
    for row, (name, pair) in enumerate(zip(species, panes, strict=True)):
        top = gap // 2 + row * (height + line + gap)
        for column, (title, pane) in enumerate(zip(("truth", "prediction"), pair, strict=True)):
            left = gap + column * (width + gap)
            draw.text((left, top), f"{name}, {title}", fill=255, font=font)
            frame[top + line :, left:][:height, :width] = pane
    draw.text((gap, size[1] - line), f"t = {time:.6g}", fill=255, font=font)
    left, middle = 2 * gap + width, size[1] - line + 10
    draw.rectangle((left, middle, left + width - 1, middle + 2), fill=70)
    draw.rectangle((left, middle, left + round(share * (width - 1)), middle + 2), fill=255)
    shades = GROUND + np.rint(np.asarray(letters) / 255 * (TEXT - GROUND)).astype(np.uint8)
    return np.where(shades > GROUND, shades, frame)


def _enlarged(indices: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Small lattices with every cell drawn as a square of several pixels."""
    factor = max(1, LONGEST_SIDE // max(indices.shape))
    return indices.repeat(factor, axis=0).repeat(factor, axis=1)


def _paletted(indices: NDArray[np.uint8], palette: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(indices), mode="P")
    image.putpalette(palette.tobytes())
    return image


def _encoded(
    indices: NDArray[np.uint8], palette: NDArray[np.uint8], kind: str, **options: object
) -> bytes:
    buffer = io.BytesIO()
    _paletted(indices, palette).save(buffer, format=kind, **options)
    return buffer.getvalue()
