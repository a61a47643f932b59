"""Random numbers of a lattice that do not depend on the devices.

Keys are folded from what is being computed (seed, training step, trajectory, rollout step, tile of
the lattice), never from where. A lattice draws tile by tile, so that a block of it can draw its
own cells alone and finds the numbers that the whole lattice would have given them.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from diffpattern.grid.cutting import first_cell
from diffpattern.grid.geometry import Grid
from diffpattern.parallel.recomputation import remembered

TILE = 16


def fire_mask(key: Array, rate: float, grid: Grid) -> Array:
    """Bernoulli draws for each cell, which a rollout remembers when gradients are pulled back.

    Args:
      key: of this rollout step.
      rate: probability of True.
      grid: of the lattice, or of a block of it.

    Returns:
      Booleans, [*space].
    """
    return remembered(draw(key, lambda key, shape: jax.random.bernoulli(key, rate, shape), grid))


def normal(key: Array, grid: Grid, channels: int) -> Array:
    """Standard normal draws for each cell and channel, [*space, channels]."""
    of_channel = lambda key: draw(key, jax.random.normal, grid)
    return jax.vmap(of_channel, out_axes=-1)(jax.random.split(key, channels))


def draw(key: Array, of_tile: Callable[[Array, tuple[int, ...]], Array], grid: Grid) -> Array:
    """Draws for each cell, by tiles of 16 cells an axis.

    A block draws the tiles that it has a part in: its own cells, if it begins and ends with a tile.

    Args:
      key: of these draws.
      of_tile: (key, shape) -> the draws of a tile.
      grid: of the lattice, or of a block of it.

    Returns:
      An array [*space].
    """
    ndim = grid.ndim
    spans = [_tiles(grid, axis) for axis in range(ndim)]
    tiles = tuple(count for _, count, _ in spans)
    keys = key
    for axis, (first, count, _) in enumerate(spans):
        tiles_of_all = math.ceil(grid.whole.shape[axis] / TILE)
        fold = jax.vmap(jax.random.fold_in, (None, 0))
        for _ in range(keys.ndim):
            fold = jax.vmap(fold, (0, None))
        keys = fold(keys, (first + jnp.arange(count)) % tiles_of_all)
    draws = jax.vmap(lambda key: of_tile(key, (TILE,) * ndim))(keys.reshape(-1))
    draws = draws.reshape(tiles + (TILE,) * ndim)
    # [tiles..., cells...] -> [tile 0, cells 0, tile 1, cells 1, ...] -> one axis each
    order = [axis for pair in zip(range(ndim), range(ndim, 2 * ndim), strict=True) for axis in pair]
    whole = draws.transpose(order).reshape(tuple(count * TILE for count in tiles))
    return lax.dynamic_slice(whole, [jnp.int32(inside) for *_, inside in spans], grid.shape)


def _tiles(grid: Grid, axis: int) -> tuple[Array | int, int, Array | int]:
    """The tiles that a lattice or a block reaches into along one axis.

    Returns:
      The first of them, how many there are, and at which cell of the first one the block begins.
    """
    size, begin = grid.shape[axis], first_cell(grid, axis)
    if grid.cuts[axis] is None:
        return 0, math.ceil(size / TILE), 0
    # A block that does not begin with a tile may reach into one more.
    unaligned = (size % TILE > 0) or grid.margins[axis] % TILE > 0
    return begin // TILE, math.ceil(size / TILE) + unaligned, begin % TILE
