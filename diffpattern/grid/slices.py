"""Sums of shifted slices of a bordered lattice, of which every stencil is made.

A function here takes a lattice that has a border along the axis it works on, and returns one with
that border used up. Axes count from the end (-1 is the last), because the leading axes are free.

A `mask` is bordered and cropped like the lattice it goes with (`padding.bordered_mask`); without
one it is None, and nothing is computed for it. Differences are then sums of slopes across faces,
each times the mask of both its cells: a neighbour outside counts as if it held the cell's own
value, and what one cell loses through a face the other gains.

Second differences, rather than weights that sum to zero or one, are the building block: a constant
lattice gives exactly 0 in any precision. (The wide Gaussian alone is a plain weighted sum.)
"""

import math
from typing import overload

import jax.numpy as jnp
from jax import Array, lax

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.grid.padding import bordered_mask, check_lattice, pad

# Standard deviations after which a Gaussian is cut off; 0.3% of its mass lies beyond.
GAUSSIAN_REACH = 3.0


def shifted(x: Array, axis: int, offset: int, border: int) -> Array:
    """The inner cells' neighbours at `offset` along one axis: [n + 2 border] -> [n]."""
    return lax.slice_in_dim(x, border + offset, x.shape[axis] - border + offset, axis=axis)


@overload
def crop(x: Array, axes: tuple[int, ...], border: int) -> Array: ...


@overload
def crop(x: None, axes: tuple[int, ...], border: int) -> None: ...


def crop(x: Array | None, axes: tuple[int, ...], border: int) -> Array | None:
    """The inner cells along several axes; None of a mask that there is not."""
    if x is None:
        return None
    for axis in axes:
        x = shifted(x, axis, 0, border)
    return x


def vector_component(vector: Array, grid: Grid, component: int) -> Array:
    """One component of a vector, [..., ndim, *space] -> [..., *space].

    Raises:
      InputError: if the axis before space has not one component for each spatial axis.
    """
    check_lattice(vector, grid)
    if vector.ndim <= grid.ndim or vector.shape[-grid.ndim - 1] != grid.ndim:
        raise InputError(
            f"vector has shape {tuple(vector.shape)}, but must be [..., {grid.ndim}, "
            f"{', '.join(map(str, grid.shape))}]: a component for each axis, then space."
        )
    return lax.index_in_dim(vector, component, axis=-grid.ndim - 1, keepdims=False)


def lower_and_upper(x: Array, axis: int) -> tuple[Array, Array]:
    """The two partners of each neighbouring pair along one axis: [n + 1] -> [n], [n]."""
    size = x.shape[axis]
    lower = lax.slice_in_dim(x, 0, size - 1, axis=axis)
    return lower, lax.slice_in_dim(x, 1, size, axis=axis)


def open_faces(mask: Array, axis: int) -> Array:
    """How much of a flux each face lets pass, [n + 1] -> [n]: the product of its cells' masks."""
    lower, upper = lower_and_upper(mask, axis)
    return lower * upper


def first_difference(x: Array, axis: int, mask: Array | None = None) -> Array:
    """(x[i + 1] - x[i - 1]) / 2, from a border of one cell: exact on quadratics."""
    if mask is None:
        return 0.5 * (shifted(x, axis, 1, 1) - shifted(x, axis, -1, 1))
    below, above = lower_and_upper(_open_slope(x, axis, mask), axis)
    return 0.5 * (below + above)


def second_difference(x: Array, axis: int, mask: Array | None = None) -> Array:
    """x[i + 1] - 2 x[i] + x[i - 1], from a border of one cell: exact on cubics."""
    if mask is None:
        return _second_difference(x, axis, 1, 1)
    below, above = lower_and_upper(_open_slope(x, axis, mask), axis)
    return above - below


def wide_second_difference(x: Array, axis: int, mask: Array | None = None) -> Array:
    """(-1, 16, -30, 16, -1) / 12, from a border of two cells: exact on quintics.

    It is d - d d / 12 by second differences d, and with a mask computed so: no weight then reaches
    over a cell outside, and what it removes is never negative.
    """
    if mask is None:
        return 4 / 3 * _second_difference(x, axis, 2, 1) - 1 / 12 * _second_difference(
            x, axis, 2, 2
        )
    curvature = second_difference(x, axis, mask)
    correction = second_difference(curvature, axis, crop(mask, (axis,), 1))
    return crop(curvature, (axis,), 1) - correction / 12


def smooth(x: Array, axis: int, side_weight: float, mask: Array | None = None) -> Array:
    """Mean with weights (w, 1 - 2w, w), from a border of one cell: exact on straight lines."""
    return shifted(x, axis, 0, 1) + side_weight * second_difference(x, axis, mask)


def pad_smoothed(x: Array, grid: Grid, width: int, kernel_scale: float) -> Array:
    """The lattice with a border of `width`, blurred by a Gaussian where `kernel_scale` > 1.

    The border is made once, wide enough for the blur and what comes after it, so that the blur
    sees the boundary condition itself. The Gaussian is sampled at the cells, cut off after three
    standard deviations, and its weights divided by their sum: constants and straight lines pass
    unchanged, and a quadratic is moved by a constant alone. A cell outside the mask counts as if it
    held the value of the cell whose mean is taken.

    Args:
      x: lattice, [..., *space].
      grid: its description.
      width: border to be left.
      kernel_scale: 1 for no blur; above 1 the Gaussian's standard deviation, in cells.

    Returns:
      [..., *(n + 2 * width)].

    Raises:
      InputError: if `kernel_scale` is below 1.
    """
    if not 1 <= kernel_scale < math.inf:
        raise InputError(f"kernel_scale is {kernel_scale!r}, but must be 1 or more cells.")
    if kernel_scale == 1:
        return pad(x, grid, width)
    weights = _gaussian_weights(kernel_scale)
    radius = len(weights) // 2
    x = pad(x, grid, width + radius)
    mask = bordered_mask(grid, width + radius, x.dtype)
    for axis in range(-grid.ndim, 0):
        if mask is None:
            x = _weighted_sum(x, axis, weights)
        else:
            own, inside = crop(x, (axis,), radius), crop(mask, (axis,), radius)
            reached = _weighted_sum(mask, axis, weights)
            x = own + inside * (_weighted_sum(mask * x, axis, weights) - reached * own)
            mask = inside
    return x


def _open_slope(x: Array, axis: int, mask: Array) -> Array:
    """Difference across each face, as far as it is open: [n + 1] -> [n]."""
    lower, upper = lower_and_upper(x, axis)
    return open_faces(mask, axis) * (upper - lower)


def _second_difference(x: Array, axis: int, border: int, reach: int) -> Array:
    """x[i + reach] - 2 x[i] + x[i - reach]: on a quadratic, reach^2 times its second derivative."""
    return (
        shifted(x, axis, reach, border)
        + shifted(x, axis, -reach, border)
        - 2 * shifted(x, axis, 0, border)
    )


def _gaussian_weights(scale: float) -> list[float]:
    """Weights of the cells from one cut-off of the Gaussian to the other; their sum is 1."""
    radius = math.ceil(GAUSSIAN_REACH * scale)
    samples = [math.exp(-0.5 * (cell / scale) ** 2) for cell in range(-radius, radius + 1)]
    return [sample / sum(samples) for sample in samples]


def _weighted_sum(x: Array, axis: int, weights: list[float]) -> Array:
    """Sum of as many shifted slices as there are weights: [n + weights - 1] -> [n]."""
    size = x.shape[axis] - len(weights) + 1

    def add(total: Array, tap: tuple[Array, Array]) -> tuple[Array, None]:
        offset, weight = tap
        return total + weight * lax.dynamic_slice_in_dim(x, offset, size, axis), None

    # A loop, because XLA fuses the transpose of dozens of written-out slices over two axes into
    # one that evaluates all their products (on a CPU 20 times slower at 31 weights).
    taps = jnp.arange(len(weights)), jnp.asarray(weights, x.dtype)
    start = jnp.zeros_like(lax.slice_in_dim(x, 0, size, axis=axis))
    return lax.scan(add, start, taps, unroll=4)[0]
