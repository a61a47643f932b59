"""What a loss is told beside prediction and truth, and the means that all losses take."""

import functools
from collections.abc import Callable
from typing import Any

import flax
import jax.numpy as jnp
from jax import Array

from diffpattern.grid.blocks import block_means
from diffpattern.grid.cutting import mean_over_blocks, put_together, sum_over_blocks
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.models.perception import coarsened


@flax.struct.dataclass
class Context:
    """The circumstances under which L snapshots of C channels are compared.

    Attributes:
      grid: the lattice of the prediction, or a block of it; means are those of the whole.
      key: what is random in a loss is drawn from it; None, where nothing is.
      weight: how much each channel of each snapshot counts, [L, C], on average about one; None:
        all alike.
      mask: where a cell counts, [*space], 1 inside and 0 outside; None: everywhere.
    """

    grid: Grid = flax.struct.field(pytree_node=False)
    key: Any = None
    weight: Array | None = None
    mask: Array | None = None

    def inside(self, x: Array) -> Array:
        """The snapshots [..., *space, C], zero outside of the mask."""
        return x if self.mask is None else x * self.mask[..., None]

    def over_cells(self, x: Array) -> Array:
        """Means over the cells that count, [L, *space, C] -> [L, C]."""
        space = tuple(range(1, 1 + self.grid.ndim))
        if self.mask is None:
            return mean_over_blocks(jnp.mean(x, space), self.grid)
        sums = sum_over_blocks(jnp.sum(self.inside(x), space), self.grid)
        # Written so that an empty mask gives 0.
        return sums / jnp.maximum(sum_over_blocks(jnp.sum(self.mask), self.grid), 1.0)

    def over_fields(self, x: Array) -> Array:
        """The weighted mean over channels and snapshots, [L, C] -> a number."""
        return jnp.mean(x if self.weight is None else self.weight * x)

    def mean(self, x: Array) -> Array:
        """The weighted mean over the cells that count, [L, *space, C] -> a number."""
        if self.mask is None and self.weight is None:
            return mean_over_blocks(jnp.mean(x), self.grid)
        return self.over_fields(self.over_cells(x))

    def lattice(self) -> Grid:
        """The grid as errors see it: inside the mask, and between walls that give them nothing."""
        return self.grid.for_changes().under(Forcing(mask=self.mask))

    def put_together(self) -> "Context":
        """The same circumstances of the whole lattice, for one of its blocks."""
        mask = None if self.mask is None else put_together(self.mask, self.grid)
        return self.replace(grid=self.grid.whole, mask=mask)

    def coarsened(self, scale: int) -> "Context":
        """The same circumstances on blocks of `scale` cells an axis."""
        mask = None if self.mask is None else block_means(self.mask, self.grid, scale)
        return self.replace(grid=coarsened(self.grid, scale), mask=mask)


def seen_whole(loss: Callable[..., Array]) -> Callable[..., Array]:
    """A loss that has to see lattices whole: each device puts them together from all blocks."""

    @functools.wraps(loss)
    def of_blocks(prediction: Array, truth: Array, context: Context, **settings: Any) -> Array:
        grid = context.grid
        if not grid.is_cut:
            return loss(prediction, truth, context, **settings)
        whole = lambda x: put_together(x, grid, behind=1)
        value = loss(whole(prediction), whole(truth), context.put_together(), **settings)
        # The same on all of them, which so is known of it.
        return mean_over_blocks(value, grid)

    return of_blocks
