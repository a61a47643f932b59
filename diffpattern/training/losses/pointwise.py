"""Losses that compare cell by cell."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from diffpattern.grid import stencils
from diffpattern.grid.cutting import part
from diffpattern.training.losses.context import Context

# Under a root it keeps gradients finite where there is no error.
_TINY = 1e-12


def l2(prediction: Array, truth: Array, context: Context) -> Array:
    """Mean squared error, mean (p - t)^2."""
    return context.mean((prediction - truth) ** 2)


def l1(prediction: Array, truth: Array, context: Context) -> Array:
    """Mean absolute error, mean |p - t|."""
    return context.mean(jnp.abs(prediction - truth))


def euclidean(prediction: Array, truth: Array, context: Context) -> Array:
    """Root mean squared error of each channel of each snapshot, averaged over them.

    Each channel's pull does not fade as its error does, as it does with l2.

    Source: the loss of Richardson, Antal, Blythe and Schumacher (2024), "Learning spatio-temporal
    patterns with neural cellular automata", there with one root for all channels of a snapshot.
    """
    return context.over_fields(jnp.sqrt(context.over_cells((prediction - truth) ** 2) + _TINY))


def sampled_euclidean(
    prediction: Array, truth: Array, context: Context, *, fraction: float
) -> Array:
    """`euclidean` of a random subset of the cells, drawn anew in each train step.

    The subset is the same for all channels and snapshots of a window. In expectation it sees what
    `euclidean` sees; one step is blind to the cells that were not drawn, and its noise shakes the
    parameters out of what fits one lattice alone.

    Args:
      prediction: [L, *space, C].
      truth: likewise.
      context: with a key.
      fraction: of the cells that is drawn, above 0 and at most 1; at least one cell.
    """
    space = context.grid.whole.shape
    cells = math.prod(space)
    drawn = jax.random.permutation(context.key, cells)[: max(round(fraction * cells), 1)]
    counts = part(jnp.zeros(cells).at[drawn].set(1.0).reshape(space), context.grid)
    mask = counts if context.mask is None else counts * context.mask
    return euclidean(prediction, truth, context.replace(mask=mask))


def cosine(prediction: Array, truth: Array, context: Context) -> Array:
    """1 - cos of the angle between prediction and truth, for each channel of each snapshot.

        1 - sum p t / (|p| |t|),    sums over the cells

    From 0 to 2. It is blind to a factor on a field, and sees where the field is high and low.
    """
    dot = lambda a, b: context.over_cells(a * b) + _TINY
    norms = jnp.sqrt(dot(prediction, prediction) * dot(truth, truth))
    return context.over_fields(1.0 - dot(prediction, truth) / norms)


def spatial_gradient(prediction: Array, truth: Array, context: Context) -> Array:
    """Mean squared error of the central-difference gradients, in units of x^2 per length^2.

    It is blind to a constant offset and to the shortest wave, and sees edges that blur.
    """
    error = jnp.moveaxis(prediction - truth, -1, 1)
    slopes = stencils.gradient(error, context.lattice(), scheme="central")
    return context.mean(jnp.moveaxis(jnp.mean(slopes**2, 2), 1, -1))
