"""Regularisers: what is added to the loss of a window, whatever the truth says.

Each is a small pure function that gives one number, which is 0 where nothing is amiss.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def coverage(mask: Array) -> Array:
    """Mean of a trainable mask [*space]: a rule is to explain the pattern with little room."""
    return jnp.mean(mask)


def outside(states: Array, mask: Array) -> Array:
    """Mean square of what lies outside of the mask, mean (1 - m) x^2.

    Sees hidden channels as well as data; blind to all that happens inside.

    Args:
      states: [L, *space, C].
      mask: [*space], 1 inside and 0 outside.
    """
    return jnp.mean((1.0 - mask)[..., None] * states**2)


def out_of_range(states: Array) -> Array:
    """How far values lie outside of [0, 1], mean |x - clip(x)|, over all channels.

    Blind to what happens within; its pull does not grow with the distance, so that a rule that
    bursts does not drown the loss.

    Source: the overflow loss of Niklasson, Mordvintsev, Randazzo and Levin (2021),
    "Self-organising textures", there for [-1, 1].

    Args:
      states: [L, *space, C].
    """
    return jnp.mean(jnp.abs(states - jnp.clip(states, 0.0, 1.0)))


def sparsity(parameters: Any) -> Array:
    """Mean absolute value of a rule's parameters.

    Pulls on all alike however small they are, so that those that the data do not ask for go to
    zero and the others shrink a little. Blind to which parameters share a given sum.

    Source: Tibshirani (1996), "Regression shrinkage and selection via the lasso".
    """
    leaves = jax.tree.leaves(parameters)
    return sum(jnp.sum(jnp.abs(leaf)) for leaf in leaves) / sum(leaf.size for leaf in leaves)
