"""A lattice and a coarser one, whose cells are blocks of its own."""

import jax.numpy as jnp
from jax import Array

from diffpattern.grid.geometry import Grid


def block_means(x: Array, grid: Grid, scale: int) -> Array:
    """Means over blocks of `scale` cells an axis: [..., *space] -> [..., *space / scale]."""
    if scale == 1:
        return x
    for axis in range(-grid.ndim, 0):
        after = x.shape[axis:][1:]
        x = x.reshape(x.shape[:axis] + (-1, scale) + after).mean(axis)
    return x


def spread(x: Array, grid: Grid, scale: int) -> Array:
    """Each value to all cells of its block: [..., *space] -> [..., *space * scale]."""
    if scale == 1:
        return x
    for axis in range(-grid.ndim, 0):
        x = jnp.repeat(x, scale, axis=axis)
    return x
