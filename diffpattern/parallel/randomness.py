"""Random numbers that do not depend on the devices.

Keys are folded from what is being computed (seed, training step, trajectory, rollout step, tile of
the lattice), never from where. A lattice draws tile by tile, so that a block of it can draw its
own cells alone and finds the numbers that the whole lattice would have given them.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax

TILE = 16


def fire_mask(
    key: Array, rate: float, space: tuple[int, ...], axes: Sequence[str | None] = ()
) -> Array:
    """Bernoulli draws for each cell of a lattice, by tiles of 16 cells an axis.

    A block draws the tiles that it has a part in: its own cells, if it begins and ends with a tile.

    Args:
      key: of this rollout step.
      rate: probability of True.
      space: shape of the lattice or of the block, one to three axes.
      axes: of a block, the mesh axis that cuts each of its axes, or None.

    Returns:
      Booleans of shape `space`.
    """
    axes = tuple(axes) or (None,) * len(space)
    spans = [_tiles(size, axis) for size, axis in zip(space, axes, strict=True)]
    tiles = tuple(count for _, count, _ in spans)
    keys = key
    for first, count, _ in spans:
        fold = jax.vmap(jax.random.fold_in, (None, 0))
        for _ in range(keys.ndim):
            fold = jax.vmap(fold, (0, None))
        keys = fold(keys, first + jnp.arange(count))
    draw = lambda tile_key: jax.random.bernoulli(tile_key, rate, (TILE,) * len(space))
    draws = jax.vmap(draw)(keys.reshape(-1)).reshape(tiles + (TILE,) * len(space))
    # [tiles..., cells...] -> [tile 0, cells 0, tile 1, cells 1, ...] -> one axis each
    order = [
        axis
        for pair in zip(range(len(space)), range(len(space), 2 * len(space)), strict=True)
        for axis in pair
    ]
    whole = draws.transpose(order).reshape(tuple(count * TILE for count in tiles))
    return lax.dynamic_slice(whole, [inside for *_, inside in spans], space)


def _tiles(size: int, axis: str | None) -> tuple[Array | int, int, Array | int]:
    """The tiles that a block of so many cells reaches into along one axis.

    Returns:
      The first of them, how many there are, and at which cell of the first one the block begins.
    """
    if axis is None:
        return 0, math.ceil(size / TILE), 0
    begin = size * lax.axis_index(axis)
    # A block that does not begin with a tile may reach into one more.
    count = math.ceil(size / TILE) + (size % TILE > 0)
    return begin // TILE, count, begin % TILE
