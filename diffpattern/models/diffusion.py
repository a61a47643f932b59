"""Diffusion terms."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from diffpattern.grid import stencils
from diffpattern.grid.geometry import Grid
from diffpattern.models.term import Changes, Parameters, Term


class LinearDiffusion(Term):
    """D_c lap(x_c) with one non-negative coefficient a channel, in length^2 per time.

    The coefficient is a parameter as it stands, so that it can be read and its error bar has its
    units; optimisers keep it from falling below zero (see `Term.non_negative`).

    Attributes:
      grid: where x lives.
      laplacian: name of the stencil.
      initial: first value of every coefficient.
    """

    non_negative: ClassVar[tuple[str, ...]] = ("coefficient",)

    grid: Grid
    laplacian: str = "oono_puri"
    initial: float = 0.05

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """See `Term`."""
        start = nn.initializers.constant(self.initial)
        coefficient = self.param("coefficient", start, (x.shape[0],))
        return self._per_channel(coefficient) * self._laplacian(x)

    def variation(self, parameters: Parameters, x: Array, s: Changes) -> tuple[Changes, Changes]:
        """See `Term`."""

        def spread(channel, changes):
            # By jvp: a wall held at a value makes the Laplacian affine, and this its linear part.
            push = lambda change: jax.jvp(self._laplacian, (channel,), (change,))[1]
            return jax.vmap(push)(changes)

        responses = tuple(
            coefficient * spread(channel, changes)
            for coefficient, channel, changes in zip(parameters["coefficient"], x, s, strict=True)
        )
        curvature = self._laplacian(x)
        by_coefficient = tuple(
            jnp.zeros_like(x).at[channel].set(curvature[channel]) for channel in range(len(x))
        )
        return responses, by_coefficient

    def _laplacian(self, x: Array) -> Array:
        return stencils.laplacian(x, self.grid, stencil=self.laplacian)

    def _per_channel(self, values: Array) -> Array:
        return values.reshape((-1,) + (1,) * self.grid.ndim)
