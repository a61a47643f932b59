"""A lattice and the blocks of it that lie on the devices of a mesh: parts, and sums over them.

Borders of blocks, which is all that most rules ask for, are the business of `padding`. On a lattice
that is not cut, all of these do nothing.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array, lax

from diffpattern.grid.geometry import Grid


def mesh_axes(grid: Grid) -> tuple[str, ...]:
    """The axes of the mesh over which the blocks of a lattice lie."""
    return tuple(cut.mesh_axis for cut in grid.cuts if cut)


def first_cell(grid: Grid, axis: int) -> Array | int:
    """Where in its lattice a block begins along an axis; before its start, with a margin."""
    cut, margin = grid.cuts[axis], grid.margins[axis]
    return (grid.shape[axis] - 2 * margin) * lax.axis_index(cut.mesh_axis) - margin if cut else 0


def part_along(whole: Array, grid: Grid, axis: int, at: int = 0) -> Array:
    """What a block has of an array, one of whose axes is an axis of the lattice.

    Args:
      whole: numbers of all cells along the axis.
      grid: of the block.
      axis: of the lattice.
      at: which axis of the array that is.
    """
    if grid.cuts[axis] is None:
        return whole
    first, count = first_cell(grid, axis), grid.shape[axis]
    if grid.margins[axis]:
        # Round the lattice, where it has no walls; beyond walls anything will do.
        return jnp.take(whole, (first + jnp.arange(count)) % whole.shape[at], axis=at)
    return lax.dynamic_slice_in_dim(whole, first, count, at)


def part(whole: Array, grid: Grid) -> Array:
    """What a block has of an array of the lattice, [..., *whole] -> [..., *space]."""
    for axis in range(grid.ndim):
        whole = part_along(whole, grid, axis, axis - grid.ndim + whole.ndim)
    return whole


def put_together(x: Array, grid: Grid, behind: int = 0) -> Array:
    """The array of the whole lattice, on each device, of the blocks of all.

    Args:
      x: what this device has, [..., *space, ...].
      grid: of the block.
      behind: how many axes follow those of space.
    """
    for axis, cut in enumerate(grid.cuts):
        if cut:
            along = x.ndim - behind - grid.ndim + axis
            x = lax.all_gather(x, cut.mesh_axis, axis=along, tiled=True)
    return x


def crop_margin(x: Array, grid: Grid) -> Array:
    """What is a block's own, [..., *wide space] -> [..., *space]."""
    for axis, margin in enumerate(grid.margins):
        along = x.ndim - grid.ndim + axis
        x = lax.slice_in_dim(x, margin, x.shape[along] - margin, axis=along)
    return x


def at(x: Array, cells: Array, grid: Grid) -> Array:
    """The values at some cells of the whole lattice, on each device.

    Args:
      x: what this device has, [..., *space].
      cells: counted through the lattice, row after row, [N].
      grid: of the block.

    Returns:
      [..., N].
    """
    places = jnp.unravel_index(cells, grid.whole.shape)
    local = [place - first_cell(grid, axis) for axis, place in enumerate(places)]
    here = jnp.ones(cells.shape, bool)
    for place, size in zip(local, grid.shape, strict=True):
        here &= (place >= 0) & (place < size)
    inside = [jnp.clip(p, 0, n - 1) for p, n in zip(local, grid.shape, strict=True)]
    return sum_over_blocks(jnp.where(here, x[(..., *inside)], 0.0), grid)


def sum_over_blocks(x: Array, grid: Grid) -> Array:
    """The sum of what all blocks have."""
    names = mesh_axes(grid)
    return lax.psum(x, names) if names else x


def mean_over_blocks(x: Array, grid: Grid) -> Array:
    """The mean of what all blocks have."""
    names = mesh_axes(grid)
    return lax.pmean(x, names) if names else x


def all_over_blocks(flag: Array, grid: Grid) -> Array:
    """Whether a flag is up on all blocks."""
    return on_all(flag, mesh_axes(grid))


def on_all(flag: Array, axes: Sequence[str]) -> Array:
    """Whether a flag is up all over some axes of the mesh."""
    return lax.psum((~flag).astype(jnp.int32), axes) == 0 if axes else flag
