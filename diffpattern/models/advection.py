"""Advection terms: what is carried along by a velocity of its own making."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from diffpattern.grid import fluxes
from diffpattern.grid.geometry import Grid
from diffpattern.models.monomials import Whitening
from diffpattern.models.networks import PointwiseNetwork
from diffpattern.models.term import Changes, Parameters, Term, apply_pointwise, pointwise_jacobians


class NetworkAdvection(Term):
    """-div(V(x) x), V = MLP(whitened species): a velocity for each channel and axis at each cell.

    Attributes:
      grid: where x lives.
      whitening: of the species, by statistics of the training data.
      scheme: of the divergence, "central" or "upwind".
      hidden: units of each hidden layer.
      activation: name of a flax.linen activation.
      last_scale: factor on the last layer's first weights.
    """

    grid: Grid
    whitening: Whitening
    scheme: str = "central"
    hidden: tuple[int, ...] = (16,)
    activation: str = "tanh"
    last_scale: float = 0.01

    @nn.compact
    def velocity(self, x: Array) -> Array:
        """V [C, ndim, ...] for the state x [C, ...], in length per time."""
        features = x.shape[0] * self.grid.ndim
        network = PointwiseNetwork(self.hidden, features, self.activation, self.last_scale)
        return network(self.whitening(x)).reshape((x.shape[0], self.grid.ndim) + x.shape[1:])

    def __call__(self, x: Array) -> Array:
        """See `Term`."""
        return self._carry(x, self.velocity(x))

    def variation(self, parameters: Parameters, x: Array, s: Changes) -> tuple[Changes, Changes]:
        """See `Term`."""
        velocity = lambda parameters, x: self.apply({"params": parameters}, x, method="velocity")
        by_state, by_parameters = pointwise_jacobians(
            lambda parameters, cell: velocity(parameters, cell).reshape(-1), parameters, x
        )
        v = velocity(parameters, x)

        def answer(dx, dv):
            return tuple(jax.jvp(self._carry, (x, v), (dx, dv.reshape(v.shape)))[1])

        responses = jax.vmap(answer)(
            jnp.stack(s, axis=1), jnp.stack(apply_pointwise(by_state, s), axis=1)
        )
        still = jnp.zeros_like(x)
        return responses, jax.vmap(answer, (None, 1))(still, by_parameters)

    def _carry(self, x: Array, velocity: Array) -> Array:
        return -fluxes.advection(x, velocity, self.grid, scheme=self.scheme)
