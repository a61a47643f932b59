"""What a cell of an automaton sees: its neighbourhood through fixed stencils."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import Array

from diffpattern.errors import InputError
from diffpattern.grid import stencils
from diffpattern.grid.geometry import Grid


def _gradient(x: Array, grid: Grid) -> Array:
    components = stencils.gradient(x, grid, scheme="sobel")
    return components.reshape((-1,) + grid.shape)


KERNELS: dict[str, Callable[[Array, Grid], Array]] = {
    "identity": lambda x, grid: x,
    "gradient": _gradient,
    "laplacian": lambda x, grid: stencils.laplacian(x, grid, stencil="oono_puri"),
}


def perceive(x: Array, grid: Grid, kernels: Sequence[str]) -> Array:
    """Sees a lattice through each of the named stencils.

    Args:
      x: lattice [C, *space].
      grid: where it lives.
      kernels: names out of `KERNELS`.

    Returns:
      [K C, *space]; a gradient counts for as many as there are axes.

    Raises:
      InputError: no kernel has one of the names.
    """
    for name in kernels:
        if name not in KERNELS:
            raise InputError(f"model.nca.kernels names {name!r}; there are {', '.join(KERNELS)}.")
    return jnp.concatenate([KERNELS[name](x, grid) for name in kernels])
