"""Losses between predicted and true snapshots.

Each is a small pure function of prediction and truth [L, *space, C] (the channels that are data)
that gives one number, averaged over snapshots, cells and channels.
"""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jax import Array

from diffpattern.errors import InputError
from diffpattern.grid import stencils
from diffpattern.grid.geometry import Grid

Loss = Callable[[Array, Array, Grid], Array]


def l2(prediction: Array, truth: Array, grid: Grid) -> Array:
    """Mean squared error."""
    del grid
    return jnp.mean((prediction - truth) ** 2)


def l1(prediction: Array, truth: Array, grid: Grid) -> Array:
    """Mean absolute error."""
    del grid
    return jnp.mean(jnp.abs(prediction - truth))


def euclidean(prediction: Array, truth: Array, grid: Grid) -> Array:
    """Root mean squared error of each channel of each snapshot, averaged over them.

    Each channel's pull does not fade as its error does, as it does with l2. A tiny constant under
    the root keeps the gradient finite at zero error.
    """
    space = tuple(range(1, 1 + grid.ndim))
    return jnp.mean(jnp.sqrt(jnp.mean((prediction - truth) ** 2, space) + 1e-12))


def spatial_gradient(prediction: Array, truth: Array, grid: Grid) -> Array:
    """Mean squared error of the central-difference gradients, in units of x^2 per length^2.

    It is blind to a constant offset, and sees edges that blur.
    """
    error = jnp.moveaxis(prediction - truth, -1, 1)
    return jnp.mean(stencils.gradient(error, grid, scheme="central") ** 2)


LOSSES: dict[str, Loss] = {
    "l2": l2,
    "l1": l1,
    "euclidean": euclidean,
    "spatial_gradient": spatial_gradient,
}


def weighted_sum(weights: Mapping[str, float]) -> Loss:
    """The sum of the named losses times their weights; those of weight 0 are not computed.

    Raises:
      InputError: no loss has one of the names, no weight is positive, or one is negative.
    """
    for name in weights:
        if name not in LOSSES:
            raise InputError(f"loss has a weight for {name!r}; there are {', '.join(LOSSES)}.")
    used = {name: weight for name, weight in weights.items() if weight}
    if not used or not all(weight > 0 for weight in used.values()):
        raise InputError(
            f"The weights under loss are {dict(weights)}; none may be negative and one must be "
            "positive."
        )

    def loss(prediction: Array, truth: Array, grid: Grid) -> Array:
        terms = (weight * LOSSES[name](prediction, truth, grid) for name, weight in used.items())
        return sum(terms)

    return loss
