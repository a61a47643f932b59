"""Borders: the one place that knows what lies beside a cell at the edge of a lattice.

Every stencil asks `pad` for a border and then works with shifted slices, so that a boundary
condition, or a neighbouring block's cells, is written here and nowhere else.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from diffpattern.errors import InputError
from diffpattern.grid.boundary import Boundary
from diffpattern.grid.geometry import Cut, Grid
from diffpattern.grid.reach import bordered_by

# (x, grid, widths, normal_axis) -> x with a border.
Maker = Callable[[Array, Grid, tuple[int, ...], int | None], Array]
_MAKER: ContextVar[Maker | None] = ContextVar("maker", default=None)


def pad(
    x: Array, grid: Grid, width: int | Sequence[int], *, normal_axis: int | None = None
) -> Array:
    """Puts a border of cells around a lattice, filled by the grid's boundary condition.

    The axes are bordered one after the other, so a corner holds what the last of its axes makes of
    the borders of those before. A border wider than the lattice goes on with the same rule (round
    the torus again, to and fro between two mirrors). docs/boundaries.md has the formulas.

    A block of a lattice that is cut over a mesh gets its neighbours' outermost cells where it has
    neighbours, and what the boundary condition says at the lattice's own walls: the border that the
    whole lattice would give it, to the bit.

    Args:
      x: lattice, [..., *grid.shape]; every leading axis is passed through.
      grid: shape and boundary condition.
      width: cells to add on both sides of every spatial axis, or one number for each.
      normal_axis: give it where `x` is one component of a vector: the spatial axis (0 for the
        first) that the component points along. A mirror normal to it turns the vector around, so
        beyond a `symmetric` or `flux` wall of this axis the component comes with the opposite sign
        and its mean over the wall's face is zero: nothing passes. Without it `x` is mirrored as it
        is, as a scalar is, and a vector's component along the wall.

    Returns:
      [..., *(n + 2 * width)].

    Raises:
      InputError: if the last axes of `x` are not the grid's, the width is not one for each axis, or
        a wall's value is one over time (see `Grid.under`) or not one for each species of `x`.

    Example:
      >>> x = np.array([1.0, 2.0, 3.0])
      >>> pad(x, Grid(3), 1).tolist(), pad(x, Grid(3, boundary="symmetric"), 2).tolist()
      ([3.0, 1.0, 2.0, 3.0, 1.0], [2.0, 1.0, 1.0, 2.0, 3.0, 3.0, 2.0])
      >>> pad(np.zeros((5, 2, 8, 6)), Grid((8, 6)), (1, 0)).shape
      (5, 2, 10, 6)
    """
    x = jnp.asarray(x)
    check_lattice(x, grid)
    widths = (width,) * grid.ndim if isinstance(width, int) else tuple(width)
    if len(widths) != grid.ndim or min(widths) < 0:
        raise InputError(
            f"border width is {width!r}, but must be 0 or more on each of {grid.ndim} axes."
        )
    if (maker := _MAKER.get()) is not None:
        return maker(x, grid, widths, normal_axis)
    for axis, cells in enumerate(widths):
        x = _pad_axis(x, grid, axis, cells, turned=axis == normal_axis)
    return bordered_by(x, max(widths))


@contextlib.contextmanager
def borders_by(maker: Maker) -> Iterator[None]:
    """Has `maker` make all borders that are asked of `pad` within the block.

    So a rule can be written down as a program of what a cell does and of what it asks its
    neighbours, for a machine that has borders of its own.

    Example:
      >>> with borders_by(lambda x, grid, widths, normal_axis: jnp.pad(x, widths[0])):
      ...     print(pad(np.array([1.0, 2.0, 3.0]), Grid(3), 1).tolist())
      ...
      [0.0, 1.0, 2.0, 3.0, 0.0]
    """
    token = _MAKER.set(maker)
    try:
        yield
    finally:
        _MAKER.reset(token)


def check_lattice(x: Array, grid: Grid) -> None:
    """Refuses an array whose last axes are not the grid's, as one with channels last.

    Example:
      >>> check_lattice(np.zeros((2, 8, 6)), Grid((8, 6)))
      >>> check_lattice(np.zeros((8, 6, 2)), Grid((8, 6)))
      Traceback (most recent call last):
          ...
      diffpattern.errors.InputError: array has shape (8, 6, 2), but its last axes ...
    """
    if tuple(x.shape[-grid.ndim :]) != grid.shape:
        raise InputError(
            f"array has shape {tuple(x.shape)}, but its last axes must be the grid's {grid.shape}."
        )


def across(axis: int, grid: Grid) -> tuple[int, ...]:
    """The widths of a border of one cell across one axis alone.

    Example:
      >>> across(0, Grid((8, 6)))
      (1, 0)
    """
    return tuple(int(other == axis) for other in range(grid.ndim))


def _pad_axis(x: Array, grid: Grid, axis: int, width: int, *, turned: bool) -> Array:
    """Borders one axis; `turned`, with a vector's component along it."""
    if width and grid.margins[axis] and (cut := grid.cuts[axis]):
        return _extend_margin(x, grid, axis, cut, width, turned)
    while width > 0:
        # A bordered lattice is its own continuation: what is read off it is exact again.
        cells = min(width, grid.shape[axis])
        x = _extend(x, grid, axis, cells, turned)
        width -= cells
    return x


def _extend(x: Array, grid: Grid, axis: int, cells: int, turned: bool) -> Array:
    """Adds cells beyond both walls of an axis, and beyond a border that it may have already."""
    walls, cut, along = grid.boundary[axis], grid.cuts[axis], axis - grid.ndim
    constants = [wall.value for wall in (walls.lower, walls.upper) if _is_constant(wall)]
    fill = constants[0] if constants else 0.0

    # An allocation whose borders are then written in place. On a CPU this is the form that XLA
    # compiles best inside a scan, for the value and for the gradient: concatenated slices are
    # fused into their consumers and evaluated again for each shift (two to seven times slower).
    edges = [(0, 0, 0)] * x.ndim
    edges[along] = (cells, cells, 0)
    bordered = lax.pad(x, jnp.asarray(fill, x.dtype), edges)
    for upper, wall in enumerate((walls.lower, walls.upper)):
        if cut or not (_is_constant(wall) and wall.value == fill):
            beyond = _beyond(x, grid, axis, cells, wall, turned, bool(upper))
            if cut:
                beyond = _of_neighbour(x, grid, axis, cut, cells, beyond, bool(upper))
            start = upper * (cells + x.shape[along])
            bordered = lax.dynamic_update_slice_in_dim(bordered, beyond, start, along)
    return bordered


def _extend_margin(x: Array, grid: Grid, axis: int, cut: Cut, cells: int, turned: bool) -> Array:
    """Adds cells beyond a block's margin: of any value, unless they are beyond a wall.

    There the margin is made anew too, since it was nobody's cells.
    """
    along, margin = axis - grid.ndim, grid.margins[axis]
    edges = [(0, 0, 0)] * x.ndim
    edges[along] = (cells, cells, 0)
    bordered = lax.pad(x, jnp.zeros((), x.dtype), edges)
    walls, (name, blocks) = grid.boundary[axis], cut
    if walls.kind == "circular":
        return bordered
    size, width = x.shape[along], margin + cells
    for upper, wall in enumerate((walls.lower, walls.upper)):
        inside = lax.slice_in_dim(x, 0 if upper else margin, size - margin * upper, axis=along)
        shape = tuple(n - margin * (a == axis) for a, n in enumerate(grid.shape))
        beyond = _beyond(inside, replace(grid, shape=shape), axis, width, wall, turned, bool(upper))
        start = upper * (size + 2 * cells - width)
        present = lax.slice_in_dim(bordered, start, start + width, axis=along)
        outermost = lax.axis_index(name) == (blocks - 1 if upper else 0)
        made = jnp.where(outermost, beyond, present)
        bordered = lax.dynamic_update_slice_in_dim(bordered, made, start, along)
    return bordered


def _is_constant(wall: Boundary) -> bool:
    """Whether a number known beforehand is all that lies beyond the wall."""
    return wall.kind in ("zero", "value") and isinstance(wall.value, float)


def _beyond(
    x: Array, grid: Grid, axis: int, cells: int, wall: Boundary, turned: bool, upper: bool
) -> Array:
    """The next `cells` beyond one wall, [..., cells, ...]."""
    along = axis - grid.ndim
    border = (x.shape[along] - grid.shape[axis]) // 2
    if wall.kind == "circular":
        return _inside(x, along, 2 * border, cells, not upper)
    if wall.kind == "replicate":
        return jnp.repeat(_inside(x, along, 0, 1, upper), cells, axis=along)
    # As far inside the wall as the new cells lie beyond it.
    image = lax.rev(_inside(x, along, 2 * border, cells, upper), (along % x.ndim,))
    if wall.kind in ("zero", "value"):
        return jnp.broadcast_to(_given(wall, x, grid), image.shape)
    if turned:
        return -image
    if wall.kind == "symmetric":
        return image
    # From a cell to its image it is twice the way to the wall.
    distance = grid.spacing[axis] * (2 * np.arange(border, border + cells) + 1)
    distance = distance if upper else distance[::-1]
    distance = distance.reshape((cells,) + (1,) * (-along - 1))
    return image + _given(wall, x, grid) * jnp.asarray(distance, x.dtype)


def _of_neighbour(
    x: Array, grid: Grid, axis: int, cut: Cut, cells: int, beyond: Array, upper: bool
) -> Array:
    """The next `cells` beyond one side of a block: its neighbour's, or at the wall `beyond`.

    Where a block has a border already, its neighbour has one of the same width, and the cells lie
    as deep in there as they do for a lattice that is its own neighbour.
    """
    (name, blocks), along = cut, axis - grid.ndim
    border = (x.shape[along] - grid.shape[axis]) // 2
    # What this block's lower neighbour wants as its upper border is at the lower end, and so on.
    offered = _inside(x, along, 2 * border, cells, not upper)
    step = -1 if upper else 1
    ring = grid.boundary[axis].kind == "circular"
    routes = [
        (block, (block + step) % blocks)
        for block in range(blocks)
        if ring or 0 <= block + step < blocks
    ]
    received = lax.ppermute(offered, name, routes)
    if ring:
        return received
    outermost = lax.axis_index(name) == (blocks - 1 if upper else 0)
    return jnp.where(outermost, beyond, received)


def _inside(x: Array, axis: int, depth: int, cells: int, upper: bool) -> Array:
    """Cells of one axis, `depth` away from its lower or its upper end."""
    start = x.shape[axis] - depth - cells if upper else depth
    return lax.slice_in_dim(x, start, start + cells, axis=axis)


def _given(wall: Boundary, x: Array, grid: Grid) -> Array:
    """A wall's value, in a shape that goes with [..., *space]; [C, 1, ...] for C species."""
    if wall.times:
        raise InputError(
            "boundary value changes in time, but is needed where there is none: a right-hand side "
            "takes its grid by `grid.under(forcing)`."
        )
    value = jnp.asarray(wall.value, x.dtype)
    if value.ndim == 0:
        return value
    if value.shape != x.shape[-grid.ndim - 1 : -grid.ndim]:
        raise InputError(
            f"boundary value is given for {value.size} species, but the array to be bordered has "
            f"shape {tuple(x.shape)}."
        )
    return value.reshape((-1,) + (1,) * grid.ndim)


def bordered_mask(grid: Grid, width: int | Sequence[int], dtype) -> Array | None:
    """The grid's mask with a border, as a coefficient has it; None where there is no mask.

    Example:
      >>> now = Grid(3, boundary="symmetric").under(Forcing(mask=np.array([0.0, 1.0, 1.0])))
      >>> bordered_mask(now, 1, np.float32).tolist()
      [0.0, 0.0, 1.0, 1.0, 1.0]
    """
    if grid.mask is None:
        return None
    return pad(jnp.asarray(grid.mask, dtype), grid.for_coefficients(), width)
