"""Reaction terms: what happens at a cell depends on the species at that cell alone."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from diffpattern.models import monomials
from diffpattern.models.networks import PointwiseNetwork
from diffpattern.models.term import Changes, Parameters, Term, apply_pointwise, pointwise_jacobians


class Reaction(Term):
    """What all reactions share: their variation at a cell."""

    def variation(self, parameters: Parameters, x: Array, s: Changes) -> tuple[Changes, Changes]:
        """See `Term`."""
        at_cell = lambda parameters, cell: self.apply({"params": parameters}, cell)
        by_state, by_parameters = pointwise_jacobians(at_cell, parameters, x)
        return apply_pointwise(by_state, s), tuple(by_parameters)


class PolynomialReaction(Reaction):
    """R_c = sum_m K[c, m] m(x), linear in all monomials m up to an order.

    Attributes:
      order: highest total degree of the monomials.
    """

    order: int = 3

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """See `Term`."""
        powers = monomials.exponents(x.shape[0], 0, self.order)
        shape = (x.shape[0], len(powers))
        coefficients = self.param("coefficients", nn.initializers.zeros_init(), shape)
        return jnp.tensordot(coefficients, monomials.evaluate(x, powers), axes=1)


class NetworkReaction(Reaction):
    """R = MLP(whitened monomials of x), the same at each cell.

    Attributes:
      order: highest total degree of the monomials that it sees; 1 is the species alone.
      whitening: of those monomials, by statistics of the training data.
      hidden: units of each hidden layer.
      activation: name of a flax.linen activation.
      last_scale: factor on the last layer's first weights.
    """

    order: int
    whitening: monomials.Whitening
    hidden: tuple[int, ...] = (16,)
    activation: str = "tanh"
    last_scale: float = 0.01

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """See `Term`."""
        powers = monomials.exponents(x.shape[0], 1, self.order)
        inputs = self.whitening(monomials.evaluate(x, powers))
        return PointwiseNetwork(self.hidden, x.shape[0], self.activation, self.last_scale)(inputs)
