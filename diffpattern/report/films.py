"""Moving pictures: panes side by side under their titles, over a line that tells the time.

A film is made of frames when it is written: as a GIF, which plays anywhere by itself, or as an MP4
of twice the size, for slides.
"""

import functools
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

FRAMES_UP_TO = 96
# How long a frame is seen: so that all take the first of these, within the two others.
SECONDS, SHORTEST, LONGEST = 4.0, 0.08, 0.4
LAST_FRAME_SECONDS = 1.6
GIF_BYTES, MP4_BYTES = 1_900_000, 1_000_000

# Pixels of a GIF: the longer side of a pane, between panes, and of a line of letters.
_SIDE, _GAP, _LINE, _LETTERS = 192, 8, 24, 14
_GROUND, _TEXT = (22, 26, 31), (226, 230, 235)
# So few that a colour scale and they are no more colours than a GIF has.
_SHADES = 14
# Of how many pixels a palette is made where there are more.
_WEIGHTS = 100_000
_MP4_SCALE = 2
# How coarse H.264 may be: from what looks lossless, to where edges blur.
_FINEST, _COARSEST = 20, 32


@dataclass(frozen=True, eq=False)
class Pane:
    """One lattice over time.

    Attributes:
      titles: what stands over it, for each frame.
      pictures: its cells' colours, [F, rows, columns, 3].
    """

    titles: Sequence[str]
    pictures: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Film:
    """Panes that move together.

    Attributes:
      rows: of panes, all of one size.
      times: of the frames, [F].
    """

    rows: Sequence[Sequence[Pane]]
    times: NDArray

    @property
    def magnification(self) -> int:
        """How many pixels wide a cell is; small lattices are drawn larger, many panes smaller."""
        side = min(_SIDE, 3 * _SIDE // max(map(len, self.rows)))
        return max(1, side // max(self.rows[0][0].pictures.shape[1:3]))

    def frame(self, index: int, scale: int = 1) -> NDArray[np.uint8]:
        """One frame, [rows, columns, 3], larger by a whole number."""
        gap, line = scale * _GAP, scale * _LINE
        font = _font(scale * _LETTERS)
        cell = scale * self.magnification
        height, width = (cell * n for n in self.rows[0][0].pictures.shape[1:3])
        across = max(map(len, self.rows))
        size = (
            gap + across * (width + gap),
            len(self.rows) * (height + line + gap) + line + gap,
        )
        letters = Image.new("L", size, 0)
        draw = ImageDraw.Draw(letters)
        places = []
        for row, panes in enumerate(self.rows):
            top = gap // 2 + row * (height + line + gap)
            for column, pane in enumerate(panes):
                left = gap + column * (width + gap)
                draw.text((left, top), pane.titles[index], fill=255, font=font)
                places.append((top + line, left, pane.pictures[index]))
        self._draw_time(draw, index, size, width, scale)
        frame = shades()[np.asarray(letters)]
        for top, left, picture in places:
            frame[top:, left:][:height, :width] = enlarged(picture, cell)
        return frame

    def _draw_time(
        self, draw: ImageDraw.ImageDraw, index: int, size: tuple[int, int], pane: int, scale: int
    ) -> None:
        """The time in the lower left corner, and its share of the whole as a bar beside it."""
        gap, line = scale * _GAP, scale * _LINE
        font = _font(scale * _LETTERS)
        times, top = self.times, size[1] - line
        draw.text((gap, top), f"t = {times[index]:.6g}", fill=255, font=font)
        share = (times[index] - times[0]) / ((times[-1] - times[0]) or 1)
        left = max(2 * gap + pane, gap + scale * 110)
        right, middle = size[0] - gap - 1, top + scale * 10
        if right > left:
            thick = 2 * scale
            draw.rectangle((left, middle, right, middle + thick), fill=70)
            draw.rectangle((left, middle, left + share * (right - left), middle + thick), fill=255)

    def seconds(self, count: int) -> float:
        """How long each of so many frames is seen."""
        return min(max(SECONDS / count, SHORTEST), LONGEST)

    def shown(self) -> list[int]:
        """The indices of the frames that are written, evenly apart."""
        return _evenly(len(self.times), min(len(self.times), FRAMES_UP_TO))


@dataclass(frozen=True, eq=False)
class Video:
    """A film as files.

    Attributes:
      gif: it, as a GIF.
      mp4: it, as an MP4.
      still: its last frame as PNG: for those who want no motion, and before the film is played.
    """

    gif: bytes
    mp4: bytes
    still: bytes


def written(film: Film) -> Video:
    """The film in every form."""
    return Video(to_gif(film), to_mp4(film), last_frame(film))


def to_gif(film: Film) -> bytes:
    """The film as a looping GIF, of which frames are left out evenly until it is small enough."""
    everything = paletted(np.stack([film.frame(i) for i in film.shown()]))
    count = len(everything)
    while True:
        images = [everything[i] for i in _evenly(len(everything), count)]
        durations = [round(1000 * film.seconds(count))] * (len(images) - 1)
        buffer = io.BytesIO()
        images[0].save(
            buffer,
            format="GIF",
            save_all=True,
            append_images=images[1:],
            duration=[*durations, round(1000 * LAST_FRAME_SECONDS)],
            loop=0,
            optimize=False,
        )
        gif = buffer.getvalue()
        if len(gif) <= GIF_BYTES or count <= 2:
            return gif
        count = max(2, min(count - 1, int(count * GIF_BYTES / len(gif))))


def to_mp4(film: Film) -> bytes:
    """The film as H.264 as browsers, slides and players show it, coarser until it is small enough.

    Its sides are even, its colours tagged (BT.709), and each has one for every four pixels.
    """
    frames = [_in_luma_and_chroma(film.frame(index, _MP4_SCALE)) for index in film.shown()]
    factor = _FINEST
    while True:
        mp4 = _encoded(frames, 1 / film.seconds(len(frames)), factor)
        if len(mp4) <= MP4_BYTES or factor == _COARSEST:
            return mp4
        # Six more make a file about half as large.
        factor = min(_COARSEST, factor + 1 + int(6 * math.log2(len(mp4) / MP4_BYTES)))


def _evenly(count: int, chosen: int) -> list[int]:
    """So many indices out of `count`, evenly apart, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, chosen).round().astype(int)).tolist()


def _in_luma_and_chroma(frame: NDArray[np.uint8]) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
        format="yuv420p",
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        dst_colorspace=Colorspace.ITU709,
    )


def _encoded(frames: Sequence[av.VideoFrame], rate: float, factor: int) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(100))
        stream.width, stream.height = frames[0].width, frames[0].height
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(factor), "preset": "veryfast"}
        context = stream.codec_context
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        for index, frame in enumerate(frames):
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def last_frame(film: Film) -> bytes:
    """The last frame as PNG."""
    buffer = io.BytesIO()
    frame = film.frame(len(film.times) - 1)
    paletted(frame[None])[0].save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size)


@functools.cache
def shades() -> NDArray[np.uint8]:
    """The colours of letters, from ground to text, [256, 3], few of them different."""
    steps = np.rint(np.linspace(0, _SHADES - 1, 256))[:, None] / (_SHADES - 1)
    return np.rint((1 - steps) * _GROUND + steps * _TEXT).astype(np.uint8)


def enlarged(picture: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """A picture whose cells are so many pixels wide."""
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def paletted(frames: NDArray[np.uint8]) -> list[Image.Image]:
    """Frames [F, rows, columns, 3] with one palette, exact for no more than 256 colours."""
    packed = frames.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    counts = np.bincount(packed.ravel(), minlength=1 << 24)
    colours = np.flatnonzero(counts)
    palette = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=-1).astype(np.uint8)
    indices = np.arange(len(colours))
    if len(colours) > 256:
        # As often as they are seen, so that grounds keep their colour.
        weights = 1 + _WEIGHTS * counts[colours] // packed.size
        few = Image.fromarray(np.repeat(palette, weights, axis=0)[None]).quantize(256, kmeans=1)
        indices = np.asarray(few)[0, np.cumsum(weights) - 1]
        palette = np.array(few.getpalette(), np.uint8)
    lookup = np.zeros(1 << 24, np.uint8)
    lookup[colours] = indices
    images = [Image.fromarray(frame) for frame in lookup[packed]]
    for image in images:
        image.putpalette(palette.tobytes())
    return images
