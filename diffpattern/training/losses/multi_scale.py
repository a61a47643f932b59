"""A loss on block means at several scales."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from diffpattern.errors import InputError
from diffpattern.grid.blocks import block_means
from diffpattern.training.losses import pointwise, spectral
from diffpattern.training.losses.context import Context

AT_EACH_SCALE = {
    "l2": pointwise.l2,
    "l1": pointwise.l1,
    "euclidean": pointwise.euclidean,
    "cosine": pointwise.cosine,
    "spatial_gradient": pointwise.spatial_gradient,
    "spectral": spectral.spectral,
    "spectral_phase": spectral.spectral_phase,
}


def multi_scale(
    prediction: Array, truth: Array, context: Context, *, of: str, scales: Sequence[int]
) -> Array:
    """The mean over scales s of a loss on means over blocks of s cells an axis.

    At a scale above 1 it is blind to what averages out within a block, such as fine grain and
    shifts by less than a block; it sees broad shapes, and its gradient leads a pattern from afar
    where that of the finest scale alone is noise.

    Args:
      prediction: [L, *space, C].
      truth: likewise.
      context: of both.
      of: the loss, a name in `AT_EACH_SCALE`.
      scales: cells an axis of a block; 1 are the cells themselves.

    Raises:
      InputError: there are no scales, or blocks do not divide the lattice.
    """
    if not scales:
        raise InputError("loss.settings.multi_scale.scales is empty; give one scale or more.")
    for scale in scales:
        if any(size % scale for size in context.grid.shape):
            kind = "block of a lattice" if context.grid.is_cut else "lattice"
            raise InputError(
                f"loss.settings.multi_scale.scales has {scale}, but blocks of {scale} cells do not "
                f"divide a {kind} of {' x '.join(map(str, context.grid.shape))}; take scales "
                "that do."
            )
    losses = [
        AT_EACH_SCALE[of](
            _averaged(prediction, context, scale),
            _averaged(truth, context, scale),
            context.coarsened(scale),
        )
        for scale in scales
    ]
    return sum(losses) / len(losses)


def _averaged(x: Array, context: Context, scale: int) -> Array:
    """Means over the cells of each block that count, [L, *space, C] -> [L, *space / scale, C]."""
    means = block_means(jnp.moveaxis(context.inside(x), -1, 1), context.grid, scale)
    if context.mask is not None:
        share = block_means(context.mask, context.grid, scale)
        means = means / jnp.where(share > 0, share, 1.0)
    return jnp.moveaxis(means, 1, -1)
