"""Fields that move themselves: unstable fronts, and the vorticity of a fluid."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffpattern.errors import InputError
from diffpattern.grid.fluxes import advection
from diffpattern.grid.geometry import Grid
from diffpattern.grid.stencils import gradient
from diffpattern.systems.starts import random_waves
from diffpattern.systems.system import Recommended, System

# Units of length of the vortices in a start of Navier-Stokes.
_VORTICES = (12.0, 32.0)


@dataclass(frozen=True)
class KuramotoSivashinsky(System):
    """Kuramoto-Sivashinsky: the height of a flame front; chaos of cells that split and merge.

        du/dt = -instability lap u - stiffness lap lap u - steepening (|grad u|^2 - mean) / 2

    The mean is that of |grad u|^2 over all there is: the front is seen from a frame that moves with
    it, in which the mean of u stays what it was. In 1D, v = du/dx follows the other usual form,
    dv/dt = -v dv/dx - d2v/dx2 - d4v/dx4. Nearby states part within some ten units of time.
    Walls may give the front a slope, but no height, at which it runs away in finite time.

    Attributes:
      instability: negative diffusion of long waves, length squared per unit of time.
      stiffness: fourth-order diffusion that ends it, length to the fourth per unit of time.
      steepening: how slopes move the front, length squared per height and unit of time.

    Source: Kuramoto and Tsuzuki (1976), Sivashinsky (1977).

    Raises:
      InputError: when asked on a lattice whose walls hold the height.

    Example:
      >>> u = jnp.array([[0.0, 1.0, 0.0, 0.0, 0.0, 0.0]])
      >>> slope = KuramotoSivashinsky().right_hand_side(u, Grid(6))
      >>> slope.shape, bool(abs(slope.mean()) < 1e-6)
      ((1, 6), True)
    """

    instability: float = 1.0
    stiffness: float = 1.0
    steepening: float = 1.0

    name: ClassVar = "kuramoto_sivashinsky"
    species: ClassVar = ("u",)
    citation: ClassVar = (
        "Sivashinsky (1977), Nonlinear analysis of hydrodynamic instability in laminar flames I, "
        "Acta Astronautica 4, 1177."
    )
    recommended: ClassVar = Recommended(dt=0.0625, interval=1.0, end_time=128.0)
    fluctuation: ClassVar = (0.1,)

    @property
    def linear_coefficients(self):
        """See `System`."""
        return ((0.0, -self.instability, -self.stiffness),)

    def check(self, grid: Grid) -> None:
        """See `System`."""
        for walls in grid.boundary:
            if {walls.lower.kind, walls.upper.kind} & {"zero", "value"}:
                raise InputError(
                    f"data.boundary is {walls}, but the front of kuramoto_sivashinsky moves, and "
                    "no wall can hold its height; take circular, symmetric, replicate or flux."
                )

    def remainder(self, x: Array, grid: Grid, laplacian: str = "cross") -> Array:
        """See `System`."""
        slope = gradient(x, grid)
        squared = jnp.sum(slope * slope, axis=-grid.ndim - 1)
        mean = squared.mean() if grid.mask is None else jnp.average(squared[0], weights=grid.mask)
        return -0.5 * self.steepening * (squared - mean)


@dataclass(frozen=True)
class NavierStokes(System):
    """Incompressible Navier-Stokes in two dimensions, as the vorticity w on a torus.

        dw/dt = viscosity lap w - div(V w),    V = (dpsi/dy, -dpsi/dx),    lap psi = -w

    Vortices of one sign merge while viscosity wears them away. The stream function psi is solved
    for in Fourier space, so a velocity depends on the whole lattice; the lattice's velocities have
    no divergence, and vorticity is conserved.

    Attributes:
      viscosity: kinematic, length squared per unit of time.

    Source: Batchelor (1967), An Introduction to Fluid Dynamics; the fluid is at rest on average.

    Raises:
      InputError: when asked on any lattice but a torus of two axes without a mask.

    Example:
      >>> fluid, torus = NavierStokes(viscosity=0.1), Grid((16, 16), spacing=2.0)
      >>> fluid.start(jax.random.key(0), torus).shape
      (1, 16, 16)
    """

    viscosity: float = 0.2

    name: ClassVar = "navier_stokes"
    species: ClassVar = ("vorticity",)
    citation: ClassVar = (
        "Batchelor (1967), An Introduction to Fluid Dynamics, Cambridge University Press."
    )
    recommended: ClassVar = Recommended(dt=0.0625, interval=1.0, end_time=64.0)
    fluctuation: ClassVar = (1.0,)

    @property
    def linear_coefficients(self):
        """See `System`."""
        return ((0.0, self.viscosity),)

    def check(self, grid: Grid) -> None:
        """See `System`."""
        walls = [str(walls) for walls in grid.boundary]
        if walls != ["circular", "circular"]:
            raise InputError(
                f"data.boundary is {', '.join(walls)}, but navier_stokes runs on a torus of two "
                "axes alone (circular, circular)."
            )
        if grid.mask is not None:
            raise InputError(
                "The lattice has a mask, but the velocities of navier_stokes are those of a whole "
                "torus, which no mask holds back; set data.mask to 'none'."
            )

    def remainder(self, x: Array, grid: Grid, laplacian: str = "cross") -> Array:
        """See `System`."""
        self.check(grid)
        return -advection(x, self.velocity(x, grid), grid)

    def velocity(self, x: Array, grid: Grid) -> Array:
        """The velocity that belongs to a vorticity.

        Args:
          x: vorticity, [1, H, W]; its mean, which no velocity on a torus can have, is left out.
          grid: a torus.

        Returns:
          [1, 2, H, W], the components along y and x, in units of length per time.

        Example:
          >>> NavierStokes().velocity(jnp.zeros((1, 8, 8)), Grid((8, 8))).shape
          (1, 2, 8, 8)
        """
        (rows, columns), (dy, dx) = grid.shape, grid.spacing
        squared = (
            np.square(2 * np.pi * np.fft.fftfreq(rows, dy))[:, None]
            + np.square(2 * np.pi * np.fft.rfftfreq(columns, dx))[None]
        )
        squared[0, 0] = np.inf
        waves = jnp.fft.rfft2(x) / jnp.asarray(squared, x.dtype)
        along_y, along_x = jnp.moveaxis(gradient(jnp.fft.irfft2(waves, s=grid.shape), grid), -3, 0)
        return jnp.stack([-along_x, along_y], axis=-3)

    def start(self, key: Array, grid: Grid) -> Array:
        """Random vortices of both signs and a root mean square vorticity of 1, [1, H, W]."""
        self.check(grid)
        return random_waves(key, grid, 1, *_VORTICES)
