"""Where a rule acts: what becomes of the mask that the data give, before the rule meets it.

Each kind of mask says of itself

- `binds`: whether the rule acts only where the mask lets it, be it the data's or its own;
- `by_cell`: whether it has a parameter for each cell, which reaches all terms of a rule at once and
  knows no other lattices;
- `needs_data`: whether it is nothing without a mask of the data's.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from diffpattern.errors import InputError
from diffpattern.grid.cutting import part
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.grid.padding import pad
from diffpattern.grid.slices import shifted

# First value of a trainable mask: nearly all, with a slope left to learn by.
_FIRST_LOGIT = 2.0
# How far from its edge a mask's cells are told apart, in cells.
_REACH = 3


class GivenMask(nn.Module):
    """The data's own: the state is zero outside, and no flux of a PDE passes the edge.

    Example:
      >>> forcing = Forcing(mask=jnp.array([0.0, 1.0, 1.0, 0.0]))
      >>> GivenMask(Grid(4))(forcing) is forcing
      True
    """

    grid: Grid
    binds, by_cell, needs_data = True, False, False

    def __call__(self, forcing: Forcing) -> Forcing:
        """The forcing as it is."""
        return forcing


class SoftMask(nn.Module):
    """The data's mask is seen, as one more field of the environment, and binds nobody.

    Example:
      >>> forcing = SoftMask(Grid(4))(Forcing(mask=jnp.array([0.0, 1.0, 1.0, 0.0])))
      >>> forcing.mask is None, forcing.environment.tolist()
      (True, [[0.0, 1.0, 1.0, 0.0]])
    """

    grid: Grid
    binds, by_cell, needs_data = False, False, False

    def __call__(self, forcing: Forcing) -> Forcing:
        """The forcing without a mask, which is the last field of its environment."""
        if forcing.mask is None:
            return forcing
        seen = forcing.mask[None]
        if forcing.environment is not None:
            seen = jnp.concatenate([forcing.environment, seen])
        return forcing.replace(mask=None, environment=seen)


class TrainableMask(nn.Module):
    """m = sigmoid(parameters), one for all trajectories, times the data's where they have one.

    Lattices of other sizes have other parameters, which are named by their size.

    The state is multiplied by m, and fluxes through a face by the m of both its cells.

    Example:
      >>> mask = TrainableMask(Grid((8, 8)))
      >>> variables = mask.init(jax.random.key(0), Forcing())
      >>> sorted(variables["params"]), mask.apply(variables, Forcing()).mask.shape
      (['logits_8x8'], (8, 8))
    """

    grid: Grid
    binds, by_cell, needs_data = True, True, False

    def setup(self):
        """Makes the parameters, one for each cell."""
        start = nn.initializers.constant(_FIRST_LOGIT)
        whole = self.grid.whole.shape
        size = "x".join(map(str, whole))
        self.logits = self.param(f"logits_{size}", start, whole)

    def __call__(self, forcing: Forcing) -> Forcing:
        """The forcing with this mask."""
        own = self.coverage()
        return forcing.replace(mask=own if forcing.mask is None else own * forcing.mask)

    def coverage(self) -> Array:
        """m, [*space].

        Example:
          >>> mask = TrainableMask(Grid(2))
          >>> variables = {"params": {"logits_2": jnp.zeros(2)}}
          >>> mask.apply(variables, method="coverage").tolist()
          [0.5, 0.5]
        """
        return jax.nn.sigmoid(part(self.logits, self.grid))


class LearntEdge(nn.Module):
    """m = clip(1/2 + (d + margin) / h, 0, 1): the data's mask with an edge that is learnt.

    d is a cell's distance from the edge that the data draw, see `signed_distance`, h the spacing,
    and the margin how much farther out the rule acts, in units of length: m is about the share of
    the cell that lies within. The margin is the same for all trajectories and lattices; 0, where it
    starts, is the data's own mask. The mask meets the state as a `TrainableMask` does.

    Raises:
      InputError: when called, if the data have no mask.

    Example:
      >>> forcing = Forcing(mask=jnp.array([0.0, 0.0, 1.0, 1.0, 0.0, 0.0]))
      >>> mask = LearntEdge(Grid(6))
      >>> mask.apply({"params": {"margin": 0.0}}, forcing).mask.tolist()
      [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
      >>> mask.apply({"params": {"margin": 0.5}}, forcing).mask.tolist()
      [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]
    """

    grid: Grid
    binds, by_cell, needs_data = True, False, True

    def setup(self):
        """Makes the one parameter."""
        self.margin = self.param("margin", nn.initializers.zeros, ())

    def __call__(self, forcing: Forcing) -> Forcing:
        """The forcing with this mask; it must have one of the data's."""
        if forcing.mask is None:
            raise InputError("A mask with a learnt edge needs one of the data's, which have none.")
        away = signed_distance(forcing.mask, self.grid) + self.margin
        return forcing.replace(mask=jnp.clip(0.5 + away / min(self.grid.spacing), 0.0, 1.0))


def signed_distance(mask: Array, grid: Grid) -> Array:
    """How far each cell is from the edge of a mask, in units of length.

    The distance between the centres of the cell and of the nearest one on the other side, less half
    a cell, where the edge itself is; as far as 3 cells, and 3 cells where that one is farther away.

    Args:
      mask: inside where it is above 0, [*space].
      grid: the lattice; beyond its walls the mask goes on as a coefficient does.

    Returns:
      Positive inside and negative outside, [*space].

    Example:
      >>> mask = jnp.array([0.0, 0.0, 1.0, 1.0, 1.0, 0.0])
      >>> signed_distance(mask, Grid(6, spacing=2.0)).tolist()
      [-3.0, -1.0, 1.0, 3.0, 1.0, -1.0]
    """
    inside = pad((mask > 0).astype(jnp.float32), grid.for_coefficients(), _REACH) > 0
    cell = min(grid.spacing)

    def to_nearest(there: Array) -> Array:
        """Distance of each cell from the nearest of those [*bordered], axis by axis."""
        squared = jnp.where(there, 0.0, jnp.inf)
        for axis, spacing in zip(range(-grid.ndim, 0), grid.spacing, strict=True):
            along = [
                shifted(squared, axis, step, _REACH) + (step * spacing) ** 2
                for step in range(-_REACH, _REACH + 1)
            ]
            squared = functools.reduce(jnp.minimum, along)
        return jnp.minimum(jnp.sqrt(squared), (_REACH + 0.5) * cell)

    return jnp.where(mask > 0, to_nearest(~inside) - cell / 2, cell / 2 - to_nearest(inside))


MASKS: dict[str, type[nn.Module]] = {
    "given": GivenMask,
    "soft": SoftMask,
    "trainable": TrainableMask,
    "edge": LearntEdge,
}
