"""What a rollout remembers of each step, beside its state, when gradients are pulled back.

Everything else in a step is computed a second time (`rollout.Stepped`). A mask is worth its memory:
it is one number a cell, and takes random draws or a whole update to find again.
"""

import jax
from jax import Array
from jax.ad_checkpoint import checkpoint_name

_REMEMBERED = "remembered"

# For jax.checkpoint.
POLICY = jax.checkpoint_policies.save_only_these_names(_REMEMBERED)


def remembered(x: Array) -> Array:
    """`x`, marked as not to be computed again."""
    return checkpoint_name(x, _REMEMBERED)
