"""What is done to a window before the rule runs over it, and undone to what it ends with.

Everything is drawn from the window's key, inside the train step.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from diffpattern.data.windows import Window
from diffpattern.errors import InputError
from diffpattern.grid.cutting import part_along
from diffpattern.grid.geometry import Grid
from diffpattern.grid.randomness import normal

CHANNELS = ("all", "observed", "hidden")
# Radius of a disc of damage, over the shortest side of the lattice.
_RADII = (0.1, 0.3)

Undo = Callable[[Array], Array]


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Which changes are made, in this order.

    Attributes:
      crop: cells an axis of a random part of the lattice that alone is seen; 0: all of it.
      shift: whether windows are shifted along circular axes.
      turn: whether they are mirrored along each axis and, where two axes have equal sizes, turned
        by quarters. A rule that then fits cannot tell directions apart.
      damage: probability that a start loses a random disc of all its channels. A lattice that has
        just begun is spared: it may be a single cell.
      noise: standard deviation of Gaussian noise on a start.
      noise_on: which channels get it: "all", "observed" or "hidden".
    """

    crop: int = 0
    shift: bool = False
    turn: bool = False
    damage: float = 0.0
    noise: float = 0.0
    noise_on: str = "all"

    def check(self, grid: Grid) -> None:
        """Refuses what does not suit a lattice, or a block of one.

        Raises:
          InputError: naming the field.
        """
        moved = [name for name in ("crop", "shift", "turn") if getattr(self, name)]
        if moved and grid.is_cut:
            raise InputError(
                f"augmentation.{moved[0]} moves what is on a lattice as a whole, but mesh.rows and "
                "mesh.columns cut it into blocks; leave both at 1, or leave this out."
            )
        grid = grid.whole
        if self.crop > min(grid.shape):
            raise InputError(
                f"augmentation.crop is {self.crop} cells, but the lattice has only "
                f"{min(grid.shape)} along an axis."
            )
        if self.shift and any(walls.kind != "circular" for walls in grid.boundary):
            raise InputError(
                "augmentation.shift moves patterns across the lattice's edges, which must be "
                "'circular' for that (data.boundary)."
            )
        if self.turn and len({(w.lower, w.upper) for w in grid.boundary}) > 1:
            raise InputError(
                "augmentation.turn exchanges the lattice's walls, which must be alike for that "
                "(data.boundary)."
            )
        seen = self.cropped(grid)
        if self.turn and _square(seen.shape) and not math.isclose(*seen.spacing[:2], rel_tol=1e-3):
            raise InputError(
                "augmentation.turn exchanges the lattice's first two axes, whose cells are "
                f"{seen.spacing[0]:g} and {seen.spacing[1]:g} apart, but must be equally far apart "
                "for that."
            )

    def cropped(self, grid: Grid) -> Grid:
        """The grid of what is seen; beyond a part's edge, its outermost cells go on."""
        if not self.crop:
            return grid
        return Grid((self.crop,) * grid.ndim, grid.spacing, "replicate")

    def apply(
        self, window: Window, grid: Grid, key: Array, old: Array | bool = True
    ) -> tuple[Window, Undo]:
        """A window as the rule is to meet it.

        Args:
          window: with its start.
          grid: of its lattices, or of the blocks of them that are here.
          key: of this window and step.
          old: whether its start may be damaged.

        Returns:
          The window, and what gives a lattice [*space, channels] that came of it its place back.
        """
        crop_key, shift_key, turn_key, damage_key, noise_key = jax.random.split(key, 5)
        undo: Undo = lambda lattice: lattice
        space = window.start.shape[:-1]
        if self.crop:
            corner = [
                jax.random.randint(one, (), 0, size - self.crop + 1)
                for one, size in zip(jax.random.split(crop_key, len(space)), space, strict=True)
            ]
            window = _everywhere(window, lambda x: _cut(x, corner, self.crop))
            space = (self.crop,) * len(space)
        if self.shift:
            by = [
                jax.random.randint(one, (), 0, size)
                for one, size in zip(jax.random.split(shift_key, len(space)), space, strict=True)
            ]
            axes = tuple(range(len(space)))
            window = _everywhere(window, lambda x: jnp.roll(x, by, axes))
            undo = lambda lattice: jnp.roll(lattice, [-step for step in by], axes)
        if self.turn:
            swaps = _square(space)
            bits = jax.random.bernoulli(turn_key, shape=(len(space) + 1,))
            window = _everywhere(window, lambda x: _turned(x, bits, swaps))
            undo = lambda lattice, before=undo: before(_turned_back(lattice, bits, swaps))
        start, species = window.start, window.values.shape[-1]
        seen = self.cropped(grid)
        if self.damage:
            start = jnp.where(old, _damaged(start, seen, damage_key, self.damage), start)
        if self.noise:
            noisy = jnp.arange(start.shape[-1])
            noisy = {
                "all": noisy >= 0, "observed": noisy < species, "hidden": noisy >= species,
            }[self.noise_on]  # fmt: skip
            start = start + self.noise * noisy * normal(noise_key, seen, start.shape[-1])
        return dataclasses.replace(window, start=start), undo


def _everywhere(window: Window, change: Callable[[Array], Array]) -> Window:
    """A window whose fields of space, each as [*space, ...], are all changed alike."""
    forcing = window.forcing
    by_snapshot = lambda values: jax.vmap(change)(values)
    mask, environment = forcing.mask, forcing.environment
    return dataclasses.replace(
        window,
        values=by_snapshot(window.values),
        start=change(window.start),
        forcing=forcing.replace(
            mask=None if mask is None else change(mask),
            environment=None if environment is None else by_snapshot(environment),
        ),
    )


def _square(space: tuple[int, ...]) -> bool:
    """Whether a lattice can be turned by quarters in the plane of its first two axes."""
    return len(space) > 1 and space[0] == space[1]


def _cut(x: Array, corner: list[Array], size: int) -> Array:
    for axis, first in enumerate(corner):
        x = jax.lax.dynamic_slice_in_dim(x, first, size, axis)
    return x


def _turned(x: Array, bits: Array, swaps: bool) -> Array:
    """Mirrored along the axes whose bit is set; the first two exchanged by the last bit."""
    for axis, bit in enumerate(bits[:-1]):
        x = jnp.where(bit, jnp.flip(x, axis), x)
    return jnp.where(bits[-1], jnp.swapaxes(x, 0, 1), x) if swaps else x


def _turned_back(x: Array, bits: Array, swaps: bool) -> Array:
    x = jnp.where(bits[-1], jnp.swapaxes(x, 0, 1), x) if swaps else x
    for axis, bit in enumerate(bits[:-1]):
        x = jnp.where(bit, jnp.flip(x, axis), x)
    return x


def _damaged(lattice: Array, grid: Grid, key: Array, probability: float) -> Array:
    """With this probability, without a random disc."""
    chance_key, centre_key, radius_key = jax.random.split(key, 3)
    space = grid.whole.shape
    radius = min(space) * jax.random.uniform(radius_key, minval=_RADII[0], maxval=_RADII[1])
    centre = jax.random.uniform(centre_key, (len(space),)) * jnp.array(space)
    distances = [
        part_along(jnp.arange(size) + 0.5 - centre[axis], grid, axis)
        for axis, size in enumerate(space)
    ]
    squared = sum(jnp.square(d) for d in jnp.meshgrid(*distances, indexing="ij"))
    hit = jax.random.bernoulli(chance_key, probability) & (squared < radius**2)
    return jnp.where(hit[..., None], 0.0, lattice)
