"""Networks of the state at a cell: described here, owned by the term of a PDE that takes one."""

import dataclasses
import math

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from diffpattern.errors import InputError
from diffpattern.grid.forcing import Forcing
from diffpattern.models import monomials
from diffpattern.models.networks import PointwiseNetwork
from diffpattern.models.term import Channels, chosen, environment


@dataclasses.dataclass(frozen=True)
class StateNetwork:
    """An MLP of the whitened monomials of the state, the same at each cell.

    Attributes:
      whitening: of all monomials of the species up to `order`, by statistics of the training data.
      order: highest total degree of the monomials that it sees; 1 is the species alone.
      hidden: units of each hidden layer.
      activation: name of a flax.linen activation.
      last_scale: factor on the last layer's first weights.
      initialiser: name of the layers' first weights.
      position: whether it sees the given fields too (`Forcing.environment`), as they are.
      reads: the channels that it sees.
    """

    whitening: monomials.Whitening
    order: int = 1
    hidden: tuple[int, ...] = (16,)
    activation: str = "tanh"
    last_scale: float = 0.01
    initialiser: str = "lecun_normal"
    position: bool = False
    reads: Channels = None

    def __call__(self, x: Array, forcing: Forcing, features: int, last_bias: bool = True) -> Array:
        """[features, ...] of x [C, ...], within a compact method of the module that owns it."""
        powers, whitening = self.monomials(len(x))
        inputs = whitening(monomials.evaluate(x, powers))
        if self.position:
            inputs = jnp.concatenate([inputs, environment(forcing)])
        network = PointwiseNetwork(
            self.hidden,
            features,
            self.activation,
            self.last_scale,
            self.initialiser,
            last_bias,
            name="network",
        )
        return network(inputs)

    def monomials(self, count: int) -> tuple[monomials.Exponents, monomials.Whitening]:
        """What it sees of `count` channels: exponents of the monomials, and their whitening."""
        powers = monomials.exponents(count, 1, self.order)
        if self.reads is None:
            return powers, self.whitening
        seen = chosen(self.reads, count)
        kept = tuple(
            n
            for n, row in enumerate(powers)
            if all(channel in seen for channel, power in enumerate(row) if power)
        )
        return tuple(powers[n] for n in kept), self.whitening.of(kept)


def positive(values: Array, initial: float) -> Array:
    """softplus, moved so that zero becomes `initial`.

    Raises:
      InputError: `initial` is not positive.
    """
    if not initial > 0:
        raise InputError(
            f"initial is {initial!r}, but the first value of what a network keeps above zero must "
            "be positive."
        )
    # log(exp(initial) - 1), which is `initial` itself where the exponential would overflow.
    return nn.softplus(values + (initial + math.log(-math.expm1(-initial))))
