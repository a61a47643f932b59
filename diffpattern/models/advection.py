"""Advection terms: what velocities carry along, made by the state or by its gradients."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffpattern.errors import InputError
from diffpattern.grid import fluxes, stencils
from diffpattern.grid.forcing import UNFORCED, Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.models.state_network import StateNetwork
from diffpattern.models.term import Channels, Parameters, Transport, chosen, onto, per_cell


class NetworkAdvection(Transport):
    """-div(V(x) x), V of a network: a velocity for each channel and axis at each cell.

    Attributes:
      grid: where x lives.
      network: an MLP with an output for each channel and axis.
      scheme: of the divergence, "central" or "upwind".

    Example:
      >>> advection = NetworkAdvection(Grid((8, 8)), network)
      >>> slope, variables = advection.init_with_output(jax.random.key(0), jnp.ones((2, 8, 8)))
      >>> slope.shape
      (2, 8, 8)
    """

    grid: Grid
    network: StateNetwork
    scheme: str = "central"

    @nn.compact
    def quantities(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """V [C * ndim, ...], in length per time."""
        return self.network(x, forcing, len(x) * self.grid.ndim)

    def velocity(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """V [C, ndim, ...] for the state x [C, ...], in length per time.

        Example:
          >>> advection = NetworkAdvection(Grid((8, 8)), network)
          >>> x = jnp.ones((2, 8, 8))
          >>> variables = advection.init(jax.random.key(0), x)
          >>> advection.apply(variables, x, method="velocity").shape
          (2, 2, 8, 8)
        """
        return self.quantities(x, forcing).reshape((len(x), self.grid.ndim) + x.shape[1:])

    def transport(self, x: Array, quantities: Array, forcing: Forcing = UNFORCED) -> Array:
        """See `Transport`."""
        velocity = quantities.reshape((len(x), self.grid.ndim) + x.shape[1:])
        return -fluxes.advection(x, velocity, self.grid.under(forcing), scheme=self.scheme)


class Taxis(Transport):
    """-div(V_c x_c) with V_c = sum_j chi_cj(x) grad x_j: channels climb others, or flee them.

    With a constant chi this is the taxis of Keller and Segel, J. Theor. Biol. 30, 225 (1971), for
    each pair of channels. A channel's own gradient is left to diffusion.

    Attributes:
      grid: where x lives.
      network: an MLP with an output for each pair, chi at the cell; None: chi is constant and
        starts at zero.
      scheme: "central", where a face carries the mean of chi x times the difference across it
        (second order; needs diffusion beside it), or "upwind", the cell that the flow comes from,
        with the velocity of central gradients (first order; keeps x non-negative under the limit
        that `fluxes.advection` states).
      movers: channels that move; None: all.
      signals: channels whose gradients they feel; None: all.

    Example:
      >>> taxis = Taxis(Grid(4), movers=(0,), signals=(1,))
      >>> x = jnp.array([[1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 0.0, 0.0]])
      >>> variables = {"params": {"sensitivity": jnp.array([0.5])}}
      >>> taxis.apply(variables, x)[0, :3].tolist()  # up the signal
      [-0.5, 1.0, -0.5]
    """

    grid: Grid
    network: StateNetwork | None = None
    scheme: str = "central"
    movers: Channels = None
    signals: Channels = None

    def pairs(self, count: int) -> tuple[tuple[int, int], ...]:
        """(mover, signal) of each chi, for `count` channels.

        Raises:
          InputError: there is none.

        Example:
          >>> Taxis(Grid(4), movers=(0,)).pairs(3)
          ((0, 1), (0, 2))
          >>> Taxis(Grid(4)).pairs(1)
          Traceback (most recent call last):
              ...
          diffpattern.errors.InputError: Taxis of channels None towards None has no pair ...
        """
        pairs = tuple(
            (mover, signal)
            for mover in chosen(self.movers, count)
            for signal in chosen(self.signals, count)
            if mover != signal
        )
        if not pairs:
            raise InputError(
                f"Taxis of channels {self.movers} towards {self.signals} has no pair of two; give "
                "it channels that move and others that they feel."
            )
        return pairs

    @nn.compact
    def quantities(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """chi of each pair, [K, ...], in length^2 per time and unit of the signal."""
        count = len(self.pairs(len(x)))
        if self.network is not None:
            return self.network(x, forcing, count)
        return per_cell(self.param("sensitivity", nn.initializers.zeros_init(), (count,)), x)

    def readings(self, parameters: Parameters, species: Sequence[str]) -> dict[str, Array]:
        """See `Term`: chi of each pair."""
        if self.network is not None:
            return {}
        return {
            f"sensitivity of {species[mover]} to {species[signal]}": chi
            for (mover, signal), chi in zip(
                self.pairs(len(species)), parameters["sensitivity"], strict=True
            )
        }

    def velocity(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """V [C, ndim, ...] for the state x [C, ...], by central gradients, in length per time.

        Example:
          >>> taxis = Taxis(Grid(4), movers=(0,), signals=(1,))
          >>> x = jnp.array([[1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 0.0, 0.0]])
          >>> variables = {"params": {"sensitivity": jnp.array([0.5])}}
          >>> taxis.apply(variables, x, method="velocity")[0, 0].tolist()
          [0.25, 0.0, -0.25, 0.0]
        """
        return self._velocity(x, self.quantities(x, forcing), forcing)

    def transport(self, x: Array, quantities: Array, forcing: Forcing = UNFORCED) -> Array:
        """See `Transport`."""
        grid = self.grid.under(forcing)
        if self.scheme == "central":
            chi = self._sensitivities(x, quantities)
            return -fluxes.flux_divergence(chi * x[:, None], x[None], grid).sum(1)
        velocity = self._velocity(x, quantities, forcing)
        return -fluxes.advection(x, velocity, grid, scheme=self.scheme)

    def _sensitivities(self, x: Array, quantities: Array) -> Array:
        """chi [C, C, ...] of all pairs, zero where a channel does not feel another one."""
        movers, signals = np.array(self.pairs(len(x))).T
        empty = jnp.zeros((len(x),) * 2 + x.shape[1:], quantities.dtype)
        return empty.at[movers, signals].set(quantities)

    def _velocity(self, x: Array, quantities: Array, forcing: Forcing) -> Array:
        gradients = stencils.gradient(x, self.grid.under(forcing))
        return jnp.einsum("cj...,ja...->ca...", self._sensitivities(x, quantities), gradients)


class PotentialTaxis(Transport):
    """-div(x_c grad phi_c(x)): channels climb learnt functions of others, or flee them.

    A wall gives the state something, but no potential, which goes on beyond it without a slope: so
    nothing passes, whatever the wall and the scheme.

    Attributes:
      grid: where x lives.
      network: an MLP with an output for each channel that moves: phi, in length^2 per time, up
        which it goes. Whatever it must not follow, such as itself, its `reads` leave out.
      scheme: as in `Taxis`.
      movers: channels that move; None: all.

    Example:
      >>> taxis = PotentialTaxis(Grid((8, 8)), network, movers=(0,))
      >>> slope, variables = taxis.init_with_output(jax.random.key(0), jnp.ones((2, 8, 8)))
      >>> slope.shape, float(jnp.abs(slope).max())  # nothing to climb
      ((2, 8, 8), 0.0)
    """

    grid: Grid
    network: StateNetwork
    scheme: str = "central"
    movers: Channels = None

    @nn.compact
    def quantities(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """phi [C, ...], zero for channels that do not move."""
        # A constant potential moves nothing, hence no bias.
        moving = len(chosen(self.movers, len(x)))
        potential = self.network(x, forcing, moving, last_bias=False)
        return onto(potential, self.movers, len(x))

    def velocity(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """V [C, ndim, ...] for the state x [C, ...], by central gradients, in length per time.

        Example:
          >>> taxis = PotentialTaxis(Grid((8, 8)), network, movers=(0,))
          >>> x = jnp.ones((2, 8, 8))
          >>> variables = taxis.init(jax.random.key(0), x)
          >>> taxis.apply(variables, x, method="velocity").shape
          (2, 2, 8, 8)
        """
        return stencils.gradient(self.quantities(x, forcing), self._open_ends(forcing))

    def transport(self, x: Array, quantities: Array, forcing: Forcing = UNFORCED) -> Array:
        """See `Transport`."""
        if self.scheme == "central":
            return -fluxes.flux_divergence(x, quantities, self._open_ends(forcing))
        velocity = stencils.gradient(quantities, self._open_ends(forcing))
        closed = self.grid.under(forcing).between_mirrors()
        return -fluxes.advection(x, velocity, closed, scheme=self.scheme)

    def _open_ends(self, forcing: Forcing) -> Grid:
        # A wall that holds the state at a value holds no potential.
        return self.grid.under(forcing).for_coefficients()
