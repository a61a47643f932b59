"""Reaction-diffusion systems from the literature: pointwise reactions, and species that diffuse."""

import math
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.grid.stencils import laplacian as discrete_laplacian
from diffpattern.systems.starts import random_blobs
from diffpattern.systems.system import Recommended, System

# Units of length of the Gray-Scott model whose patterns have a wavelength of about 11.
_LENGTH_PER_BLOB = 16.0
_RADIUS_RANGE = (1.5, 4.0)
_HEIGHT_RANGE = (0.4, 1.2)


@dataclass(frozen=True)
class GrayScott(System):
    """Gray-Scott: a feed A, which B consumes to make more of itself.

        dA/dt = diffusion_a lap A - A B^2 + alpha (1 - A)
        dB/dt = diffusion_b lap B + A B^2 - (alpha + gamma) B

    Where B is zero, A = 1 is stable: patterns spread from blobs of B that are strong enough.

    Attributes:
      diffusion_a: of A, length squared per unit of time.
      diffusion_b: of B, length squared per unit of time.
      alpha: rate at which A is fed and everything is washed out, per unit of time.
      gamma: further rate at which B decays, per unit of time.

    Source: Gray and Scott (1984), the patterns Pearson (1993). With the values given here, stripes
    and spots grow until they fill a lattice of 64 x 64 units after some 1000 to 2000 units of time.

    Example:
      >>> GrayScott(alpha=0.055).rest
      (1.0, 0.0)
      >>> GrayScott().start(jax.random.key(0), Grid((8, 8))).shape
      (2, 8, 8)
    """

    diffusion_a: float = 0.1
    diffusion_b: float = 0.05
    alpha: float = 0.06230
    gamma: float = 0.06268

    name: ClassVar = "gray_scott"
    species: ClassVar = ("A", "B")
    citation: ClassVar = "Pearson (1993), Complex patterns in a simple system, Science 261, 189."
    recommended: ClassVar = Recommended(
        dt=1.0, interval=16.0, end_time=1024.0, laplacian="oono_puri"
    )

    @property
    def linear_coefficients(self):
        """See `System`."""
        return (-self.alpha, self.diffusion_a), (-self.alpha - self.gamma, self.diffusion_b)

    @property
    def rest(self):
        """See `System`."""
        return 1.0, 0.0

    def remainder(self, x: Array, grid: Grid, laplacian: str = "cross") -> Array:
        """See `System`."""
        a, b = x
        conversion = a * b * b
        return jnp.stack([self.alpha - conversion, conversion])

    def start(self, key: Array, grid: Grid) -> Array:
        """Smooth blobs of B at random places in a bath of A = 1 - B, both between 0 and 1."""
        b = 1.0 - jnp.exp(-random_blobs(key, grid, _LENGTH_PER_BLOB, _RADIUS_RANGE, _HEIGHT_RANGE))
        return jnp.stack([1.0 - b, b])


@dataclass(frozen=True)
class Brusselator(System):
    """Brusselator: an autocatalytic reaction with stationary (Turing) patterns.

        dX/dt = diffusion_x lap X + a - (b + 1) X + X^2 Y
        dY/dt = diffusion_y lap Y + b X - X^2 Y

    At rest X = a, Y = b / a. Patterns grow for b > (1 + a sqrt(diffusion_x / diffusion_y))^2,
    oscillations for b > 1 + a^2.

    Attributes:
      diffusion_x: of X, length squared per unit of time.
      diffusion_y: of Y, length squared per unit of time.
      a: feed of X, concentration per unit of time.
      b: rate at which X becomes Y, per unit of time.

    Source: Prigogine and Lefever (1968); these parameters follow Pena and Perez-Garcia (2001).

    Example:
      >>> Brusselator(a=4.0, b=6.0).rest
      (4.0, 1.5)
    """

    diffusion_x: float = 1.0
    diffusion_y: float = 8.0
    a: float = 4.5
    b: float = 7.5

    name: ClassVar = "brusselator"
    species: ClassVar = ("X", "Y")
    citation: ClassVar = (
        "Prigogine and Lefever (1968), Symmetry breaking instabilities in dissipative systems II, "
        "J. Chem. Phys. 48, 1695."
    )
    recommended: ClassVar = Recommended(dt=0.005, interval=0.5, end_time=32.0, spacing=0.5)
    fluctuation: ClassVar = (0.1, 0.1)
    positive: ClassVar = ("a",)

    @property
    def linear_coefficients(self):
        """See `System`."""
        return (-self.b - 1.0, self.diffusion_x), (0.0, self.diffusion_y)

    @property
    def rest(self):
        """See `System`."""
        return self.a, self.b / self.a

    def remainder(self, x: Array, grid: Grid, laplacian: str = "cross") -> Array:
        """See `System`."""
        first, second = x
        conversion = first * first * second
        return jnp.stack([self.a + conversion, self.b * first - conversion])


@dataclass(frozen=True)
class Schnakenberg(System):
    """Schnakenberg: an activator u that consumes its substrate v; spots.

        du/dt = diffusion_u lap u + a - u + u^2 v
        dv/dt = diffusion_v lap v + b - u^2 v

    At rest u = a + b, v = b / (a + b)^2.

    Attributes:
      diffusion_u: of u, length squared per unit of time.
      diffusion_v: of v, length squared per unit of time.
      a: supply of u, concentration per unit of time.
      b: supply of v, concentration per unit of time.

    Source: Schnakenberg (1979), as in Murray (2003), Mathematical Biology II, chapter 2.

    Example:
      >>> schnakenberg = Schnakenberg()
      >>> schnakenberg.species, len(schnakenberg.rest)
      (('u', 'v'), 2)
    """

    diffusion_u: float = 1.0
    diffusion_v: float = 20.0
    a: float = 0.1
    b: float = 0.9

    name: ClassVar = "schnakenberg"
    species: ClassVar = ("u", "v")
    citation: ClassVar = (
        "Schnakenberg (1979), Simple chemical reaction systems with limit cycle behaviour, "
        "J. Theor. Biol. 81, 389."
    )
    recommended: ClassVar = Recommended(dt=0.0125, interval=1.0, end_time=64.0)
    fluctuation: ClassVar = (0.05, 0.05)
    positive: ClassVar = ("b",)

    @property
    def linear_coefficients(self):
        """See `System`."""
        return (-1.0, self.diffusion_u), (0.0, self.diffusion_v)

    @property
    def rest(self):
        """See `System`."""
        return self.a + self.b, self.b / (self.a + self.b) ** 2

    def remainder(self, x: Array, grid: Grid, laplacian: str = "cross") -> Array:
        """See `System`."""
        u, v = x
        conversion = u * u * v
        return jnp.stack([self.a + conversion, self.b - conversion])


@dataclass(frozen=True)
class GiererMeinhardt(System):
    """Gierer-Meinhardt: an activator and the faster inhibitor that it makes; peaks.

        da/dt = diffusion_a lap a + a^2 / h - decay_a a + source
        dh/dt = diffusion_h lap h + a^2 - decay_h h

    At rest a = (decay_h + source) / decay_a, h = a^2 / decay_h.

    Attributes:
      diffusion_a: of the activator a, length squared per unit of time.
      diffusion_h: of the inhibitor h, length squared per unit of time.
      decay_a: rate at which a decays, per unit of time.
      decay_h: rate at which h decays, per unit of time.
      source: of a where there is none yet, concentration per unit of time.

    Source: Gierer and Meinhardt (1972), in units in which both production constants are 1.

    Example:
      >>> gierer_meinhardt = GiererMeinhardt()
      >>> gierer_meinhardt.species, gierer_meinhardt.rest
      (('a', 'h'), (2.1, 2.205))
    """

    diffusion_a: float = 1.0
    diffusion_h: float = 20.0
    decay_a: float = 1.0
    decay_h: float = 2.0
    source: float = 0.1

    name: ClassVar = "gierer_meinhardt"
    species: ClassVar = ("a", "h")
    citation: ClassVar = (
        "Gierer and Meinhardt (1972), A theory of biological pattern formation, Kybernetik 12, 30."
    )
    recommended: ClassVar = Recommended(dt=0.0125, interval=1.0, end_time=64.0)
    fluctuation: ClassVar = (0.1, 0.1)
    positive: ClassVar = ("decay_a", "decay_h")

    @property
    def linear_coefficients(self):
        """See `System`."""
        return (-self.decay_a, self.diffusion_a), (-self.decay_h, self.diffusion_h)

    @property
    def rest(self):
        """See `System`."""
        activator = (self.decay_h + self.source) / self.decay_a
        return activator, activator**2 / self.decay_h

    def remainder(self, x: Array, grid: Grid, laplacian: str = "cross") -> Array:
        """See `System`."""
        activator, inhibitor = x
        production = activator * activator
        return jnp.stack([production / inhibitor + self.source, production])


@dataclass(frozen=True)
class Chhabra(System):
    """Activator and inhibitor of stem cell colonies, whose inhibition has a threshold.

        dA/dt = diffusion_a lap A + production_a A^2 / (threshold + I) - decay_a A
        dI/dt = diffusion_i lap I + production_i A^2 - decay_i I

    There are two uniform states with A > 0; patterns grow out of the higher one.

    Attributes:
      diffusion_a: of the activator A, length squared per unit of time.
      diffusion_i: of the inhibitor I, length squared per unit of time.
      production_a: of A, per unit of time.
      production_i: of I, per concentration and unit of time.
      decay_a: rate at which A decays, per unit of time.
      decay_i: rate at which I decays, per unit of time.
      threshold: concentration of I from which on it inhibits.

    Source: Chhabra, Liu, Goh, Kong and Warmflash (2019). The paper's own formulae could not be
    consulted; form and values are those of the public code Differentiable-Patterning, which names
    it as its source.

    Raises:
      InputError: production_a is too weak for a uniform state with A > 0.

    Example:
      >>> chhabra = Chhabra()
      >>> chhabra.species, [round(value, 3) for value in chhabra.rest]
      (('A', 'I'), [7.899, 77.987])
    """

    diffusion_a: float = 0.0025
    diffusion_i: float = 0.4
    production_a: float = 0.01
    production_i: float = 0.01
    decay_a: float = 0.001
    decay_i: float = 0.008
    threshold: float = 1.0

    name: ClassVar = "chhabra"
    species: ClassVar = ("A", "I")
    citation: ClassVar = (
        "Chhabra, Liu, Goh, Kong and Warmflash (2019), Dissecting the dynamics of signaling events "
        "in the BMP, WNT, and NODAL cascade during self-organized fate patterning in human "
        "gastruloids, PLOS Biology 17, e3000498."
    )
    recommended: ClassVar = Recommended(dt=0.5, interval=256.0, end_time=16384.0)
    fluctuation: ClassVar = (1.0, 5.0)
    positive: ClassVar = ("production_a", "production_i", "decay_a", "decay_i")

    def __post_init__(self):
        super().__post_init__()
        if self._discriminant < 0:
            raise InputError(
                f"production_a is {self.production_a:g}, but must be at least "
                f"{math.sqrt(self.production_a**2 - self._discriminant):g}, since a weaker "
                "activator dies out."
            )

    @property
    def _discriminant(self) -> float:
        """Of curvature A^2 - production_a A + decay_a threshold = 0, which holds at rest."""
        return self.production_a**2 - 4 * self._curvature * self.decay_a * self.threshold

    @property
    def _curvature(self) -> float:
        return self.decay_a * self.production_i / self.decay_i

    @property
    def linear_coefficients(self):
        """See `System`."""
        return (-self.decay_a, self.diffusion_a), (-self.decay_i, self.diffusion_i)

    @property
    def rest(self):
        """See `System`."""
        activator = (self.production_a + math.sqrt(self._discriminant)) / (2 * self._curvature)
        return activator, self.production_i * activator**2 / self.decay_i

    def remainder(self, x: Array, grid: Grid, laplacian: str = "cross") -> Array:
        """See `System`."""
        activator, inhibitor = x
        squared = activator * activator
        return jnp.stack(
            [
                self.production_a * squared / (self.threshold + inhibitor),
                self.production_i * squared,
            ]
        )


@dataclass(frozen=True)
class FitzHughNagumo(System):
    """FitzHugh-Nagumo: a bistable u and the slower v that it raises; labyrinths.

        du/dt = diffusion_u lap u + u - u^3 - v
        dv/dt = diffusion_v lap v + rate (u - damping v)

    At rest u = v = 0, which is stable without diffusion for 1 / rate < damping < 1.

    Attributes:
      diffusion_u: of u, length squared per unit of time.
      diffusion_v: of v, length squared per unit of time.
      rate: of v, per unit of time.
      damping: of v, in units of u per v.

    Source: FitzHugh (1961), Nagumo, Arimoto and Yoshizawa (1962); as a PDE with two diffusing
    species, Hagberg and Meron (1994).

    Example:
      >>> fitzhugh_nagumo = FitzHughNagumo()
      >>> fitzhugh_nagumo.species, fitzhugh_nagumo.rest
      (('u', 'v'), (0.0, 0.0))
    """

    diffusion_u: float = 1.0
    diffusion_v: float = 20.0
    rate: float = 4.0
    damping: float = 0.5

    name: ClassVar = "fitzhugh_nagumo"
    species: ClassVar = ("u", "v")
    citation: ClassVar = (
        "Hagberg and Meron (1994), From labyrinthine patterns to spiral turbulence, "
        "Phys. Rev. Lett. 72, 2494."
    )
    recommended: ClassVar = Recommended(dt=0.0125, interval=0.5, end_time=32.0)
    fluctuation: ClassVar = (0.1, 0.0)

    @property
    def linear_coefficients(self):
        """See `System`."""
        return (1.0, self.diffusion_u), (-self.rate * self.damping, self.diffusion_v)

    def remainder(self, x: Array, grid: Grid, laplacian: str = "cross") -> Array:
        """See `System`."""
        u, v = x
        return jnp.stack([-u * u * u - v, self.rate * u])


@dataclass(frozen=True)
class ComplexGinzburgLandau(System):
    """Complex Ginzburg-Landau: the amplitude of waves near their onset; spirals.

        dA/dt = A + (1 + i dispersion) lap A - (1 + i detuning) |A|^2 A,    A = re + i im

    Plane waves are unstable for 1 + dispersion detuning < 0 (Benjamin and Feir).

    Attributes:
      dispersion: of waves, linear; pure number.
      detuning: of their frequency with the amplitude; pure number.

    Source: Aranson and Kramer (2002). Lengths, times and amplitudes are in the equation's units.

    Example:
      >>> ComplexGinzburgLandau().right_hand_side(jnp.zeros((2, 4)), Grid(4)).shape
      (2, 4)
    """

    dispersion: float = 0.5
    detuning: float = -1.0

    name: ClassVar = "complex_ginzburg_landau"
    species: ClassVar = ("re", "im")
    citation: ClassVar = (
        "Aranson and Kramer (2002), The world of the complex Ginzburg-Landau equation, "
        "Rev. Mod. Phys. 74, 99."
    )
    recommended: ClassVar = Recommended(dt=0.125, interval=1.0, end_time=64.0)
    fluctuation: ClassVar = (0.1, 0.1)
    signed: ClassVar = ("dispersion", "detuning")

    @property
    def linear_coefficients(self):
        """See `System`; the dispersion mixes both species and belongs to the remainder."""
        return (1.0, 1.0), (1.0, 1.0)

    def remainder(self, x: Array, grid: Grid, laplacian: str = "cross") -> Array:
        """See `System`."""
        re, im = x
        curvature_re, curvature_im = discrete_laplacian(x, grid, laplacian)
        squared = re * re + im * im
        return jnp.stack(
            [
                -self.dispersion * curvature_im - squared * (re - self.detuning * im),
                self.dispersion * curvature_re - squared * (im + self.detuning * re),
            ]
        )

    def fastest_decay(self, wavenumber_squared: float) -> float:
        """As in `System`, with the modulus of 1 + i dispersion: waves turn while they decay."""
        return math.hypot(1.0, self.dispersion) * wavenumber_squared
