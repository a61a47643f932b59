"""Diffusion terms: what spreads down gradients. Linear and nonlinear ones may be added up."""

import math
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffpattern.grid import fluxes, stencils
from diffpattern.grid.forcing import UNFORCED, Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.models.state_network import StateNetwork, positive
from diffpattern.models.term import (
    Changes,
    Channels,
    Parameters,
    Term,
    Transport,
    chosen,
    onto,
    per_cell,
)


class LinearDiffusion(Term):
    """D_c lap(x_c) with one non-negative coefficient a channel, in length^2 per time.

    The coefficient is a parameter as it stands, so that it can be read and its error bar has its
    units; optimisers keep it from falling below zero (see `Term.lower_bounds`).

    Attributes:
      grid: where x lives.
      laplacian: name of the stencil.
      initial: first value of every coefficient.

    Example:
      >>> diffusion = LinearDiffusion(Grid(4), initial=0.1)
      >>> x = jnp.array([[0.0, 1.0, 0.0, 0.0]])
      >>> slope, variables = diffusion.init_with_output(jax.random.key(0), x)
      >>> slope.round(3).tolist(), variables["params"]["coefficient"].tolist()
      ([[0.1..., -0.2..., 0.1..., 0.0]], [0.1...])
    """

    non_negative: ClassVar[tuple[str, ...]] = ("coefficient",)

    grid: Grid
    laplacian: str = "oono_puri"
    initial: float = 0.05

    @nn.compact
    def __call__(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """See `Term`."""
        start = nn.initializers.constant(self.initial)
        coefficient = self.param("coefficient", start, (x.shape[0],))
        return self._per_channel(coefficient) * self._laplacian(x, forcing)

    def variation(
        self, parameters: Parameters, x: Array, s: Changes, forcing: Forcing = UNFORCED
    ) -> tuple[Changes, Changes]:
        """See `Term`."""
        grid = self.grid.under(forcing).for_changes()
        responses = tuple(
            coefficient * stencils.laplacian(changes, grid, stencil=self.laplacian)
            for coefficient, changes in zip(parameters["coefficient"], s, strict=True)
        )
        curvature = self._laplacian(x, forcing)
        by_coefficient = tuple(
            jnp.zeros_like(x).at[channel].set(curvature[channel]) for channel in range(len(x))
        )
        return responses, by_coefficient

    def spectral_rates(self, parameters: Parameters, eigenvalue: Array, count: int) -> Array:
        """See `Term`."""
        del count  # every channel diffuses
        return self._per_channel(parameters["coefficient"]) * eigenvalue

    def remainder(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """See `Term`: nothing."""
        del forcing
        return jnp.zeros_like(x)

    def _laplacian(self, x: Array, forcing: Forcing) -> Array:
        return stencils.laplacian(x, self.grid.under(forcing), stencil=self.laplacian)

    def _per_channel(self, values: Array) -> Array:
        return values.reshape((-1,) + (1,) * self.grid.ndim)


class NonlinearDiffusion(Transport):
    """div(f_c(x) grad x_c), f of a network and never negative.

    Attributes:
      grid: where x lives.
      network: an MLP with an output for each channel that diffuses, through softplus.
      initial: f, in length^2 per time, where the MLP is zero, as it nearly is at first.
      channels: those that diffuse; None: all.

    Example:
      >>> diffusion = NonlinearDiffusion(Grid((8, 8)), network)
      >>> slope, variables = diffusion.init_with_output(jax.random.key(0), jnp.ones((2, 8, 8)))
      >>> slope.shape, float(jnp.abs(slope).max())  # nothing to level out
      ((2, 8, 8), 0.0)
    """

    grid: Grid
    network: StateNetwork
    initial: float = 0.05
    channels: Channels = None

    @nn.compact
    def quantities(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """f [C, ...], zero for channels that do not diffuse."""
        acting = chosen(self.channels, len(x))
        coefficient = positive(self.network(x, forcing, len(acting)), self.initial)
        return onto(coefficient, self.channels, len(x))

    def transport(self, x: Array, quantities: Array, forcing: Forcing = UNFORCED) -> Array:
        """See `Transport`."""
        return fluxes.flux_divergence(quantities, x, self.grid.under(forcing))


class CrossDiffusion(Transport):
    """sum_j div(M_cj grad x_j): each channel also moves along the gradients of the others.

    The eigenvalues of M have positive real parts, which is what keeps short waves from growing
    (Petrovskii's condition). It is reached without a bound, by

        M = A (1 + S),    A = L L' symmetric positive definite, S skew:

    A^-1 M + (A^-1 M)' = 2, which by Lyapunov's theorem holds for one positive definite A^-1 if and
    only if all eigenvalues of M have positive real parts. So every such matrix is reached, once,
    with as many numbers as it has entries; among them those that are not positive definite
    themselves, as Keller and Segel's [[D, -chi u], [0, D_v]].

    Attributes:
      grid: where x lives.
      network: an MLP that gives the numbers at each cell; None: they are constant.
      initial: M is this times the unit matrix, in length^2 per time, where the numbers are zero.

    Example:
      >>> diffusion = CrossDiffusion(Grid(4), initial=0.5)
      >>> x = jnp.array([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
      >>> slope, variables = diffusion.init_with_output(jax.random.key(0), x)
      >>> slope.round(2).tolist(), variables["params"]["numbers"].shape
      ([[0.5, -1.0, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0]], (4,))
    """

    grid: Grid
    network: StateNetwork | None = None
    initial: float = 0.05

    @nn.compact
    def quantities(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """M [C * C, ...], by rows."""
        count = len(x) ** 2
        if self.network is not None:
            numbers = self.network(x, forcing, count)
        else:
            numbers = per_cell(self.param("numbers", nn.initializers.zeros_init(), (count,)), x)
        matrix = positive_stable(numbers, self.initial)
        return matrix.reshape((count,) + matrix.shape[2:])

    def readings(self, parameters: Parameters, species: Sequence[str]) -> dict[str, Array]:
        """See `Term`: the entries of M."""
        if self.network is not None:
            return {}
        matrix = positive_stable(parameters["numbers"], self.initial)
        return {
            f"diffusion of {moved} along {sloping}": matrix[row, column]
            for row, moved in enumerate(species)
            for column, sloping in enumerate(species)
        }

    def transport(self, x: Array, quantities: Array, forcing: Forcing = UNFORCED) -> Array:
        """See `Transport`."""
        matrix = quantities.reshape((len(x),) * 2 + x.shape[1:])
        return fluxes.flux_divergence(matrix, x[None], self.grid.under(forcing)).sum(1)


def positive_stable(numbers: Array, initial: float) -> Array:
    """The matrices [C, C, ...] with eigenvalues of positive real part; see `CrossDiffusion`.

    Args:
      numbers: [C * C, ...]: the lower triangle of L, by rows, its diagonal through softplus; then
        that of S below its diagonal.
      initial: the matrix is this times the unit matrix where the numbers are zero.

    Example:
      >>> positive_stable(jnp.zeros(4), 0.5).round(3).tolist()
      [[0.5, 0.0], [0.0, 0.5]]
    """
    size = math.isqrt(len(numbers))
    rows, columns = np.tril_indices(size)
    below = np.tril_indices(size, -1)
    triangle, skew = numbers[: len(rows)], numbers[len(rows) :]
    diagonal = per_cell(jnp.asarray(rows == columns), triangle)
    entries = jnp.where(diagonal, positive(triangle, math.sqrt(initial)), triangle)
    empty = jnp.zeros((size, size) + numbers.shape[1:], numbers.dtype)
    lower = empty.at[rows, columns].set(entries)
    turned = empty.at[below].set(skew)
    turned = turned - jnp.swapaxes(turned, 0, 1)
    symmetric = jnp.einsum("ik...,jk...->ij...", lower, lower)
    return symmetric + jnp.einsum("ik...,kj...->ij...", symmetric, turned)
