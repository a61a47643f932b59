"""Reaction-diffusion systems from the literature: what they do and how they are usually started.

Each is a frozen dataclass of its parameters, so that it can be hashed, printed and compared, and
follows the `System` protocol of this package. The discretisation (lattice, boundary, stencil) is
an argument, never a property of the system.
"""

import math
import numbers
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.grid.stencils import laplacian as discrete_laplacian

# Units of length of the Gray-Scott model whose patterns have a wavelength of about 11.
_LENGTH_PER_BLOB = 16.0
_RADIUS_RANGE = (1.5, 4.0)
_HEIGHT_RANGE = (0.4, 1.2)


@dataclass(frozen=True)
class GrayScott:
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

    Raises:
      InputError: for a parameter that is not finite, or negative.
    """

    diffusion_a: float = 0.1
    diffusion_b: float = 0.05
    alpha: float = 0.06230
    gamma: float = 0.06268

    species: ClassVar[tuple[str, ...]] = ("A", "B")

    def __post_init__(self):
        for name, value in vars(self).items():
            if not isinstance(value, numbers.Real) or not (math.isfinite(value) and value >= 0):
                raise InputError(f"{name} is {value!r}, but must be finite and not negative.")

    def right_hand_side(self, x: Array, grid: Grid, laplacian: str = "cross") -> Array:
        """The time derivative of both species.

        Args:
          x: A and B, [2, *space].
          grid: spacing and boundaries of the lattice.
          laplacian: name of the stencil, see `diffpattern.grid.stencils.laplacian`.

        Returns:
          dx/dt, like `x`.
        """
        a, b = x
        spread_a, spread_b = discrete_laplacian(x, grid, laplacian)
        conversion = a * b * b
        return jnp.stack(
            [
                self.diffusion_a * spread_a - conversion + self.alpha * (1.0 - a),
                self.diffusion_b * spread_b + conversion - (self.alpha + self.gamma) * b,
            ]
        )

    def fastest_decay(self, wavenumber_squared: float) -> float:
        """Rate at which a small wave on the uniform state A = 1, B = 0 dies out, per unit of time.

        Args:
          wavenumber_squared: minus the Laplacian's eigenvalue of this wave.
        """
        return max(
            self.diffusion_a * wavenumber_squared + self.alpha,
            self.diffusion_b * wavenumber_squared + self.alpha + self.gamma,
        )

    def start(self, key: Array, grid: Grid) -> Array:
        """Smooth blobs of B at random places in a bath of A = 1 - B.

        Args:
          key: random key.
          grid: the lattice; only how finely the field is sampled depends on its spacing.

        Returns:
          A and B, [2, *space], both between 0 and 1.
        """
        b = 1.0 - jnp.exp(-random_blobs(key, grid, _LENGTH_PER_BLOB, _RADIUS_RANGE, _HEIGHT_RANGE))
        return jnp.stack([1.0 - b, b])


def random_blobs(
    key: Array,
    grid: Grid,
    length_per_blob: float,
    radius_range: tuple[float, float],
    height_range: tuple[float, float],
) -> Array:
    """A sum of Gaussian blobs, uniformly random in place, radius and height.

        f(x) = sum_i height_i exp(-|x - centre_i|^2 / (2 radius_i^2))

    Everything is drawn in units of length, so one key gives one field on every lattice over the
    same box, whatever its resolution. On a circular axis the blobs wrap around.

    Args:
      key: random key.
      grid: the lattice; its cells' centres lie half a spacing away from the walls.
      length_per_blob: there is one blob in each cube of this side, on the average, and at least
        one in all.
      radius_range: smallest and largest radius, in units of length.
      height_range: smallest and largest height.

    Returns:
      f, [*space].
    """
    box = [cells * spacing for cells, spacing in zip(grid.shape, grid.spacing, strict=True)]
    count = max(1, round(math.prod(side / length_per_blob for side in box)))
    place_key, radius_key, height_key = jax.random.split(key, 3)
    places = jax.random.uniform(place_key, (count, grid.ndim))
    radii = jax.random.uniform(
        radius_key, (count, 1), minval=radius_range[0], maxval=radius_range[1]
    )
    heights = jax.random.uniform(
        height_key, (count,), minval=height_range[0], maxval=height_range[1]
    )

    # A Gaussian is a product over the axes: each axis has one short profile for each blob.
    profiles = []
    for axis, (side, spacing, boundary) in enumerate(
        zip(box, grid.spacing, grid.boundary, strict=True)
    ):
        cells = (jnp.arange(grid.shape[axis]) + 0.5) * spacing
        distance = cells - side * places[:, axis, None]
        if boundary.kind == "circular":
            distance -= side * jnp.round(distance / side)
        profiles.append(jnp.exp(-0.5 * (distance / radii) ** 2))
    axes = "yxz"[: grid.ndim]
    product = ",".join(["b", *(f"b{axis}" for axis in axes)]) + "->" + axes
    return jnp.einsum(product, heights, *profiles, precision="highest")
