"""Phase fields: matter that flows down its own chemical potential, uphill where that unmixes."""

from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from diffpattern.grid import stencils
from diffpattern.grid.forcing import UNFORCED, Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.models import monomials
from diffpattern.models.state_network import StateNetwork
from diffpattern.models.term import Channels, Parameters, Transport, chosen, onto, per_cell


class PhaseField(Transport):
    """lap(mu_c(x)) - kappa_c lap lap x_c, with mu of either sign and kappa >= 0.

    With mu = x^3 - x it is the equation of Cahn and Hilliard, J. Chem. Phys. 28, 258 (1958). Where
    mu falls with x, matter flows uphill, which no non-negative diffusion can do, and kappa is what
    keeps short waves from growing: an Euler step with the cross Laplacian must stay below
    spacing^4 / (8 axes^2 kappa), one by the spectral solver need not.

    Conserves x on a torus, between symmetric walls and inside a mask.

    Attributes:
      grid: where x lives.
      network: an MLP with an output for each channel, mu; None: mu is a polynomial, whose
        coefficients start at zero.
      order: highest degree of the polynomial.
      laplacian: name of the stencil.
      initial: first kappa of every channel, in length^4 per time.
      channels: those that are phase fields; None: all.

    Example:
      >>> field = PhaseField(Grid(4), laplacian="cross")
      >>> coefficients = jnp.array([[-1.0, 0.0, 1.0]])  # of u, u^2, u^3
      >>> variables = {"params": {"coefficients": coefficients, "kappa": jnp.zeros(1)}}
      >>> field.apply(variables, jnp.array([[0.0, 0.5, 0.0, 0.0]])).tolist()  # uphill
      [[-0.375, 0.75, -0.375, 0.0]]
    """

    non_negative: ClassVar[tuple[str, ...]] = ("kappa",)

    grid: Grid
    network: StateNetwork | None = None
    order: int = 3
    laplacian: str = "oono_puri"
    initial: float = 0.05
    channels: Channels = None

    @nn.compact
    def quantities(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """mu [C, ...] in x length^2 per time, then kappa [C, ...]; zero where there is none."""
        count = len(chosen(self.channels, len(x)))
        # A constant potential moves nothing, so neither form of it has a constant.
        if self.network is not None:
            potential = self.network(x, forcing, count, last_bias=False)
        else:
            powers = monomials.exponents(len(x), 1, self.order)
            shape = (count, len(powers))
            coefficients = self.param("coefficients", nn.initializers.zeros_init(), shape)
            potential = jnp.tensordot(coefficients, monomials.evaluate(x, powers), axes=1)
        kappa = self.param("kappa", nn.initializers.constant(self.initial), (count,))
        both = (onto(values, self.channels, len(x)) for values in (potential, per_cell(kappa, x)))
        return jnp.concatenate(list(both))

    def transport(self, x: Array, quantities: Array, forcing: Forcing = UNFORCED) -> Array:
        """See `Transport`."""
        potential, kappa = jnp.split(quantities, 2)
        curvature = stencils.laplacian(x, self.grid.under(forcing), stencil=self.laplacian)
        return self._down(potential - kappa * curvature, forcing)

    def readings(self, parameters: Parameters, species: Sequence[str]) -> dict[str, Array]:
        """See `Term`: kappa of each phase field, and the coefficients of a polynomial mu."""
        names = [species[channel] for channel in chosen(self.channels, len(species))]
        numbers = zip(names, parameters["kappa"], strict=True)
        found = {f"kappa of {name}": kappa for name, kappa in numbers}
        if self.network is None:
            terms = monomials.names(monomials.exponents(len(species), 1, self.order), species)
            for name, row in zip(names, parameters["coefficients"], strict=True):
                for term, coefficient in zip(terms, row, strict=True):
                    found[f"{term} in the potential of {name}"] = coefficient
        return found

    def spectral_rates(self, parameters: Parameters, eigenvalue: Array, count: int) -> Array:
        """See `Term`: those of -kappa lap lap."""
        kappa = onto(parameters["kappa"], self.channels, count)
        return -per_cell(kappa, eigenvalue[None]) * eigenvalue**2

    def remainder(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """See `Term`: lap(mu(x))."""
        return self._down(jnp.split(self.quantities(x, forcing), 2)[0], forcing)

    def _down(self, potential: Array, forcing: Forcing) -> Array:
        # A wall that holds the state at a value holds no potential.
        grid = self.grid.under(forcing).for_coefficients()
        return stencils.laplacian(potential, grid, stencil=self.laplacian)
