"""What a term of a trainable PDE offers: its value and its variation.

A least squares fit needs the sensitivities S_k = dx/dp_k of a whole rollout, which obey

    dS_k/dt = (df/dx) S_k + df/dp_k .

Pushing the P basis vectors of parameter space through a network costs P networks. At one cell,
though, a pointwise function has only C x C derivatives by the state and C x P by its parameters;
C reverse passes at that cell give both, and all S_k share them. docs/performance.md has what this
saves.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

Parameters = Any
# A set of P changes of a lattice: for each of its channels an array [P, *space]. Apart, not
# stacked, so that all that changes a channel is one loop over it (5 times faster on a CPU).
Changes = tuple[Array, ...]


class Term(nn.Module):
    """A part of the right-hand side of dx/dt, over one lattice [C, *space].

    Attributes:
      non_negative: names of the parameters that may not fall below zero.
    """

    non_negative: ClassVar[tuple[str, ...]] = ()

    def __call__(self, x: Array) -> Array:
        """The term's share of dx/dt, [C, *space] like x."""
        raise NotImplementedError

    def variation(self, parameters: Parameters, x: Array, s: Changes) -> tuple[Changes, Changes]:
        """How the term answers changes of the state, and changes of its own parameters.

        Args:
          parameters: of this term.
          x: state [C, *space].
          s: P changes of the state.

        Returns:
          The first-order changes of the term for each s; and its derivatives by its own Q
          parameters, as Q changes in the order of `jax.flatten_util.ravel_pytree`.
        """
        raise NotImplementedError


def pointwise_jacobians(
    function: Callable[[Parameters, Array], Array], parameters: Parameters, x: Array
) -> tuple[Array, Array]:
    """Derivatives of a function that acts on each cell alone.

    Args:
      function: (parameters, [C]) -> [K] at one cell.
      parameters: a pytree with Q numbers in all.
      x: state [C, *space].

    Returns:
      By the state [K, C, *space], and by the parameters [K, Q, *space].
    """
    space = x.shape[1:]
    cells = x.reshape(x.shape[0], -1)
    jacobian = jax.vmap(jax.jacrev(function, (0, 1)), (None, 1), -1)
    by_leaf, by_state = jacobian(parameters, cells)
    outputs = by_state.shape[0]
    by_parameters = jnp.concatenate(
        [leaf.reshape(outputs, -1, cells.shape[1]) for leaf in jax.tree.leaves(by_leaf)], axis=1
    )
    # Without the barrier XLA computes these again for every sensitivity that reads them.
    by_state, by_parameters = jax.lax.optimization_barrier((by_state, by_parameters))
    return (
        by_state.reshape(by_state.shape[:2] + space),
        by_parameters.reshape(by_parameters.shape[:2] + space),
    )


def apply_pointwise(jacobian: Array, s: Changes) -> Changes:
    """Applies a Jacobian [K, C, *space] to changes of C channels, at each cell: K channels.

    Written as sums over the few channels: as a batched matrix product of tiny matrices, the same
    is several times slower on a CPU.
    """
    return tuple(
        sum(factor * change for factor, change in zip(row, s, strict=True)) for row in jacobian
    )
