"""From images as they were taken to frames on the lattice of a rule: pure functions of arrays.

Pixels are [..., H, W, C] and masks [H, W]. `Preparation` puts the functions in their order:
finding the mask, averaging down, choosing channels, bringing the frame into its place.
Normalisation comes last and over all of the data at once, so it is called by `sources`.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from diffpattern.data import images
from diffpattern.data.images import ImageSequence
from diffpattern.errors import InputError
from diffpattern.grid.blocks import block_means
from diffpattern.grid.geometry import Grid
from diffpattern.models import monomials

CENTRES = ("picture", "mask")
BACKGROUNDS = ("border", "black")
# What becomes of what is outside the mask.
KEPT, CLEARED, CLOSED = EXTERIORS = ("kept", "cleared", "closed")
# Offset and scale of all numbers of a channel.
NORMALISATIONS: dict[str, Callable[[np.ndarray], tuple[float, float]]] = {
    "none": lambda numbers: (0.0, 1.0),
    "range": lambda numbers: (numbers.min(), np.ptp(numbers)),
    "standard": lambda numbers: (numbers.mean(), numbers.std()),
}
# Masks that are made; any other name is that of a file.
NO_MASK, HULL, ELLIPSE = "none", "hull", "ellipse"
FOUND_MASKS = (HULL, ELLIPSE)


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What is done to each image sequence of a data set, all but normalisation.

    Attributes:
      section: of the config, for errors.
      select: the channels to keep, by name or by number from 0; none: all.
      downsample: pixels an axis that are averaged into a cell.
      mask: "none", "hull" (convex, of the foreground) or "ellipse" (of the hull's moments), or the
        file of a picture that is above 0 inside, {name} in it standing for the sequence's name.
      marker: the channel that tells the foreground; empty: transparency if some pixel has nothing
        of it, else all.
      background: what the foreground differs from, the median of the pictures' "border" or "black".
      blur: standard deviation of a Gaussian before the threshold, in pixels.
      threshold: as a fraction of the largest difference; 0 takes Otsu's.
      exterior: what becomes of pixels outside the mask: they are "kept" (the mask then only tells
        what comes to the middle), "cleared", which is done before averaging, or "closed", where
        cells of which less than half is inside are left to the trajectories' mask.
      centre: what comes to the middle of the lattice, the middle of the "picture" or the "mask"'s
        centroid (moved by whole cells).
      turn: whether the mask's long axis is turned to lie along x.
      crop: cells on each side of the square that is cut out about the middle; 0: as the picture.
      padding: cells of nothing around all that.

    Raises:
      InputError: naming the field that cannot work.
    """

    section: str
    select: tuple[str | int, ...] = ()
    downsample: int = 1
    mask: str = NO_MASK
    marker: str = ""
    background: str = "border"
    blur: float = 1.0
    threshold: float = 0.0
    exterior: str = CLOSED
    centre: str = "picture"
    turn: bool = False
    crop: int = 0
    padding: int = 0

    def __post_init__(self):
        least = {"downsample": 1, "crop": 0, "padding": 0, "blur": 0, "threshold": 0}
        for name, bound in least.items():
            if not bound <= getattr(self, name) < math.inf:
                raise InputError(
                    f"{self.section}.{name} is {getattr(self, name)!r}, but must be {bound} or "
                    "more."
                )
        if self.mask == NO_MASK and (self.turn or self.centre == "mask"):
            what = "turn is True" if self.turn else "centre is 'mask'"
            raise InputError(
                f"{self.section}.{what}, but {self.section}.mask is 'none'; take 'hull', 'ellipse' "
                "or a file."
            )

    def __call__(self, sequence: ImageSequence) -> "Prepared":
        """The sequence on its lattice.

        Raises:
          InputError: naming the sequence's file, or that of its mask, and what does not fit.
        """
        if self.downsample > min(sequence.frames.shape[1:3]):
            raise InputError(
                f"{self.section}.downsample is {self.downsample}, which leaves nothing of the "
                f"{' x '.join(map(str, sequence.frames.shape[1:3]))} pixels of {sequence.path}."
            )
        whole = self._inside(sequence)[..., None]
        pixels = sequence.frames * whole if self.exterior == CLEARED else sequence.frames
        pixels = downsample(pixels, self.downsample)
        inside = downsample(whole.astype(np.float32), self.downsample)[..., 0]
        size = pixels.shape[1:3]
        kept = _indices(sequence, self.select, f"{self.section}.select")
        about = centroid(inside if self.centre == "mask" else np.ones(size))
        angle = self._angle(sequence, inside) if self.turn else 0.0
        shape = (self.crop, self.crop) if self.crop else size

        def settle(x):
            return pad(place(x, about, shape, angle), self.padding)

        def settle_mask(x, least):
            return settle(x[..., None].astype(np.float32))[..., 0] >= least

        mask = settle_mask(inside, 0.5)
        if not mask.any():
            raise InputError(
                f"{sequence.path} has no cell of its mask on a lattice of {shape[0]} x {shape[1]} "
                f"cells; change {self.section}.crop, .downsample or .mask."
            )
        return Prepared(
            dataclasses.replace(
                sequence,
                frames=settle(pixels[..., kept]),
                channels=tuple(sequence.channels[index] for index in kept),
                pixel_size=sequence.pixel_size
                and tuple(self.downsample * size for size in sequence.pixel_size),
            ),
            # A turned pixel that mixes with what lies beyond the picture has not been seen.
            settle_mask(inside > 0 if self.exterior == CLEARED else np.ones(size), 0.999),
            mask,
        )

    def _inside(self, sequence: ImageSequence) -> np.ndarray:
        """The mask as large as the frames are, everywhere if there is none."""
        if self.mask == NO_MASK:
            return np.ones(sequence.frames.shape[1:3], bool)
        if self.mask not in FOUND_MASKS:
            return self._mask_of_file(sequence)
        chosen = (self.marker,) if self.marker else ()
        indices = _indices(sequence, chosen, f"{self.section}.foreground.marker")
        frames = sequence.frames[..., indices]
        if sequence.channels[-1] == "alpha" and not chosen and (frames[..., -1] == 0).any():
            frames = frames[..., -1:]
        found = foreground(frames, self.background, self.blur, self.threshold)
        if not found.any():
            raise InputError(
                f"{sequence.path} has nothing that stands out from its background, so "
                f"{self.section}.mask cannot be {self.mask!r}; take another threshold or a file."
            )
        return hull(found) if self.mask == HULL else ellipse(hull(found))

    def _mask_of_file(self, sequence: ImageSequence) -> np.ndarray:
        """What a file says is inside."""
        path = self.mask.replace("{name}", sequence.name)
        try:
            picture = images.read(path)
        except InputError as error:
            raise InputError(
                f"{self.section}.mask takes {', '.join((NO_MASK, *FOUND_MASKS))} or a file: {error}"
            ) from error
        shapes = [" x ".join(map(str, x.frames.shape[1:3])) for x in (picture, sequence)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"{path}, a mask, has {shapes[0]} pixels, but {sequence.path} has {shapes[1]}; "
                "both must be of one size."
            )
        colours = [name != "alpha" for name in picture.channels]
        inside = (picture.frames[..., colours] > 0).any((0, -1))
        if not inside.any():
            raise InputError(f"{path}, a mask, is 0 everywhere; inside it must be above 0.")
        return inside

    def _angle(self, sequence: ImageSequence, inside: np.ndarray) -> float:
        if sequence.pixel_size and not math.isclose(*sequence.pixel_size, rel_tol=1e-3):
            raise InputError(
                f"{sequence.path} has pixels that are not square, {sequence.pixel_size}, which "
                f"cannot be turned; set {self.section}.turn to False."
            )
        return long_axis(inside)


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image sequence on its lattice.

    Attributes:
      sequence: its frames [T, H, W, C], channels, and size of a cell.
      seen: [H, W], true where there was a pixel of the camera, and it was not cleared.
      inside: [H, W], true inside the mask; everywhere without one.
    """

    sequence: ImageSequence
    seen: np.ndarray
    inside: np.ndarray


def _indices(sequence: ImageSequence, wanted: tuple[str | int, ...], field: str) -> list[int]:
    """Where channels stand that are named, or numbered from 0; all if none is.

    A name may be written as the file has it.
    """
    count, names = len(sequence.channels), sequence.channels
    called = lambda entry: monomials.name_of(entry) if isinstance(entry, str) else entry
    wanted = tuple(entry if entry in names else called(entry) for entry in wanted)
    for entry in wanted:
        if entry not in names and entry not in range(count):
            raise InputError(
                f"{field} asks for {entry!r}, but {sequence.path} has {count} channels: "
                f"{', '.join(names)}."
            )
    indices = [names.index(entry) if entry in names else entry for entry in wanted]
    if len(set(indices)) < len(indices):
        raise InputError(f"{field} is {wanted!r}, but each channel may be there only once.")
    return indices or list(range(count))


# --- Cells ---------------------------------------------------------------------------------------


def downsample(x: np.ndarray, factor: int) -> np.ndarray:
    """Means over blocks of `factor` x `factor` pixels, [..., H, W, C] -> [..., h, w, C].

    Rows and columns that do not fill a block are left out, as many on one side as on the other.
    """
    inner = []
    for length in x.shape[-3:-1]:
        spare = length % factor
        inner.append(slice(spare // 2, length - spare + spare // 2))
    x = np.moveaxis(x[..., *inner, :], -1, -3)
    return np.moveaxis(block_means(x, Grid(x.shape[-2:]), factor), -3, -1)


def place(
    x: np.ndarray, about: tuple[float, float], shape: tuple[int, int], angle: float = 0.0
) -> np.ndarray:
    """Cuts out of a picture, and turns it, about a point that comes to the middle.

    Args:
      x: [..., H, W, C].
      about: the point, in rows and columns.
      shape: of the result, (h, w). What lies beyond the picture is zero.
      angle: of the direction in the picture that comes to lie along x, in radians from x towards y;
        values between cells are linear. At 0 the picture is moved by whole cells.

    Returns:
      [..., h, w, C].
    """
    middle = (np.array(shape) - 1) / 2
    if angle == 0:
        first = np.floor(about - middle + 0.5).astype(int)
        return _window(x, first, shape)
    turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    layers = np.moveaxis(x, -1, -3)
    flat = layers.reshape(-1, *layers.shape[-2:])
    result = [
        ndimage.affine_transform(layer, turned, about - turned @ middle, tuple(shape), order=1)
        for layer in flat
    ]
    return np.moveaxis(np.reshape(result, (*layers.shape[:-2], *shape)), -3, -1)


def pad(x: np.ndarray, width: int) -> np.ndarray:
    """Adds a border of zeros, [..., H, W, C] -> [..., H + 2 width, W + 2 width, C]."""
    shape = tuple(length + 2 * width for length in x.shape[-3:-1])
    return _window(x, (-width, -width), shape)


def _window(x: np.ndarray, first: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """The cells of x from `first` on, which may lie outside of it, where all is zero."""
    result = np.zeros((*x.shape[:-3], *shape, x.shape[-1]), x.dtype)
    source, target = [], []
    for start, count, length in zip(first, shape, x.shape[-3:-1], strict=True):
        low, high = max(start, 0), min(start + count, length)
        source.append(slice(low, max(low, high)))
        target.append(slice(low - start, max(low, high) - start))
    result[..., *target, :] = x[..., *source, :]
    return result


# --- Masks ---------------------------------------------------------------------------------------


def foreground(
    frames: np.ndarray, background: str = "border", blur: float = 1.0, threshold: float = 0.0
) -> np.ndarray:
    """Where frames [T, H, W, C] differ from their background at any time, [H, W].

    The difference is the mean of its sizes in all channels, each relative to the largest there is.

    Args:
      frames: [T, H, W, C].
      background: its value in each channel is the median of all frames' "border", or 0 ("black").
      blur: standard deviation of a Gaussian, in pixels, that takes out noise first.
      threshold: as a fraction of the largest difference; 0: the one that Otsu (1979) finds over
        all frames.
    """
    # Half a second to import, which only those wait for who use it.
    from skimage.filters import threshold_otsu

    ends = [frames[:, [0, -1]], frames[:, :, [0, -1]].swapaxes(1, 2)]
    border = np.concatenate([end.reshape(-1, frames.shape[-1]) for end in ends])
    beyond = np.median(border, 0) if background == "border" else np.float32(0)
    difference = _relative(_relative(np.abs(frames - beyond), (0, 1, 2)).mean(-1))
    blurred = ndimage.gaussian_filter(difference, (0, blur, blur), mode="nearest")
    if blurred.min() == blurred.max():
        return np.zeros(blurred.shape[1:], bool)
    return (blurred > (threshold or threshold_otsu(blurred))).any(0)


def _relative(x: np.ndarray, axes: tuple[int, ...] | None = None) -> np.ndarray:
    """Numbers that are not negative, as fractions of the largest along `axes`."""
    largest = x.max(axes, keepdims=True)
    return x / np.where(largest > 0, largest, 1)


def hull(region: np.ndarray) -> np.ndarray:
    """Cells whose centres are in the convex hull of those of a region, [H, W], by scikit-image.

    A region that lies on one line is left as it is.
    """
    from skimage.morphology import convex_hull_image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of lines, which have no hull
        return convex_hull_image(region, offset_coordinates=False) | region


def ellipse(region: np.ndarray) -> np.ndarray:
    """The ellipse with the centroid and the second moments of a region, [H, W].

    A filled ellipse with semi-axes a and b has the variances a^2 / 4 and b^2 / 4 along them, so it
    is where the Mahalanobis distance from the centroid is at most 2.
    """
    offsets = np.indices(region.shape).reshape(2, -1).T - centroid(region)
    distance = (offsets @ np.linalg.inv(_covariance(region)) * offsets).sum(-1)
    return (distance <= 4).reshape(region.shape)


def centroid(mask: np.ndarray) -> np.ndarray:
    """The mean row and column of what is inside, [2]; the mask's values are weights."""
    weights = mask / mask.sum()
    return np.tensordot(np.indices(mask.shape), weights, 2)


def long_axis(mask: np.ndarray) -> float:
    """The direction in which the mask extends farthest, in radians from x towards y."""
    covariance = _covariance(mask)
    return 0.5 * math.atan2(2 * covariance[0, 1], covariance[1, 1] - covariance[0, 0])


def _covariance(mask: np.ndarray) -> np.ndarray:
    """Of rows and columns inside, [2, 2]; cells are squares and not points, hence the 1/12."""
    offsets = np.indices(mask.shape) - centroid(mask)[:, None, None]
    return np.einsum("ahw,bhw,hw->ab", offsets, offsets, mask / mask.sum()) + np.eye(2) / 12


# --- Numbers -------------------------------------------------------------------------------------


def scaling(
    values: np.ndarray, where: np.ndarray, kind: str
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Offset and scale of each channel, by which value = offset + scale * normalised value.

    Args:
      values: [..., C].
      where: which of them count, an array of truth values that broadcasts to them.
      kind: "none" (0 and 1), "range" (the least, and from there to the largest, so that normalised
        values are from 0 to 1) or "standard" (mean and standard deviation).

    Returns:
      C offsets and C scales. The scale of a channel that does not change is 1, and a channel of
      which nothing counts is left as it is.
    """
    where, numbers = np.broadcast_to(where, values.shape), []
    for channel in range(values.shape[-1]):
        counted = values[..., channel][where[..., channel]].astype(np.float64)
        offset, scale = NORMALISATIONS[kind](counted) if counted.size else (0.0, 1.0)
        numbers.append((float(offset), float(scale) or 1.0))
    return tuple(zip(*numbers, strict=True))
