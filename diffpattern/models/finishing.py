"""What is done to an automaton's lattice after its update.

A finishing is a frozen description that is called with the lattice before and after the update,
both [C, *space], and gives the lattice that the step ends with.

Example:
  >>> finish = Bounded(observed=1)
  >>> finish(jnp.zeros((2, 3)), jnp.full((2, 3), -5.0), Grid(3)).tolist()
  [[0.0, 0.0, 0.0], [-1.0, -1.0, -1.0]]
"""

import dataclasses

import jax.numpy as jnp
from jax import Array, lax

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.grid.padding import pad
from diffpattern.grid.slices import shifted
from diffpattern.parallel.recomputation import remembered


@dataclasses.dataclass(frozen=True)
class Bounded:
    """Clips observed channels to [0, 1] and hidden ones to [-1, 1].

    Attributes:
      observed: how many of the first channels are data.

    Example:
      >>> after = jnp.full((2, 3), -5.0)  # one channel of data, one that is hidden
      >>> Bounded(observed=1)(jnp.zeros((2, 3)), after, Grid(3)).tolist()
      [[0.0, 0.0, 0.0], [-1.0, -1.0, -1.0]]
    """

    observed: int

    def __call__(self, before: Array, after: Array, grid: Grid) -> Array:
        """See the module's docstring."""
        lowest = jnp.where(jnp.arange(len(after)) < self.observed, 0.0, -1.0).astype(after.dtype)
        return jnp.clip(after, lowest.reshape((-1,) + (1,) * grid.ndim), 1.0)


@dataclasses.dataclass(frozen=True)
class Alive:
    """Empties the cells that have nobody alive beside them, before or after the update.

    A cell is alive where the largest alpha of its 3^ndim neighbours, itself included and those
    beyond a wall as the grid's boundary has them, is above the threshold.

    Source: Mordvintsev et al., "Growing neural cellular automata", Distill (2020).

    Attributes:
      channel: alpha, by its place among the channels.
      threshold: of alpha.

    Raises:
      InputError: when called, if the lattice has no such channel.

    Example:
      >>> x = jnp.array([[0.0, 0.0, 1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])
      >>> Alive(channel=0)(x, x, Grid(6))[1].tolist()
      [0.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    """

    channel: int = 3
    threshold: float = 0.1

    def __call__(self, before: Array, after: Array, grid: Grid) -> Array:
        """See the module's docstring."""
        if not 0 <= self.channel < len(after):
            raise InputError(
                f"Alive masking looks at channel {self.channel}, but the lattice has "
                f"{len(after)}, counted from 0."
            )
        alive = remembered(self.alive(before, grid) & self.alive(after, grid))
        return jnp.where(alive, after, 0.0)

    def alive(self, x: Array, grid: Grid) -> Array:
        """Where a cell of x [C, *space] is alive: booleans [*space].

        Example:
          >>> alpha = jnp.array([[0.0, 0.0, 1.0, 0.0, 0.0, 0.0]])
          >>> Alive(channel=0).alive(alpha, Grid(6)).tolist()
          [False, True, True, True, False, False]
        """
        # Booleans are small, and nothing is differentiated through them.
        alpha = lax.stop_gradient(x[self.channel : self.channel + 1])
        alive = pad(alpha, grid.for_channels((self.channel,)), 1)[0] > self.threshold
        for axis in range(-grid.ndim, 0):
            alive = (
                shifted(alive, axis, -1, 1)
                | shifted(alive, axis, 0, 1)
                | shifted(alive, axis, 1, 1)
            )
        return alive
