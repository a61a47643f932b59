"""Chemotaxis: cells that climb the gradient of a signal that they make themselves.

    d cells/dt = cell_diffusion lap cells - div(mobility grad signal) + growth cells (1 - cells)
    d signal/dt = signal_diffusion lap signal + production - signal

The models differ in the cells' mobility, a function of cells and signal, and in the production of
the signal, a function of the cells. Without growth the cells are conserved, by fluxes between
neighbouring lattice cells. Densities are in units of the cells' carrying capacity, times in units
of the signal's lifetime.
"""

import abc
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import jax.numpy as jnp
from jax import Array

from diffpattern.grid.fluxes import flux_divergence
from diffpattern.grid.geometry import Grid
from diffpattern.systems.system import Recommended, System

# Of a lattice, or of one state that is alike everywhere.
Amount = TypeVar("Amount", Array, float)


class _Chemotaxis(System):
    cell_diffusion: float
    signal_diffusion: float
    growth: float

    species: ClassVar = ("cells", "signal")
    fluctuation: ClassVar = (0.1, 0.0)

    @abc.abstractmethod
    def mobility(self, cells: Array, signal: Array) -> Array:
        """Flux of cells for a unit gradient of the signal."""

    @abc.abstractmethod
    def production(self, cells: Amount) -> Amount:
        """Of signal by cells, per unit of time."""

    @property
    def linear_coefficients(self):
        """See `System`."""
        return (self.growth, self.cell_diffusion), (-1.0, self.signal_diffusion)

    @property
    def rest(self):
        """See `System`."""
        return 1.0, self.production(1.0)

    def remainder(self, x: Array, grid: Grid, laplacian: str = "cross") -> Array:
        """See `System`."""
        cells, signal = x
        of_signal = grid.for_channels((1,))
        climbing = flux_divergence(self.mobility(cells, signal)[None], x[1:], of_signal)[0]
        return jnp.stack([-climbing - self.growth * cells * cells, self.production(cells)])


@dataclass(frozen=True)
class KellerSegel(_Chemotaxis):
    """Keller-Segel chemotaxis with growing cells; peaks that merge and arise anew.

        d cells/dt = cell_diffusion lap cells - sensitivity div(cells grad signal)
                     + growth cells (1 - cells)
        d signal/dt = signal_diffusion lap signal + cells - signal

    With a signal_diffusion of 1, the uniform state is unstable for
    sensitivity > (sqrt(cell_diffusion) + sqrt(growth))^2. Without growth this is the minimal model,
    in which, in two dimensions and more, enough cells collapse onto a point in finite time.

    Attributes:
      cell_diffusion: length squared per unit of time.
      signal_diffusion: length squared per unit of time.
      sensitivity: of cells to the signal's gradient, length squared per signal and unit of time.
      growth: of cells, per unit of time.

    Source: Keller and Segel (1970); with growth, Painter and Hillen (2011).

    Example:
      >>> KellerSegel(sensitivity=2.0).rest
      (1.0, 1.0)
    """

    cell_diffusion: float = 1.0
    signal_diffusion: float = 1.0
    sensitivity: float = 3.5
    growth: float = 0.5

    name: ClassVar = "keller_segel"
    citation: ClassVar = (
        "Keller and Segel (1970), Initiation of slime mold aggregation viewed as an instability, "
        "J. Theor. Biol. 26, 399; Painter and Hillen (2011), Spatio-temporal chaos in a chemotaxis "
        "model, Physica D 240, 363."
    )
    recommended: ClassVar = Recommended(dt=0.05, interval=1.0, end_time=64.0, spacing=0.5)

    def mobility(self, cells: Array, signal: Array) -> Array:
        """See the equation.

        Example:
          >>> KellerSegel(sensitivity=2.0).mobility(0.5, 1.0)
          1.0
        """
        return self.sensitivity * cells

    def production(self, cells: Amount) -> Amount:
        """See the equation.

        Example:
          >>> KellerSegel().production(0.5)
          0.5
        """
        return cells


@dataclass(frozen=True)
class HillenPainter(_Chemotaxis):
    """Hillen-Painter chemotaxis, in which crowded cells have no place to go to (volume filling).

        d cells/dt = cell_diffusion lap cells - div(mobility grad signal) + growth cells (1 - cells)
        mobility = sensitivity cells (1 - cells / crowding) / (1 + receptor_saturation signal)^2
        d signal/dt = signal_diffusion lap signal + cells / (1 + production_saturation cells)
                      - signal

    Cells never become denser than `crowding`, so nothing collapses.

    Attributes:
      cell_diffusion: length squared per unit of time.
      signal_diffusion: length squared per unit of time.
      sensitivity: of cells to the signal's gradient, length squared per signal and unit of time.
      crowding: density at which cells cannot move.
      receptor_saturation: how a strong signal dulls its perception, per signal.
      production_saturation: how dense cells make less signal each, per cells.
      growth: of cells, per unit of time.

    Source: Painter and Hillen (2002); with saturation, Hillen and Painter (2009), whose combined
    model with linear diffusion it is.

    Example:
      >>> HillenPainter().rest
      (1.0, 0.5)
    """

    cell_diffusion: float = 0.2
    signal_diffusion: float = 1.0
    sensitivity: float = 5.0
    crowding: float = 10.0
    receptor_saturation: float = 0.5
    production_saturation: float = 1.0
    growth: float = 0.1

    name: ClassVar = "hillen_painter"
    citation: ClassVar = (
        "Hillen and Painter (2009), A user's guide to PDE models for chemotaxis, "
        "J. Math. Biol. 58, 183."
    )
    recommended: ClassVar = Recommended(dt=0.05, interval=1.0, end_time=64.0, spacing=0.5)
    positive: ClassVar = ("crowding",)

    def mobility(self, cells: Array, signal: Array) -> Array:
        """See the equation.

        Example:
          >>> HillenPainter(crowding=2.0).mobility(2.0, 1.0)  # as crowded as can be
          0.0
        """
        room = 1.0 - cells / self.crowding
        return self.sensitivity * cells * room / (1.0 + self.receptor_saturation * signal) ** 2

    def production(self, cells: Amount) -> Amount:
        """See the equation.

        Example:
          >>> HillenPainter().production(1.0)
          0.5
        """
        return cells / (1.0 + self.production_saturation * cells)
