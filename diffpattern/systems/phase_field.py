"""Phase fields: one field that falls down its free energy, by way of conservation or not."""

from dataclasses import dataclass
from typing import ClassVar

from jax import Array

from diffpattern.grid.geometry import Grid
from diffpattern.grid.stencils import laplacian as discrete_laplacian
from diffpattern.systems.system import Recommended, System


@dataclass(frozen=True)
class CahnHilliard(System):
    """Cahn-Hilliard: a mixture that demixes and coarsens; the amount of u is conserved.

        du/dt = mobility lap mu,    mu = u^3 - u - stiffness lap u

    The energy, the integral of (u^2 - 1)^2 / 4 + stiffness |grad u|^2 / 2, falls. The size of the
    domains grows like the cube root of time (Lifshitz and Slyozov). A wall that gives u a value or
    a flux gives mu none: nothing passes it, and u is conserved.

    Attributes:
      mobility: length squared per unit of time.
      stiffness: of the interface, whose width is its root, length squared.

    Source: Cahn and Hilliard (1958), Cahn (1961).

    Example:
      >>> u = jnp.array([[0.0, 0.5, 0.0, 0.0, 0.0, 0.0]])
      >>> float(CahnHilliard().right_hand_side(u, Grid(6)).sum())  # conserved
      0.0
    """

    mobility: float = 1.0
    stiffness: float = 1.0

    name: ClassVar = "cahn_hilliard"
    species: ClassVar = ("u",)
    citation: ClassVar = "Cahn (1961), On spinodal decomposition, Acta Metallurgica 9, 795."
    recommended: ClassVar = Recommended(dt=0.04, interval=4.0, end_time=256.0)
    fluctuation: ClassVar = (0.1,)

    @property
    def linear_coefficients(self):
        """See `System`."""
        return ((0.0, -self.mobility, -self.mobility * self.stiffness),)

    def remainder(self, x: Array, grid: Grid, laplacian: str = "cross") -> Array:
        """See `System`."""
        return self.mobility * discrete_laplacian(x * x * x, grid.for_coefficients(), laplacian)

    def fastest_decay(self, wavenumber_squared: float) -> float:
        """Of a small wave on a pure phase, u = 1 or -1, where it is faster than at rest."""
        return self.mobility * wavenumber_squared * (2.0 + self.stiffness * wavenumber_squared)


@dataclass(frozen=True)
class AllenCahn(System):
    """Allen-Cahn: two phases whose walls move by their curvature; nothing is conserved.

        du/dt = mobility (stiffness lap u + u - u^3)

    A straight wall, u = tanh(x / sqrt(2 stiffness)), rests; a circle of radius r shrinks with
    d(r^2)/dt = -2 mobility stiffness. The energy is that of Cahn-Hilliard.

    Attributes:
      mobility: per unit of time.
      stiffness: of the walls, whose width is its root, length squared.

    Source: Allen and Cahn (1979).

    Example:
      >>> pure = jnp.full((1, 3), -1.0)
      >>> AllenCahn().right_hand_side(pure, Grid(3)).tolist()
      [[0.0, 0.0, 0.0]]
    """

    mobility: float = 1.0
    stiffness: float = 1.0

    name: ClassVar = "allen_cahn"
    species: ClassVar = ("u",)
    citation: ClassVar = (
        "Allen and Cahn (1979), A microscopic theory for antiphase boundary motion and its "
        "application to antiphase domain coarsening, Acta Metallurgica 27, 1085."
    )
    recommended: ClassVar = Recommended(dt=0.25, interval=0.5, end_time=32.0)
    fluctuation: ClassVar = (0.1,)

    @property
    def linear_coefficients(self):
        """See `System`."""
        return ((self.mobility, self.mobility * self.stiffness),)

    def remainder(self, x: Array, grid: Grid, laplacian: str = "cross") -> Array:
        """See `System`."""
        return -self.mobility * x * x * x

    def fastest_decay(self, wavenumber_squared: float) -> float:
        """Of a small wave on a pure phase, u = 1 or -1, where it is faster than at rest."""
        return self.mobility * (2.0 + self.stiffness * wavenumber_squared)


@dataclass(frozen=True)
class SwiftHohenberg(System):
    """Swift-Hohenberg: stripes, or spots, of one wavelength.

        du/dt = growth u - (1 + lap)^2 u + asymmetry u^2 - u^3

    The flat state is unstable for growth > 0, most of all to waves of the length 2 pi.

    Attributes:
      growth: rate at which those waves grow, per unit of time.
      asymmetry: 0 for stripes; near 1 for hexagons of spots.

    Source: Swift and Hohenberg (1977). Lengths, times and amplitudes are in the equation's units.

    Example:
      >>> float(SwiftHohenberg(growth=0.5).linear_rates(np.array(-1.0))[0])  # of waves 2 pi long
      0.5
    """

    growth: float = 0.3
    asymmetry: float = 0.0

    name: ClassVar = "swift_hohenberg"
    species: ClassVar = ("u",)
    citation: ClassVar = (
        "Swift and Hohenberg (1977), Hydrodynamic fluctuations at the convective instability, "
        "Phys. Rev. A 15, 319."
    )
    recommended: ClassVar = Recommended(dt=0.1, interval=2.0, end_time=128.0)
    fluctuation: ClassVar = (0.1,)
    signed: ClassVar = ("growth", "asymmetry")

    @property
    def linear_coefficients(self):
        """See `System`."""
        return ((self.growth - 1.0, -2.0, -1.0),)

    def remainder(self, x: Array, grid: Grid, laplacian: str = "cross") -> Array:
        """See `System`."""
        return x * x * (self.asymmetry - x)
