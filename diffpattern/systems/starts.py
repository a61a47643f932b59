"""Random fields to start from, drawn in units of length.

One key gives one field on every lattice over the same box, whatever its resolution, so that a
simulation on a finer lattice is of the same trajectory.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid


def random_blobs(
    key: Array,
    grid: Grid,
    length_per_blob: float,
    radius_range: tuple[float, float],
    height_range: tuple[float, float],
) -> Array:
    """A sum of Gaussian blobs, uniformly random in place, radius and height.

        f(x) = sum_i height_i exp(-|x - centre_i|^2 / (2 radius_i^2))

    Everything is drawn in units of length, so one key gives one field on every lattice over the
    same box, whatever its resolution. On a circular axis the blobs wrap around.

    Args:
      key: random key.
      grid: the lattice; its cells' centres lie half a spacing away from the walls.
      length_per_blob: there is one blob in each cube of this side, on the average, and at least
        one in all.
      radius_range: smallest and largest radius, in units of length.
      height_range: smallest and largest height.

    Returns:
      f, [*space].
    """
    box = [cells * spacing for cells, spacing in zip(grid.shape, grid.spacing, strict=True)]
    count = max(1, round(math.prod(side / length_per_blob for side in box)))
    place_key, radius_key, height_key = jax.random.split(key, 3)
    places = jax.random.uniform(place_key, (count, grid.ndim))
    radii = jax.random.uniform(
        radius_key, (count, 1), minval=radius_range[0], maxval=radius_range[1]
    )
    heights = jax.random.uniform(
        height_key, (count,), minval=height_range[0], maxval=height_range[1]
    )

    # A Gaussian is a product over the axes: each axis has one short profile for each blob.
    profiles = []
    for axis, (side, spacing, boundary) in enumerate(
        zip(box, grid.spacing, grid.boundary, strict=True)
    ):
        cells = (jnp.arange(grid.shape[axis]) + 0.5) * spacing
        distance = cells - side * places[:, axis, None]
        if boundary.kind == "circular":
            distance -= side * jnp.round(distance / side)
        profiles.append(jnp.exp(-0.5 * (distance / radii) ** 2))
    axes = "yxz"[: grid.ndim]
    product = ",".join(["b", *(f"b{axis}" for axis in axes)]) + "->" + axes
    return jnp.einsum(product, heights, *profiles, precision="highest")


def random_waves(
    key: Array, grid: Grid, count: int, shortest: float, longest: float = math.inf
) -> Array:
    """Gaussian noise made of all waves of the box between two wavelengths.

    Each wave, a product of sines and cosines along the axes, has an independent random amplitude.
    The fields have variance 1 and mean 0, and no flux through walls that are not circular.

    Args:
      key: random key.
      grid: the lattice; its cells' centres lie half a spacing away from the walls.
      count: number of independent fields.
      shortest: the shortest wavelength, in units of length; twice the spacing at least.
      longest: the longest wavelength.

    Returns:
      [count, *space].

    Raises:
      InputError: no wave of this length fits into the box, or the lattice is too coarse for it.
    """
    if shortest < 2 * max(grid.spacing):
        raise InputError(
            f"data.spacing is {grid.spacing}, but must be at most {shortest / 2:g}, half of the "
            "shortest wave of this system's starts."
        )
    waves, wavenumbers = zip(
        *(_axis_waves(grid, axis, shortest) for axis in range(grid.ndim)), strict=True
    )
    squared = sum(np.square(k) for k in np.ix_(*wavenumbers))
    drawn = (squared > 0) & (squared <= (2 * np.pi / shortest) ** 2 * (1 + 1e-9))
    drawn &= squared >= (2 * np.pi / longest) ** 2 * (1 - 1e-9)
    if not drawn.any():
        raise InputError(
            f"data.shape is {grid.shape}, a box too small for any wave of this system's starts, "
            f"{shortest:g} units of length at least."
        )
    amplitudes = jax.random.normal(key, (count, *drawn.shape)) * drawn / math.sqrt(drawn.sum())
    modes, axes = "abc"[: grid.ndim], "zyx"[-grid.ndim :]
    product = ",".join(["n" + modes, *map("".join, zip(modes, axes, strict=True))]) + "->n" + axes
    waves = [jnp.asarray(wave, amplitudes.dtype) for wave in waves]
    return jnp.einsum(product, amplitudes, *waves, precision="highest")


def _axis_waves(grid: Grid, axis: int, shortest: float) -> tuple[np.ndarray, np.ndarray]:
    """The waves along one axis, [waves, cells] of mean square 1, and their wavenumbers, [waves]."""
    side = grid.shape[axis] * grid.spacing[axis]
    places = (np.arange(grid.shape[axis]) + 0.5) / grid.shape[axis]
    circular = grid.boundary[axis].kind == "circular"
    longest = side if circular else 2 * side
    most = math.floor(longest / shortest * (1 + 1e-9))
    angles = 2 * np.pi * np.arange(1, most + 1)[:, None] * places * (side / longest)
    pairs = [np.cos(angles), np.sin(angles)] if circular else [np.cos(angles)]
    numbers = np.arange(1, most + 1) * (2 * np.pi / longest)
    waves = np.concatenate([np.ones((1, places.size)), *(math.sqrt(2) * wave for wave in pairs)])
    return waves, np.concatenate([[0.0], *([numbers] * len(pairs))])


def random_ellipse(key: Array, grid: Grid) -> Array:
    """A mask with the shape of an ellipse (in 3D an ellipsoid) of random size, turn and place.

    Its half axes are 0.3 to 0.48 of the shortest side of the box. It is turned in the plane of the
    last two axes, and moved from the box's centre by at most what leaves it inside.

    Args:
      key: random key.
      grid: the lattice.

    Returns:
      1 inside and 0 outside, [*space].
    """
    box = np.array([n * h for n, h in zip(grid.shape, grid.spacing, strict=True)])
    size_key, turn_key, place_key = jax.random.split(key, 3)
    half = box.min() * jax.random.uniform(size_key, (grid.ndim,), minval=0.3, maxval=0.48)
    room = box / 2 - jnp.max(half)
    centre = box / 2 + room * jax.random.uniform(place_key, (grid.ndim,), minval=-1, maxval=1)
    cells = [(np.arange(n) + 0.5) * h for n, h in zip(grid.shape, grid.spacing, strict=True)]
    away = [a - c for a, c in zip(np.meshgrid(*cells, indexing="ij"), centre, strict=True)]
    if grid.ndim > 1:
        angle = jax.random.uniform(turn_key, maxval=np.pi)
        down, right = away[-2:]
        away[-2] = jnp.cos(angle) * down - jnp.sin(angle) * right
        away[-1] = jnp.sin(angle) * down + jnp.cos(angle) * right
    inside = sum((a / h) ** 2 for a, h in zip(away, half, strict=True)) <= 1
    return inside.astype(jnp.float32)


def random_micropattern(key: Array, grid: Grid) -> Array:
    """A mask with one of the shapes on which colonies are grown: a disc, a square or a triangle.

    Each in the middle of the box, and 0.9 times as wide as its shortest side; of three axes, the
    shape goes on along the first one.

    Args:
      key: random key.
      grid: the lattice, of two or three axes.

    Returns:
      1 inside and 0 outside, [*space].

    Raises:
      InputError: the lattice has one axis.
    """
    if grid.ndim == 1:
        raise InputError("data.mask is 'micropattern', whose shapes need two axes or three.")
    cells = [(np.arange(n) + 0.5) * h for n, h in zip(grid.shape, grid.spacing, strict=True)]
    box = [n * h for n, h in zip(grid.shape, grid.spacing, strict=True)][-2:]
    half = 0.45 * min(box)
    away = np.meshgrid(*cells, indexing="ij")[-2:]
    down, right = (a - side / 2 for a, side in zip(away, box, strict=True))
    disc = down**2 + right**2 <= half**2
    square = np.maximum(np.abs(down), np.abs(right)) <= half
    # Equal sides: as high as it is wide, times sin 60 degrees.
    height = math.sqrt(3) * half
    from_top = down + height / 2
    triangle = (from_top >= 0) & (from_top <= height) & (np.abs(right) <= from_top / math.sqrt(3))
    shapes = jnp.stack([disc, square, triangle]).astype(jnp.float32)
    return shapes[jax.random.randint(key, (), 0, len(shapes))]
