"""Where a rule acts: what becomes of the mask that the data give, before the rule meets it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Grid

# First value of a trainable mask: nearly all, with a slope left to learn by.
_FIRST_LOGIT = 2.0


class GivenMask(nn.Module):
    """The data's own: the state is zero outside, and no flux of a PDE passes the edge."""

    grid: Grid

    def __call__(self, forcing: Forcing) -> Forcing:
        """The forcing as it is."""
        return forcing


class SoftMask(nn.Module):
    """The data's mask is seen, as one more field of the environment, and binds nobody."""

    grid: Grid

    def __call__(self, forcing: Forcing) -> Forcing:
        """The forcing without a mask, which is the last field of its environment."""
        if forcing.mask is None:
            return forcing
        seen = forcing.mask[None]
        if forcing.environment is not None:
            seen = jnp.concatenate([forcing.environment, seen])
        return forcing.replace(mask=None, environment=seen)


class TrainableMask(nn.Module):
    """m = sigmoid(parameters), one for all trajectories, times the data's where they have one.

    Lattices of other sizes have other parameters, which are named by their size.

    The state is multiplied by m, and fluxes through a face by the m of both its cells.
    """

    grid: Grid

    def setup(self):
        """Makes the parameters, one for each cell."""
        start = nn.initializers.constant(_FIRST_LOGIT)
        size = "x".join(map(str, self.grid.shape))
        self.logits = self.param(f"logits_{size}", start, self.grid.shape)

    def __call__(self, forcing: Forcing) -> Forcing:
        """The forcing with this mask."""
        own = self.coverage()
        return forcing.replace(mask=own if forcing.mask is None else own * forcing.mask)

    def coverage(self) -> Array:
        """m, [*space]."""
        return jax.nn.sigmoid(self.logits)


MASKS: dict[str, type[nn.Module]] = {
    "given": GivenMask,
    "soft": SoftMask,
    "trainable": TrainableMask,
}
