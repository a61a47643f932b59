"""Reaction terms: what happens at a cell depends on the species at that cell alone.

Several may be added up: "polynomial+network" is two terms, and a stable one has `CubicDamping` too.
"""

from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from diffpattern.errors import InputError
from diffpattern.grid.forcing import UNFORCED, Forcing
from diffpattern.models import monomials
from diffpattern.models.constraints import Family, family
from diffpattern.models.state_network import StateNetwork, positive
from diffpattern.models.term import (
    Changes,
    Channels,
    Parameters,
    Term,
    apply_pointwise,
    chosen,
    environment,
    onto,
    per_cell,
    pointwise_jacobians,
)


class Reaction(Term):
    """What all reactions share: their variation at a cell.

    Example:
      >>> class Logistic(Reaction):
      ...     @nn.compact
      ...     def __call__(self, x, forcing=UNFORCED):
      ...         return self.param("rate", nn.initializers.ones, ()) * x * (1 - x)
      ...
      >>> x, change = jnp.full((1, 4), 0.25), (jnp.ones((1, 4)),)
      >>> (by_state,), (by_rate,) = Logistic().variation({"rate": jnp.array(2.0)}, x, change)
      >>> by_state[0, 0].item(), by_rate[0, 0].item()
      (1.0, 0.1875)
    """

    def variation(
        self, parameters: Parameters, x: Array, s: Changes, forcing: Forcing = UNFORCED
    ) -> tuple[Changes, Changes]:
        """See `Term`."""
        at_cell = lambda parameters, cell, forcing: self.apply(
            {"params": parameters}, cell, forcing
        )
        by_state, by_parameters = pointwise_jacobians(at_cell, parameters, x, forcing)
        return apply_pointwise(by_state, s), tuple(by_parameters)


class PolynomialReaction(Reaction):
    """R_c = sum_m K[c, m] m(x), linear in all monomials m up to an order.

    With `position`, K is K0 + sum_e K_e times the given field e at the cell. Of order 0 that is a
    source with the shape of the given fields.

    Attributes:
      order: highest total degree of the monomials.
      constraints: what is known of the coefficients (see `models.constraints`). With `position`
        the equalities hold for K0 and all K_e, so everywhere, and so do the signs, which keep
        their meaning where the given fields are not negative.
      species: names that the constraints use.
      position: whether the coefficients depend on the given fields (`Forcing.environment`).

    Raises:
      InputError: when called, if the constraints' species are not one for each channel.

    Example:
      >>> reaction = PolynomialReaction(order=2)
      >>> parameters = reaction.init(jax.random.key(0), jnp.ones((1, 4)))["params"]
      >>> parameters["coefficients"] = jnp.array([[1.0, 0.0, -0.5]])  # of 1, u, u^2
      >>> reaction.apply({"params": parameters}, jnp.array([[0.0, 1.0, 2.0, 4.0]])).tolist()
      [[1.0, 0.5, -1.0, -7.0]]
    """

    order: int = 3
    constraints: tuple[str, ...] = ()
    species: tuple[str, ...] = ()
    position: bool = False

    @nn.compact
    def __call__(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """See `Term`."""
        if self.constraints and len(self.species) != len(x):
            raise InputError(
                f"species are {self.species!r}, but constraints on the coefficients of "
                f"{len(x)} channels need a name for each."
            )
        powers = monomials.exponents(len(x), 0, self.order)
        shape = (self._family().size,) if self.constraints else (len(x), len(powers))
        zeros = nn.initializers.zeros_init()
        free = self.param("free" if self.constraints else "coefficients", zeros, shape)
        values = monomials.evaluate(x, powers)
        total = jnp.tensordot(self._table(free), values, axes=1)
        if self.position:
            fields = environment(forcing)
            by_field = self.param("by_field", zeros, (len(fields),) + shape)
            for field, table in zip(fields, self._table(by_field), strict=True):
                total = total + field * jnp.tensordot(table, values, axes=1)
        return total

    def coefficients(self, parameters: Parameters) -> Array:
        """K [C, M] of this term's parameters; K0 where it depends on position.

        Example:
          >>> reaction = PolynomialReaction(order=2)
          >>> parameters = reaction.init(jax.random.key(0), jnp.ones((2, 4)))["params"]
          >>> reaction.coefficients(parameters).shape  # of 1, u, v, u^2, u v, v^2 for u and for v
          (2, 6)
        """
        return self._table(parameters["free" if self.constraints else "coefficients"])

    def lower_bounds(self, parameters: Parameters) -> Parameters:
        """See `Term`."""
        if not self.constraints:
            return super().lower_bounds(parameters)
        bound = jnp.where(self._family().bounded, 0.0, -jnp.inf)
        return jax.tree.map(lambda leaf: jnp.broadcast_to(bound, leaf.shape), parameters)

    def _family(self) -> Family:
        powers = monomials.exponents(len(self.species), 0, self.order)
        return family(tuple(self.constraints), tuple(self.species), powers)

    def _table(self, free: Array) -> Array:
        return self._family()(free) if self.constraints else free


class NetworkReaction(Reaction):
    """R = MLP(whitened monomials of x), the same at each cell.

    Attributes:
      network: the MLP.
      channels: those that react; None: all.

    Example:
      >>> reaction = NetworkReaction(network)
      >>> slope, variables = reaction.init_with_output(jax.random.key(0), jnp.ones((2, 4, 4)))
      >>> slope.shape
      (2, 4, 4)
    """

    network: StateNetwork
    channels: Channels = None

    @nn.compact
    def __call__(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """See `Term`."""
        rates = self.network(x, forcing, len(chosen(self.channels, len(x))))
        return onto(rates, self.channels, len(x))


class SplitReaction(Reaction):
    """R_c = production_c(x) - x_c decay_c(x), both of a network and never negative.

    Species that start non-negative stay so, since at zero nothing is left to decay.

    Attributes:
      network: an MLP with an output for each production and each decay, through softplus.
      initial: production (in x per time) and decay (per time) where the MLP is zero, as it nearly
        is at first.
      channels: those that react; None: all.

    Example:
      >>> reaction = SplitReaction(network)
      >>> x = jnp.zeros((2, 4, 4))
      >>> slope, variables = reaction.init_with_output(jax.random.key(0), x)
      >>> bool((slope >= 0).all())  # nothing falls below zero
      True
    """

    network: StateNetwork
    initial: float = 0.01
    channels: Channels = None

    @nn.compact
    def __call__(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """See `Term`."""
        acting = chosen(self.channels, len(x))
        rates = positive(self.network(x, forcing, 2 * len(acting)), self.initial)
        production, decay = jnp.split(rates, 2)
        reacting = x if self.channels is None else x[jnp.asarray(acting)]
        return onto(production - reacting * decay, self.channels, len(x))


class CubicDamping(Reaction):
    """R_c = -s_c x_c^3 with s_c >= 0: what keeps a learnt reaction from growing without end.

    Attributes:
      initial: first s of every channel, in 1 / (x^2 time).

    Example:
      >>> damping = CubicDamping(initial=0.5)
      >>> variables = damping.init(jax.random.key(0), jnp.ones((1, 3)))
      >>> damping.apply(variables, jnp.array([[-1.0, 1.0, 2.0]])).tolist()
      [[0.5, -0.5, -4.0]]
    """

    non_negative: ClassVar[tuple[str, ...]] = ("coefficient",)

    initial: float = 0.0

    @nn.compact
    def __call__(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """See `Term`."""
        del forcing
        start = nn.initializers.constant(self.initial)
        coefficient = self.param("coefficient", start, (len(x),))
        return -per_cell(coefficient, x) * x**3

    def readings(self, parameters: Parameters, species: Sequence[str]) -> dict[str, Array]:
        """See `Term`: s of each channel."""
        numbers = zip(species, parameters["coefficient"], strict=True)
        return {f"cubic damping of {name}": number for name, number in numbers}
