"""What every known PDE is: a linear part that is a polynomial in the Laplacian, and a remainder.

The split is said once for each system, and everything else follows from it: the right-hand side
that explicit solvers take, the rates that a spectral solver treats exactly, and how fast the
fastest wave decays, which bounds an explicit step.
"""

import abc
import functools
import math
import numbers
import operator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.grid.stencils import laplacian as discrete_laplacian
from diffpattern.systems.starts import random_waves

Rates = TypeVar("Rates", Array, np.ndarray)

# Units of length: the shortest wave of a start, long enough for lattices with a spacing of up to 2.
_SHORTEST_WAVE = 4.0


@dataclass(frozen=True)
class Recommended:
    """How a system is best simulated with its default parameters, so that patterns form.

    The fields are those of `diffpattern.data.simulation.Simulation` with the same names.

    Example:
      >>> Recommended(dt=1.0, interval=16.0, end_time=1024.0).shape
      (64, 64)
    """

    dt: float
    interval: float
    end_time: float
    shape: tuple[int, ...] = (64, 64)
    spacing: float = 1.0
    boundary: str = "circular"
    laplacian: str = "isotropic"
    solver: str = "heun"


@dataclass(frozen=True)
class System(abc.ABC):
    """A PDE, and the starts from which it is usually run.

        dx_c/dt = sum_n r_cn lap^n x_c + remainder_c(x)

    A subclass is a frozen dataclass of its parameters, hashable and comparable. The discretisation
    (lattice, boundary, stencil) is an argument of its functions, never a property of it.

    Attributes:
      name: under which configs and files know it.
      species: names of its C fields.
      citation: the paper that it is known from.
      recommended: settings that show its patterns.
      fluctuation: standard deviation of each species' noise in a start.
      signed: parameters that may be negative.
      positive: parameters that may not be zero either.

    Raises:
      InputError: for a parameter that is not finite or out of its range.

    Example:
      >>> from diffpattern.systems import SYSTEMS
      >>> system = SYSTEMS["gray_scott"](alpha=0.055)
      >>> system.species, system.rest, system.linear_coefficients
      (('A', 'B'), (1.0, 0.0), ((-0.055, 0.1), (-0.11768, 0.05)))
      >>> SYSTEMS["gray_scott"](alpha=-1)
      Traceback (most recent call last):
          ...
      diffpattern.errors.InputError: alpha is -1, but must be finite and not negative.
    """

    name: ClassVar[str]
    species: ClassVar[tuple[str, ...]]
    citation: ClassVar[str] = ""
    recommended: ClassVar[Recommended]
    fluctuation: ClassVar[tuple[float, ...]]
    signed: ClassVar[tuple[str, ...]] = ()
    positive: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self):
        for name, value in vars(self).items():
            if not isinstance(value, numbers.Real) or isinstance(value, bool):
                raise InputError(f"{name} is {value!r}, but must be a number.")
            number = float(value)
            if name in self.signed:
                fits, range_ = True, ""
            elif name in self.positive:
                fits, range_ = number > 0, " and positive"
            else:
                fits, range_ = number >= 0, " and not negative"
            if not (fits and math.isfinite(number)):
                raise InputError(f"{name} is {value!r}, but must be finite{range_}.")
            object.__setattr__(self, name, number)

    @property
    @abc.abstractmethod
    def linear_coefficients(self) -> tuple[tuple[float, ...], ...]:
        """For each species r_c0, r_c1, ...: of the species itself, of its Laplacian, and so on.

        They end with the order of its equation, whose highest coefficient may be zero.
        """

    @property
    def rest(self) -> tuple[float, ...]:
        """A uniform state that does not change, one number for each species; zeros by default."""
        return (0.0,) * len(self.species)

    @abc.abstractmethod
    def remainder(self, x: Array, grid: Grid, laplacian: str = "cross") -> Array:
        """What the linear part leaves of dx/dt; arguments and result as in `right_hand_side`.

        Example:
          >>> from diffpattern.systems import SYSTEMS
          >>> SYSTEMS["allen_cahn"]().remainder(jnp.full((1, 4), 0.5), Grid(4)).tolist()  # -u^3
          [[-0.125, -0.125, -0.125, -0.125]]
        """

    def check(self, grid: Grid) -> None:  # noqa: B027 (most systems run on every lattice)
        """Raises InputError for a lattice on which the system has no meaning.

        Example:
          >>> from diffpattern.systems import SYSTEMS
          >>> SYSTEMS["navier_stokes"]().check(Grid((8, 8)))
          >>> SYSTEMS["navier_stokes"]().check(Grid((8, 8), boundary="symmetric"))
          Traceback (most recent call last):
              ...
          diffpattern.errors.InputError: data.boundary is symmetric, symmetric, but ...
        """

    def right_hand_side(self, x: Array, grid: Grid, laplacian: str = "cross") -> Array:
        """The time derivative of every species.

        Args:
          x: lattice, [C, *space].
          grid: spacing and boundaries of the lattice.
          laplacian: name of the stencil, see `diffpattern.grid.stencils.laplacian`; its square
            stands for the bi-Laplacian. What a wall gives is the state's, not that of the potential
            r_c1 x_c + r_c2 lap x_c whose Laplacian an equation of fourth order takes: that goes on
            as a coefficient does, so that it carries nothing through.

        Returns:
          dx/dt, like `x`.

        Example:
          >>> from diffpattern.systems import SYSTEMS
          >>> system = SYSTEMS["gray_scott"]()
          >>> at_rest = jnp.stack([jnp.ones((8, 8)), jnp.zeros((8, 8))])
          >>> float(jnp.abs(system.right_hand_side(at_rest, Grid((8, 8)))).max())
          0.0
        """
        columns = self._columns()
        orders = np.array([len(row) - 1 for row in self.linear_coefficients])

        def share(order: int, which: np.ndarray, of: Array) -> Array:
            column = jnp.asarray(np.where(which, columns[order], 0.0), x.dtype)
            return column.reshape(-1, *(1,) * grid.ndim) * of

        curvature = discrete_laplacian(x, grid, laplacian) if orders.max() else x
        linear = jnp.zeros_like(x)
        for order in range(orders.max(), 0, -1):  # from what stands under the most Laplacians
            potential = linear + share(order, orders > order, x)
            linear = share(order, orders == order, curvature)
            if (orders > order).any():
                around = grid.for_coefficients()
                linear = linear + discrete_laplacian(potential, around, laplacian)
        return self.remainder(x, grid, laplacian) + linear + share(0, orders >= 0, x)

    def linear_rates(self, eigenvalue: Rates) -> Rates:
        """Rates, per unit of time, at which the linear part alone multiplies each wave.

        Args:
          eigenvalue: of the Laplacian, not positive, [*frequencies].

        Returns:
          [C, *frequencies], an array of numpy or of JAX as the eigenvalue is.

        Example:
          >>> from diffpattern.systems import SYSTEMS
          >>> SYSTEMS["cahn_hilliard"]().linear_rates(np.array([0.0, -0.5, -1.0])).tolist()
          [[0.0, 0.25, 0.0]]
        """
        powers: list[Any] = [
            column.reshape(-1, *(1,) * jnp.ndim(eigenvalue)) * eigenvalue**order
            for order, column in enumerate(self._columns())
        ]
        return functools.reduce(operator.add, powers)

    def fastest_decay(self, wavenumber_squared: float) -> float:
        """Rate at which the linear terms damp a small wave; it bounds the step of explicit solvers.

        Args:
          wavenumber_squared: minus the Laplacian's eigenvalue of this wave.

        Example:
          >>> from diffpattern.systems import SYSTEMS
          >>> round(SYSTEMS["gray_scott"]().fastest_decay(8.0), 4)
          0.8623
        """
        return float(-np.min(self.linear_rates(np.asarray(-wavenumber_squared))))

    def start(self, key: Array, grid: Grid) -> Array:
        """The state of rest with smooth noise on it, [C, *space].

        Args:
          key: random key: one key, one field, on every lattice over the same box.
          grid: the lattice.

        Example:
          >>> from diffpattern.systems import SYSTEMS
          >>> SYSTEMS["schnakenberg"]().start(jax.random.key(0), Grid((8, 8))).shape
          (2, 8, 8)
        """
        self.check(grid)
        column = (-1, *(1,) * grid.ndim)
        noise = random_waves(key, grid, len(self.species), shortest=_SHORTEST_WAVE)
        rest, fluctuation = (
            np.reshape(np.asarray(values, noise.dtype), column)
            for values in (self.rest, self.fluctuation)
        )
        return rest + fluctuation * noise

    def _columns(self) -> list[np.ndarray]:
        """The coefficients of each power of the Laplacian, [C] each, of all species."""
        highest = max(map(len, self.linear_coefficients))
        rows = [(*row, *(0.0,) * (highest - len(row))) for row in self.linear_coefficients]
        return list(np.array(rows).T)
