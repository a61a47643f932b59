"""Losses that compare distributions: which colours and which patches there are, and not where.

A sliced Wasserstein distance between two clouds of points in d dimensions is that of their shadows
on lines, for which optimal transport is known: the k-th smallest goes to the k-th smallest.

    SW^2 = mean over unit vectors v of  mean over k of (sorted(<v, p>)_k - sorted(<v, t>)_k)^2

The lines are drawn anew in each train step. Prediction and truth may be of different sizes: the
quantiles of the truth are then read off between its sorted values.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from diffpattern.errors import InputError
from diffpattern.grid.blocks import block_means
from diffpattern.precision import real
from diffpattern.training.losses.context import Context, seen_whole


def colours(prediction: Array, truth: Array, context: Context, *, projections: int) -> Array:
    """Squared sliced Wasserstein distance between the cells' values, as points in C dimensions.

    In units of l2: an offset of all channels by a gives a^2. It is blind to where a value is, and
    sees how often each combination of the channels' values occurs.

    Source: Rabin, Peyre, Delon and Bernot (2011), "Wasserstein barycenter and its application to
    texture mixing".

    Args:
      prediction: [L, *space, C].
      truth: [L, *its space, C].
      context: of the prediction, with a key.
      projections: how many lines.
    """
    return patches(prediction, truth, context, projections=projections, size=1, scales=(1,))


@seen_whole
def patches(
    prediction: Array,
    truth: Array,
    context: Context,
    *,
    projections: int,
    size: int,
    scales: Sequence[int],
) -> Array:
    """Squared sliced Wasserstein distance between patches, averaged over scales.

    Points are all patches of `size` cells an axis, with their channels, of the lattice averaged
    over blocks of each scale; the shadows on a line are a convolution with one random filter. A
    torus is cut open at a random place, so that no seam of it is left unseen for long, nor do
    blocks lie at the same place each time. The truth is taken to be a cut-out and not wrapped.

    It is blind to where a patch is, and to structure larger than the widest patch; it sees local
    structure. A texture can be learnt by it alone.

    Source: Heitz, Vanhoey, Chambon and Belcour (2021), "A sliced Wasserstein loss for neural
    texture synthesis", with patches in place of the features of a trained network, as in Elnekave
    and Weiss (2022), "Generating natural images with direct patch distributions matching".

    Args:
      prediction: [L, *space, C].
      truth: [L, *its space, C].
      context: of the prediction, with a key.
      projections: lines for each scale.
      size: cells an axis of a patch.
      scales: cells an axis of the blocks that are averaged over; what remains at the edge is cut.

    Raises:
      InputError: there are no scales, or a lattice is too small for a patch at one of them.
    """
    _check(prediction, truth, context, size, scales)
    cut_key, *keys = jax.random.split(context.key, 1 + len(scales))
    weight = None if context.weight is None else jnp.sqrt(context.weight)
    mask = context.mask
    prediction, mask = _cut_open(_fields(prediction, weight), mask, context, cut_key)
    truth = lax.stop_gradient(_fields(truth, weight))
    # Beside its truth, what a mask hides is hidden in both; a truth from elsewhere is all seen.
    truth_mask = context.mask if truth.shape == prediction.shape else None
    total = 0.0
    for scale, key in zip(scales, keys, strict=True):
        filters = _unit_vectors(key, projections, prediction.shape[1], size, context.grid.ndim)
        ours = _shadows(prediction, mask, context, filters, scale)
        theirs = _shadows(truth, truth_mask, context, filters, scale)
        total = total + _squared_distance(*ours, *theirs)
    return total / len(scales)


def _check(
    prediction: Array, truth: Array, context: Context, size: int, scales: Sequence[int]
) -> None:
    if not scales:
        raise InputError("loss.settings.patches.scales is empty; give one scale or more.")
    shortest = min(prediction.shape[1:-1] + truth.shape[1:-1])
    if shortest < size * max(scales):
        raise InputError(
            f"loss.settings.patches takes patches of {size} cells at a scale of {max(scales)}, but "
            f"an axis of the lattice has only {shortest} cells; it must have "
            f"{size * max(scales)}."
        )


def _fields(x: Array, weight: Array | None) -> Array:
    """Snapshots channels first, [L, C, *space], each field times its weight [L, C]."""
    x = x if weight is None else x * jnp.expand_dims(weight, tuple(range(1, x.ndim - 1)))
    return jnp.moveaxis(x, -1, 1)


def _cut_open(
    x: Array, mask: Array | None, context: Context, key: Array
) -> tuple[Array, Array | None]:
    """Fields [..., *space] and mask turned along the circular axes by a random way."""
    grid = context.grid
    turning = [
        axis - grid.ndim for axis, walls in enumerate(grid.boundary) if walls.kind == "circular"
    ]
    if not turning:
        return x, mask
    ways = jax.random.randint(key, (grid.ndim,), 0, max(grid.shape))
    turned = lambda field: jnp.roll(field, [ways[axis] for axis in turning], turning)
    return turned(x), None if mask is None else turned(mask)


def _unit_vectors(key: Array, count: int, channels: int, size: int, ndim: int) -> Array:
    """Random directions in the space of patches, filters [count, C, *size]."""
    shape = (channels, *(size,) * ndim)
    # In one dimension there is only one line.
    count = count if math.prod(shape) > 1 else 1
    vectors = jax.random.normal(key, (count, *shape))
    return vectors / jnp.sqrt(jnp.sum(vectors**2, tuple(range(1, vectors.ndim)), keepdims=True))


def _shadows(
    x: Array, mask: Array | None, context: Context, filters: Array, scale: int
) -> tuple[Array, Array | None]:
    """Shadows of all patches, [L, K, N], and which of these lie wholly inside the mask, [N]."""
    grid = context.grid
    whole = lambda y: y[(..., *(slice(n - n % scale) for n in y.shape[-grid.ndim :]))]
    coarse = block_means(whole(x), grid, scale)
    values = lax.conv_general_dilated(
        coarse, filters, window_strides=(1,) * grid.ndim, padding="VALID"
    )
    values = values.reshape(*values.shape[:2], -1)
    if mask is None:
        return values, None
    window = filters.shape[2:]
    covered = block_means(whole(mask), grid, scale)
    covered = lax.reduce_window(covered, jnp.inf, lax.min, window, (1,) * grid.ndim, "VALID")
    return values, covered.reshape(-1) >= 1.0


def _squared_distance(
    values: Array, inside: Array | None, other: Array, other_inside: Array | None
) -> Array:
    """Mean squared difference of quantiles, of shadows [L, K, N] and [L, K, M]."""
    ours, theirs = _sorted(values, inside), _sorted(other, other_inside)
    count = values.shape[-1] if inside is None else jnp.sum(inside)
    other_count = other.shape[-1] if other_inside is None else jnp.sum(other_inside)
    if inside is None and other_inside is None:
        return jnp.mean((ours - _quantiles(theirs, other_count, count)) ** 2)
    # As many quantiles as there are places, since how many of these are inside is not known while
    # the program is compiled.
    ours = _quantiles(ours, count, values.shape[-1])
    theirs = _quantiles(theirs, other_count, values.shape[-1])
    anything = (count > 0) & (other_count > 0)
    return jnp.mean(jnp.where(anything, ours - theirs, 0.0) ** 2)


def _quantiles(values: Array, count: Array | int, wanted: int) -> Array:
    """Of the first `count` of sorted values [..., N], `wanted` evenly spaced quantiles."""
    if isinstance(count, int) and count == wanted:
        return values
    position = (np.arange(wanted, dtype=real()) + 0.5) * (count / wanted) - 0.5
    position = jnp.clip(position, 0.0, jnp.maximum(count - 1, 0))
    below = jnp.floor(position).astype(jnp.int32)
    above = jnp.minimum(below + 1, jnp.maximum(count - 1, 0))
    share = position - below
    return (1.0 - share) * values[..., below] + share * values[..., above]


def _sorted(values: Array, inside: Array | None) -> Array:
    """Along the last axis; where `inside` [N] says no, they come last."""
    order = _order(lax.stop_gradient(values), inside)
    return jnp.take_along_axis(values, order, axis=-1)


def _order(values: Array, inside: Array | None) -> Array:
    """The places of the smallest, the next ..., of the last axis.

    XLA's sort of one array of integers is four to five times faster on a CPU than that of floats,
    or of values with their places. So both are put into one integer: the place in the lower bits
    and the value, in steps of the range over 2^(31 - bits), in the upper ones. Of 64 x 64 values
    those that differ by less than a millionth of the range may change places.
    """
    count = values.shape[-1]
    bits = max((count - 1).bit_length(), 1)
    last = 2 ** min(31 - bits, 24) - 1
    low = jnp.min(values, -1, keepdims=True)
    reach = jnp.max(values, -1, keepdims=True) - low
    steps = (values - low) * ((last - 1) / jnp.where(reach > 0, reach, 1.0))
    steps = jnp.clip(steps, 0, last - 1).astype(jnp.int32)
    if inside is not None:
        steps = jnp.where(inside, steps, last)
    packed = (steps << bits) | np.arange(count, dtype=np.int32)
    return lax.sort(packed, is_stable=False) & (2**bits - 1)
