"""Pruning: the smallest weights of kernels are set to zero during training, and stay there.

The share that is pruned rises from 0 at the first step t_0 to the target s at the last step t_1,
fast at first, when many weights are superfluous, and slowly at the end:

    s_t = s (1 - (1 - (t - t_0) / (t_1 - t_0))^3)

Each array is ranked by itself: how large weights are differs from layer to layer and from term to
term, and one threshold for all would take whole layers out first.

Source: Zhu and Gupta, "To prune, or not to prune" (2017).
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from diffpattern.errors import InputError
from diffpattern.training import groups

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Pruning:
    """How many of the weights are pruned, and when.

    Attributes:
      sparsity: share of each kernel that is zero in the end; 0 prunes nothing.
      first_step: t_0, until which nothing is pruned.
      last_step: t_1, from which on the sparsity is reached.
    """

    sparsity: float
    first_step: int
    last_step: int

    def share(self, step: int | Array) -> Array:
        """The share of each kernel that is zero after `step` steps."""
        left = (self.last_step - step) / (self.last_step - self.first_step)
        return self.sparsity * (1 - jnp.clip(left, 0.0, 1.0) ** 3)

    def kernels(self, parameters: PyTree, frozen: PyTree) -> PyTree:
        """Which arrays are pruned: kernels that are not frozen, but no biases or coefficients.

        Args:
          parameters: arrays, or their shapes.
          frozen: whether each is.

        Returns:
          A pytree of booleans.

        Raises:
          InputError: there is no such array, or the schedule ends before it begins.
        """
        if self.last_step <= self.first_step:
            raise InputError(
                f"optimiser.optax.pruning.last_step is {self.last_step}; it must be after the "
                f"first_step ({self.first_step})."
            )
        pruned = jax.tree.map(
            lambda path, still: path.rpartition("/")[2] == "kernel" and not still,
            groups.paths(parameters),
            frozen,
        )
        if not any(jax.tree.leaves(pruned)):
            raise InputError(
                f"optimiser.optax.pruning.sparsity is {self.sparsity}, but the rule has no kernel "
                "of a network that is trained; set it to 0."
            )
        return pruned


class Pruned(NamedTuple):
    """The state of an optimiser that prunes.

    Attributes:
      count: how many updates were made.
      kept: False where a weight is pruned; a single True for an array that is never pruned.
      inner_state: of the optimiser within.
    """

    count: Array
    kept: PyTree
    inner_state: Any


def prune(
    inner: optax.GradientTransformation, pruning: Pruning, kernels: PyTree
) -> optax.GradientTransformationExtraArgs:
    """An optimiser whose updates leave pruned weights at zero.

    The optimiser within sees no gradient of pruned weights.

    Args:
      inner: the optimiser within.
      pruning: how many are pruned, and when.
      kernels: which arrays, see `Pruning.kernels`.
    """
    inner = optax.with_extra_args_support(inner)

    def init(parameters):
        kept = jax.tree.map(
            lambda pruned, x: jnp.ones(x.shape if pruned else (), bool), kernels, parameters
        )
        return Pruned(jnp.int32(0), kept, inner.init(parameters))

    def update(gradient, state, parameters, **further):
        if "value_fn" in further:
            of_all = further["value_fn"]
            further["value_fn"] = lambda trial: of_all(zeroed(trial, state.kept))
        updates, inner_state = inner.update(
            zeroed(gradient, state.kept), state.inner_state, parameters, **further
        )
        count = optax.safe_increment(state.count)
        share = pruning.share(count)

        def keep(pruned, kept, x, update):
            return _keep_largest(kept, x + update, share) if pruned else kept

        kept = jax.tree.map(keep, kernels, state.kept, parameters, updates)
        # x - x is zero to the last bit.
        updates = jax.tree.map(
            lambda kept, x, update: jnp.where(kept, update, -x), kept, parameters, updates
        )
        return updates, Pruned(count, kept, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def zeroed(tree: PyTree, kept: PyTree) -> PyTree:
    """Parameters, or something like them, with zeros where weights are pruned."""
    return jax.tree.map(lambda kept, x: jnp.where(kept, x, 0.0), kept, tree)


def _keep_largest(kept: Array, weights: Array, share: Array) -> Array:
    """Which weights are left if so large a share of them goes; what went before stays away."""
    magnitudes = jnp.where(kept, jnp.abs(weights), -1.0).reshape(-1)
    rank = jnp.argsort(jnp.argsort(magnitudes)).reshape(weights.shape)
    return kept & (rank >= jnp.round(share * weights.size))
