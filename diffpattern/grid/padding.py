"""Borders: the one place that knows what lies beside a cell at the edge of a lattice.

Every stencil asks `pad` for a border and then works with shifted slices, so that a boundary
condition, or a neighbouring block's cells, is written here and nowhere else.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array, lax

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Boundary, Grid


def pad(
    x: Array, grid: Grid, width: int | Sequence[int], *, normal_axis: int | None = None
) -> Array:
    """Puts a border of cells around a lattice, filled by the grid's boundary condition.

    The axes are bordered one after the other, so a corner holds what the last of its axes makes of
    the borders of those before. A border wider than the lattice goes on with the same rule (round
    the torus again, to and fro between two mirrors).

    Args:
      x: lattice, [..., *grid.shape]; every leading axis is passed through.
      grid: shape and boundary condition.
      width: cells to add on both sides of every spatial axis, or one number for each.
      normal_axis: give it where `x` is one component of a vector: the spatial axis (0 for the
        first) that the component points along. A mirror normal to it turns the vector around, so
        beyond a `symmetric` wall of this axis the component comes with the opposite sign and its
        mean over the wall's face is zero: nothing passes. Without it `x` is mirrored as it is, as
        a scalar is, and a vector's component along the wall.

    Returns:
      [..., *(n + 2 * width)].

    Raises:
      InputError: if the last axes of `x` are not the grid's, or the width is not one for each axis.
    """
    x = jnp.asarray(x)
    check_lattice(x, grid)
    widths = (width,) * grid.ndim if isinstance(width, int) else tuple(width)
    if len(widths) != grid.ndim or min(widths) < 0:
        raise InputError(
            f"border width is {width!r}, but must be 0 or more on each of {grid.ndim} axes."
        )
    for axis, (cells, boundary) in enumerate(zip(widths, grid.boundary, strict=True)):
        sign = -1 if axis == normal_axis else 1
        x = _pad_axis(x, axis - grid.ndim, cells, boundary, sign)
    return x


def check_lattice(x: Array, grid: Grid) -> None:
    """Refuses an array whose last axes are not the grid's, as one with channels last."""
    if tuple(x.shape[-grid.ndim :]) != grid.shape:
        raise InputError(
            f"array has shape {tuple(x.shape)}, but its last axes must be the grid's {grid.shape}."
        )


def _pad_axis(x: Array, axis: int, width: int, boundary: Boundary, sign: int) -> Array:
    """Borders one axis; `sign` is that of a mirror image."""
    if width == 0:
        return x
    size = x.shape[axis]
    repeats = boundary.kind in ("circular", "symmetric")
    if repeats and width > size:
        # A bordered lattice is its own continuation: the same rule, applied again, is exact.
        x = _pad_axis(x, axis, size, boundary, sign)
        return _pad_axis(x, axis, width - size, boundary, sign)

    # An allocation whose borders are then written in place. On a CPU this is the form that XLA
    # compiles best inside a scan, for the value and for the gradient: concatenated slices are
    # fused into their consumers and evaluated again for each shift (two to seven times slower).
    edges = [(0, 0, 0)] * x.ndim
    edges[axis] = (width, width, 0)
    bordered = lax.pad(x, jnp.asarray(boundary.value, x.dtype), edges)
    if boundary.kind in ("zero", "value"):
        return bordered
    cells = width if repeats else 1
    first = lax.slice_in_dim(x, 0, cells, axis=axis)
    last = lax.slice_in_dim(x, size - cells, size, axis=axis)
    if boundary.kind == "circular":
        before, after = last, first
    elif boundary.kind == "symmetric":
        before, after = (sign * lax.rev(edge, (axis % x.ndim,)) for edge in (first, last))
    else:
        before, after = (jnp.repeat(edge, width, axis=axis) for edge in (first, last))
    bordered = lax.dynamic_update_slice_in_dim(bordered, before, 0, axis)
    return lax.dynamic_update_slice_in_dim(bordered, after, width + size, axis)
