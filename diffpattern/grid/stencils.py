"""Differential operators on a lattice: what a cell perceives of its neighbourhood.

Lattices are [..., *space] with space the last `grid.ndim` axes, so species and any batch axes come
first; a vector has its component axis right before space, in the order of the spatial axes (y, x).
Each is made of a border (`padding`) and shifted slices (`slices`), axis after axis. Those that
conserve what they transport are written in `fluxes`, and reached from here like the others.

On a grid with a mask (`Grid.under`) a neighbour outside counts as if it held the cell's own value,
so that nothing passes the mask's edge; docs/boundaries.md has what that makes of each operator.

Normalisation: weights are scaled by the spacing so that, away from walls, an average is exact on
straight lines, a gradient on quadratics and a Laplacian on cubics (`fourth_order` on quintics).
Derivatives of a constant are exactly 0.

`kernel_scale` above 1 evaluates a stencil on the lattice blurred by a Gaussian with a standard
deviation of that many cells: the average becomes the Gaussian, the gradient and the Laplacian the
Gaussian's derivatives in the discrete sense of Lindeberg (1993, J. Math. Imaging Vis. 3, 349).
Because the blur moves a quadratic by a constant only, the exactness just stated holds for them,
up to rounding, except that of `fourth_order` beyond cubics.
"""

import jax.numpy as jnp
from jax import Array

from diffpattern.errors import InputError
from diffpattern.grid.fluxes import advection, divergence, flux_divergence
from diffpattern.grid.geometry import Grid
from diffpattern.grid.padding import across, bordered_mask, check_lattice, pad
from diffpattern.grid.slices import (
    crop,
    first_difference,
    pad_smoothed,
    second_difference,
    smooth,
    vector_component,
    wide_second_difference,
)

__all__ = [
    "advection",
    "average",
    "curl",
    "divergence",
    "flux_divergence",
    "gradient",
    "gradient_norm",
    "identity",
    "laplacian",
]

# Weight of either neighbour in the smoothing along the other axes.
GRADIENT_SCHEMES = {"central": 0.0, "sobel": 1 / 4, "bickley": 1 / 6}
LAPLACIANS = ("cross", "oono_puri", "isotropic", "fourth_order")

# Coefficients (by number of axes) of the products of two and of three second differences in a
# compact Laplacian, sum_a d_a + pair sum_{a<b} d_a d_b + triple d_a d_b d_c; see `laplacian`.
_COMPACT_PRODUCTS = {
    "oono_puri": {1: (0.0, 0.0), 2: (1 / 4, 0.0), 3: (5 / 22, 1 / 22)},
    "isotropic": {1: (0.0, 0.0), 2: (1 / 6, 0.0), 3: (1 / 6, 1 / 36)},
}


def identity(x: Array, grid: Grid) -> Array:
    """The lattice itself, at any kernel scale; [..., *space] -> [..., *space].

    Example:
      >>> identity(np.ones((2, 8, 8)), Grid((8, 8))).shape
      (2, 8, 8)
    """
    check_lattice(x, grid)
    return x


def average(x: Array, grid: Grid, *, kernel_scale: float = 1.0) -> Array:
    """Mean of a cell's neighbourhood, itself included.

    Args:
      x: lattice, [..., *space].
      grid: its description.
      kernel_scale: 1 for the plain mean of the 3, 9 or 27 nearest cells; above 1 a Gaussian with
        a standard deviation of that many cells.

    Returns:
      Array like `x`.

    Example:
      >>> average(np.array([3.0, 0.0, 0.0, 0.0]), Grid(4)).tolist()
      [1.0, 1.0, 0.0, 1.0]
    """
    if kernel_scale != 1:
        return pad_smoothed(x, grid, 0, kernel_scale)
    x = pad(x, grid, 1)
    mask = bordered_mask(grid, 1, x.dtype)
    for axis in _axes(grid):
        x = smooth(x, axis, 1 / 3, mask)
        mask = crop(mask, (axis,), 1)
    return x


def gradient(x: Array, grid: Grid, scheme: str = "central", *, kernel_scale: float = 1.0) -> Array:
    """Gradient of each channel, of second order.

    Args:
      x: lattice, [..., *space].
      grid: its description; any spacing.
      scheme: `central`, (x[i + 1] - x[i - 1]) / (2 h); `sobel`, the same smoothed along each of
        the other axes with the weights (1, 2, 1) / 4, which in 2D is the operator of Sobel and
        Feldman (1968) and in 1D the central difference; `bickley`, smoothed with (1, 4, 1) / 6
        (Bickley 1948, Q. J. Mech. Appl. Math. 1, 35), whose leading error, h^2 / 6 times the
        gradient of the Laplacian, has no preferred direction.
      kernel_scale: above 1, the derivative of a Gaussian of that many cells.

    Returns:
      [..., ndim, *space], in units of x per length.

    Raises:
      InputError: for an unknown scheme.

    Example:
      >>> slope = np.arange(8.0) * np.ones((8, 1))
      >>> gradient(slope, Grid((8, 8), spacing=0.5, boundary="symmetric"))[:, 4, 4].tolist()
      [0.0, 2.0]
      >>> gradient(np.ones((2, 8, 8)), Grid((8, 8)), scheme="sobel").shape
      (2, 2, 8, 8)
    """
    if scheme not in GRADIENT_SCHEMES:
        raise InputError(
            f"gradient scheme is {scheme!r}, but must be one of {', '.join(GRADIENT_SCHEMES)}."
        )
    side_weight = GRADIENT_SCHEMES[scheme]
    x = pad_smoothed(x, grid, 1, kernel_scale)
    mask = bordered_mask(grid, 1, x.dtype)
    components = []
    for axis, spacing in zip(_axes(grid), grid.spacing, strict=True):
        derivative, inside = first_difference(x, axis, mask) / spacing, crop(mask, (axis,), 1)
        for other in _others(axis, grid):
            if side_weight:
                derivative = smooth(derivative, other, side_weight, inside)
                inside = crop(inside, (other,), 1)
            else:
                derivative = crop(derivative, (other,), 1)
        components.append(derivative)
    return jnp.stack(components, axis=-grid.ndim - 1)


def gradient_norm(
    x: Array, grid: Grid, scheme: str = "central", *, kernel_scale: float = 1.0
) -> Array:
    """Euclidean length of `gradient`, [..., *space] -> [..., *space].

    On a flat lattice, where the length has no derivative, its gradient with respect to `x` is set
    to 0, one of the subgradients; the plain square root would give NaN.

    Example:
      >>> slope = np.arange(8.0) * np.ones((8, 1))
      >>> float(gradient_norm(slope, Grid((8, 8), spacing=0.5))[4, 4])
      2.0
    """
    slope = gradient(x, grid, scheme, kernel_scale=kernel_scale)
    squared = jnp.sum(slope * slope, axis=-grid.ndim - 1)
    flat = squared == 0
    # The inner choice keeps the root's infinite slope out of the backward pass, where 0 * inf
    # would be NaN.
    return jnp.where(flat, 0.0, jnp.sqrt(jnp.where(flat, 1.0, squared)))


def curl(vector: Array, grid: Grid) -> Array:
    """Curl of a vector by central differences.

    Components and axes are in the order of space, (y, x) or (z, y, x), and the frame x, y, z is
    right-handed: curl_z = dv_y / dx - dv_x / dy, which in 2D is all of it.

    Args:
      vector: [..., ndim, *space] in 2D or 3D.
      grid: its description; any spacing.

    Returns:
      [..., *space] in 2D, [..., 3, *space] in 3D, in units of the vector per length.

    Raises:
      InputError: in 1D, which has no curl, or if the number of components is not that of the axes.

    Example:
      >>> y, x = np.mgrid[-4.0:4, -4.0:4]
      >>> float(curl(np.stack([x, -y]), Grid((8, 8)))[4, 4])  # v_y = x, v_x = -y: it turns
      2.0
    """
    if grid.ndim == 1:
        raise InputError("curl needs a grid of 2 or 3 axes, but this one has 1.")

    def rotation(row: int, column: int) -> Array:
        """dv_row / dcolumn - dv_column / drow: for rows y and columns x, curl_z."""
        return _derivative(vector, grid, row, column) - _derivative(vector, grid, column, row)

    if grid.ndim == 2:
        return rotation(0, 1)
    return jnp.stack([rotation(1, 2), rotation(2, 0), rotation(0, 1)], axis=-grid.ndim - 1)


def laplacian(x: Array, grid: Grid, stencil: str = "cross", *, kernel_scale: float = 1.0) -> Array:
    """Laplacian of each channel.

    With the second difference d = (1, -2, 1) along an axis and h the spacing:

    * `cross`: sum_a d_a / h_a^2, the 3, 5 or 7 point Laplacian; its leading error is the sum of
      h_a^2 / 12 d^4x / da^4.
    * `fourth_order`: (-1, 16, -30, 16, -1) / (12 h_a^2) along each axis, from Fornberg (1988, Math.
      Comp. 51, 699); two cells of border.
    * `oono_puri`: in 2D 1/4 on the corners, 1/2 on the sides, -3 (Oono and Puri 1988, Phys. Rev. A
      38, 434). In 3D sides, edges and corners have 3/11, 3/22, 1/22 and the cell -40/11: the
      neighbourhood mean of Shinozaki and Oono (1993, Phys. Rev. E 48, 2622) with its weights 6/80,
      3/80, 1/80, scaled to be a Laplacian.
    * `isotropic`: in 2D 1/6 on the corners, 2/3 on the sides, -10/3. In 3D sides, edges and corners
      have 4/9, 1/9, 1/36 and the cell -38/9. They are six times the equilibrium weights of the
      lattices D2Q9 and D3Q27 (Thampi, Ansumali, Adhikari and Succi 2013, J. Comput. Phys. 234, 1).
      The leading error, h^2 / 12 times the bi-Laplacian, has no preferred direction.

    In 1D all but `fourth_order` are (1, -2, 1). Between `symmetric` walls and on a torus each sums
    to zero over the lattice.

    Args:
      x: lattice, [..., *space].
      grid: its description. `oono_puri` and `isotropic` need one spacing for all axes: what they
        are made for, an error alike in all directions, cannot be had with unequal ones.
      stencil: one of the four.
      kernel_scale: above 1, the Laplacian of a Gaussian of that many cells.

    Returns:
      Array like `x`, in units of x per length squared.

    Raises:
      InputError: for an unknown stencil, or unequal spacing where it has no meaning.

    Example:
      >>> peak = np.zeros((5, 5))
      >>> peak[2, 2] = 1
      >>> laplacian(peak, Grid((5, 5)), "oono_puri")[2].tolist()
      [0.0, 0.5, -3.0, 0.5, 0.0]
      >>> laplacian(peak, Grid((5, 5), spacing=0.5))[2].tolist()
      [0.0, 4.0, -16.0, 4.0, 0.0]
      >>> laplacian(peak, Grid((5, 5)), "compact")
      Traceback (most recent call last):
          ...
      diffpattern.errors.InputError: Laplacian stencil is 'compact', but must be one ...
    """
    if stencil not in LAPLACIANS:
        raise InputError(
            f"Laplacian stencil is {stencil!r}, but must be one of {', '.join(LAPLACIANS)}."
        )
    if stencil in _COMPACT_PRODUCTS:
        if len(set(grid.spacing)) > 1:
            raise InputError(
                f"Laplacian stencil {stencil!r} needs one spacing for all axes, but the grid's are "
                f"{grid.spacing}; 'cross' and 'fourth_order' take any."
            )
        x = pad_smoothed(x, grid, 1, kernel_scale)
        mask = bordered_mask(grid, 1, x.dtype)
        return _compact_laplacian(x, mask, grid, *_COMPACT_PRODUCTS[stencil][grid.ndim])
    border = 2 if stencil == "fourth_order" else 1
    difference = wide_second_difference if stencil == "fourth_order" else second_difference
    x = pad_smoothed(x, grid, border, kernel_scale)
    mask = bordered_mask(grid, border, x.dtype)
    total = jnp.zeros((), x.dtype)
    for axis, spacing in zip(_axes(grid), grid.spacing, strict=True):
        others = _others(axis, grid)
        line, inside = crop(x, others, border), crop(mask, others, border)
        total = total + difference(line, axis, inside) / spacing**2
    return total


def _compact_laplacian(
    x: Array, mask: Array | None, grid: Grid, pair: float, triple: float
) -> Array:
    """sum_a d_a + pair sum_{a<b} d_a d_b + triple d_a d_b d_c over h^2, from a border of one cell.

    With a mask the second differences of two axes do not commute at its edge. The mean of their
    products in both orders is its own transpose, so that the Laplacian only ever levels out.
    """
    forth = tuple(_axes(grid))
    total = _sum_of_products(x, mask, forth, pair, triple)
    if mask is not None and grid.ndim > 1:
        total = 0.5 * (total + _sum_of_products(x, mask, forth[::-1], pair, triple))
    return total / grid.spacing[0] ** 2


def _sum_of_products(
    x: Array, mask: Array | None, axes: tuple[int, ...], pair: float, triple: float
) -> Array:
    """Second differences and their products, along one axis after the other.

    Symmetric in the axes, though evaluated one after the other: the elementary symmetric sums of
    the axes done so far, `singles` and `pairs`, are all that the next axis needs.
    """
    total, singles, pairs = (jnp.zeros_like(x) for _ in range(3))
    for axis in axes:
        gained = second_difference(x + pair * singles + triple * pairs, axis, mask)
        total = crop(total, (axis,), 1) + gained
        pairs = crop(pairs, (axis,), 1) + second_difference(singles, axis, mask)
        singles = crop(singles, (axis,), 1) + second_difference(x, axis, mask)
        x, mask = crop(x, (axis,), 1), crop(mask, (axis,), 1)
    return total


def _axes(grid: Grid) -> range:
    """The spatial axes, counted from the end."""
    return range(-grid.ndim, 0)


def _others(axis: int, grid: Grid) -> tuple[int, ...]:
    return tuple(other for other in _axes(grid) if other != axis)


def _derivative(vector: Array, grid: Grid, component: int, axis: int) -> Array:
    """Central difference of one component along another axis."""
    border = across(axis, grid)
    values = pad(vector_component(vector, grid, component), grid, border)
    mask = bordered_mask(grid, border, values.dtype)
    return first_difference(values, axis - grid.ndim, mask) / grid.spacing[axis]
