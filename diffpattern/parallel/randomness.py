"""Random numbers that do not depend on the devices.

Keys are folded from what is being computed (seed, training step, trajectory, rollout step, tile of
the lattice), never from where. A lattice draws tile by tile, so that a block of it can draw its
own cells alone and finds the numbers that the whole lattice would have given them.
"""

import math

import jax
from jax import Array

TILE = 16


def fire_mask(key: Array, rate: float, space: tuple[int, ...]) -> Array:
    """Bernoulli draws for each cell of a lattice, by tiles of 16 cells an axis.

    Args:
      key: of this rollout step.
      rate: probability of True.
      space: shape of the lattice, one to three axes.

    Returns:
      Booleans of shape `space`.
    """
    tiles = tuple(math.ceil(size / TILE) for size in space)
    keys = key
    for count in tiles:
        fold = jax.vmap(jax.random.fold_in, (None, 0))
        for _ in range(keys.ndim):
            fold = jax.vmap(fold, (0, None))
        keys = fold(keys, jax.numpy.arange(count))
    draw = lambda tile_key: jax.random.bernoulli(tile_key, rate, (TILE,) * len(space))
    draws = jax.vmap(draw)(keys.reshape(-1)).reshape(tiles + (TILE,) * len(space))
    # [tiles..., cells...] -> [tile 0, cells 0, tile 1, cells 1, ...] -> one axis each
    order = [
        axis
        for pair in zip(range(len(space)), range(len(space), 2 * len(space)), strict=True)
        for axis in pair
    ]
    whole = draws.transpose(order).reshape(tuple(count * TILE for count in tiles))
    return whole[tuple(slice(size) for size in space)]
