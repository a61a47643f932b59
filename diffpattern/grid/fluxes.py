"""Conservative transport: divergences of fluxes through the faces between cells.

A flux that leaves a cell through a face enters its neighbour through the same face, so what is
transported sums to zero on a torus; and a `symmetric` wall's faces carry none, neither of a
gradient nor of a velocity, so it does between such walls too. A face lets pass as much as the
product of its two cells' masks says: all inside, nothing at the edge.

Layout as in `stencils`. A coefficient (diffusivity, velocity) goes on beyond a wall as
`Grid.for_coefficients` says.
"""

import functools
import operator
from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.grid.padding import across, bordered_mask, pad
from diffpattern.grid.slices import lower_and_upper, open_faces, vector_component

ADVECTION_SCHEMES = ("central", "upwind")


def flux_divergence(coefficient: Array, x: Array, grid: Grid) -> Array:
    """div(f grad x), with f at a face the mean of its two cells; of second order.

    Args:
      coefficient: f, [..., *space]; its leading axes broadcast against those of `x`.
      x: lattice, [..., *space].
      grid: its description; any spacing.

    Returns:
      [..., *space], in units of f times x per length squared.

    Example:
      >>> x = np.array([0.0, 0.0, 1.0, 0.0])
      >>> flux_divergence(np.full(4, 2.0), x, Grid(4)).tolist()
      [0.0, 2.0, -4.0, 2.0]
    """

    def flux(axis: int) -> Array:
        lower, upper = _beside_faces(x, grid, axis)
        f_lower, f_upper = _beside_faces(coefficient, grid.for_coefficients(), axis)
        return 0.5 * (f_lower + f_upper) * (upper - lower) / grid.spacing[axis]

    return _balance_of_all(flux, grid)


def divergence(vector: Array, grid: Grid) -> Array:
    """Divergence of a vector, the sum over a of dv_a / da; of second order.

    The component at a face is the mean of its two cells', which away from walls gives central
    differences. Beyond a `symmetric` or `flux` wall the component normal to it changes sign:
    nothing passes the wall, and the divergence sums to zero between such walls as on a torus.

    Args:
      vector: [..., ndim, *space].
      grid: its description; any spacing.

    Returns:
      [..., *space], in units of the vector per length.

    Raises:
      InputError: if the vector has not one component for each spatial axis.

    Example:
      >>> away = np.arange(8.0) * np.ones((2, 8, 1))
      >>> divergence(away, Grid((8, 8)))[4, 4].tolist()
      1.0
    """

    def flux(axis: int) -> Array:
        component = vector_component(vector, grid, axis)
        lower, upper = _beside_faces(component, grid, axis, normal_axis=axis)
        return 0.5 * (lower + upper)

    return _balance_of_all(flux, grid)


def advection(x: Array, velocity: Array, grid: Grid, scheme: str = "central") -> Array:
    """div(V x): what the flow carries out of each cell, per volume.

    The velocity at a face is the mean of its two cells'.

    Args:
      x: lattice, [..., *space].
      velocity: V, [..., ndim, *space]; the axes before the component broadcast against the leading
        axes of `x`, so [C, ndim, *space] gives each species its own and [ndim, *space] all one.
      grid: its description; any spacing. The velocity normal to a `symmetric` or `flux` wall is
        zero on it.
      scheme: `central`, the face carries the mean of its two cells (second order; it oscillates
        where |V| h exceeds twice the diffusivity); `upwind`, the cell that the flow comes from
        (first order; it smears with a diffusivity of |V| h / 2, and keeps x non-negative where
        the time step is below h / sum |V|).

    Returns:
      [..., *space], in units of x per time. A right-hand side takes it with a minus sign.

    Raises:
      InputError: for an unknown scheme, or a velocity without a component for each axis.

    Example:
      >>> x = np.array([0.0, 1.0, 0.0, 0.0])
      >>> velocity = np.ones((1, 4))
      >>> advection(x, velocity, Grid(4)).tolist()
      [0.5, 0.0, -0.5, 0.0]
      >>> advection(x, velocity, Grid(4), scheme="upwind").tolist()
      [0.0, 1.0, -1.0, 0.0]
    """
    if scheme not in ADVECTION_SCHEMES:
        raise InputError(
            f"advection scheme is {scheme!r}, but must be one of {', '.join(ADVECTION_SCHEMES)}."
        )

    def flux(axis: int) -> Array:
        lower, upper = _beside_faces(x, grid, axis)
        component = vector_component(velocity, grid, axis)
        v_lower, v_upper = _beside_faces(component, grid.for_coefficients(), axis, normal_axis=axis)
        speed = 0.5 * (v_lower + v_upper)
        carried = 0.5 * speed * (lower + upper)
        if scheme == "upwind":
            carried = carried - 0.5 * jnp.abs(speed) * (upper - lower)
        return carried

    return _balance_of_all(flux, grid)


def _balance_of_all(flux: Callable[[int], Array], grid: Grid) -> Array:
    """The balance of the fluxes through the faces along each axis."""
    balances = (_balance(flux(axis), grid, axis) for axis in range(grid.ndim))
    return functools.reduce(operator.add, balances)


def _beside_faces(
    x: Array, grid: Grid, axis: int, *, normal_axis: int | None = None
) -> tuple[Array, Array]:
    """The cells below and above each of the n + 1 faces across one axis, walls included."""
    bordered = pad(x, grid, across(axis, grid), normal_axis=normal_axis)
    return lower_and_upper(bordered, axis - grid.ndim)


def _balance(flux: Array, grid: Grid, axis: int) -> Array:
    """What leaves through the upper face less what enters through the lower, per length."""
    mask = bordered_mask(grid, across(axis, grid), flux.dtype)
    if mask is not None:
        flux = open_faces(mask, axis - grid.ndim) * flux
    lower, upper = lower_and_upper(flux, axis - grid.ndim)
    return (upper - lower) / grid.spacing[axis]
