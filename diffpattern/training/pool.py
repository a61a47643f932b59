"""The pool: lattices that training goes on from, instead of the data's snapshots.

Each place in a batch has some trajectories and some slots of its own. A slot holds a lattice with
all its channels, and knows at which snapshot of which trajectory it stands. A train step takes one
slot of each place, runs the rule from there over a window, and puts back what it ends with: so a
rule learns from the states that it leads to itself, hidden channels included, and is held to what
it does in the long run.

Slots are their place's and places are spread over the devices, so that each device keeps its own
part of the pool, and what is drawn does not depend on how many devices there are.

Sources: Mordvintsev et al., "Growing neural cellular automata", Distill (2020), where the target
is one image; Richardson et al., "Learning spatio-temporal patterns with neural cellular automata"
(2024), whose states move on along a sequence of them.
"""

import dataclasses
from collections.abc import Callable

import flax
import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh

from diffpattern.data.windows import Window, begun_by
from diffpattern.grid.cutting import all_over_blocks
from diffpattern.grid.geometry import Grid
from diffpattern.parallel.mesh import DATA, SPREAD, lattices

BEGINNINGS = ("first", "uniform", "log")
ENDS = ("begin", "stay")


@flax.struct.dataclass
class Slots:
    """The slots of one place, or of all of a batch with a leading axis more.

    Attributes:
      lattice: [K, *space, channels].
      trajectory: in which of the place's trajectories each stands, [K].
      position: index of the snapshot at which each stands, [K].
      age: windows that each has moved on over since it began, [K].
    """

    lattice: Array
    trajectory: Array
    position: Array
    age: Array

    def layout(self, mesh: Mesh) -> "Slots":
        """How the slots of a batch lie on the mesh, see `parallel.mesh.lattices`."""
        before = self.position.ndim
        lattice = lattices(mesh, before, self.lattice.ndim - before - 1)
        return Slots(lattice, SPREAD, SPREAD, SPREAD)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool:
    """How the slots are used.

    A slot that begins stands at a snapshot of any of its place's trajectories, with the data's
    channels as they were seen there. After a step it may begin anew, or move on to the end of its
    window, or stay as it was to be tried again.

    Attributes:
      slots: K, how many each place has; each step takes one of them at random.
      begin: at which snapshot a slot begins: the "first", or one drawn, "uniform" in time or evenly
        in "log" time.
      reset: probability of beginning anew after a step.
      advance: probability of moving on, otherwise.
      at_end: what a slot does that stands where no whole window follows: "begin" anew, or "stay"
        and go on. Beyond the last snapshot its windows have that one again and again, so that it
        becomes a state that lasts.
      refresh_every: the slots of every so many places have the data's channels set to what was
        seen as they move on; 1 all of them, 0 none.
      replace_worst: how many slots of a batch, those with the highest losses, begin anew.
      span: L, intervals of a window.
      interval: between two snapshots, in units of time.
      complete: (species [*space, C], key) -> the lattice with all its channels.
      grid: of the lattices or their blocks, of which only matters how they are cut.
    """

    span: int
    interval: float
    complete: Callable[[Array, Array], Array]
    grid: Grid
    slots: int = 1
    begin: str = "first"
    reset: float = 0.0
    advance: float = 1.0
    at_end: str = "begin"
    refresh_every: int = 0
    replace_worst: int = 0

    def start(self, whole: Window, keys: Array) -> Slots:
        """The slots of a batch, all at their beginning.

        Args:
          whole: R trajectories for each place, [B, R, T, ...].
          keys: of the places, [B].
        """

        def of_place(whole, key):
            begin = lambda key: self._begin(whole, key)
            return jax.vmap(begin)(jax.random.split(key, self.slots))

        return jax.vmap(of_place)(whole, keys)

    def take(self, slots: Slots, whole: Window, key: Array) -> tuple[Array, Window, Array]:
        """One slot of a place.

        Args:
          slots: of this place.
          whole: its trajectories, [R, T, ...].
          key: of this place and step.

        Returns:
          Which one it is, the window that begins where it stands, and its age.
        """
        which = jax.random.randint(key, (), 0, self.slots)
        trajectory, position = slots.trajectory[which], slots.position[which]
        last = whole.values.shape[1] - 1
        snapshots = jnp.minimum(position + jnp.arange(self.span + 1), last)

        def cut(array):
            return array[trajectory, snapshots]

        forcing = jax.tree.map(lambda array: array[trajectory], whole.forcing)
        window = Window(
            cut(whole.values),
            forcing.later(position * self.interval),
            None if whole.known is None else cut(whole.known),
            slots.lattice[which],
        )
        return which, window, slots.age[which]

    def put_back(
        self,
        slots: Slots,
        which: Array,
        end: Array,
        whole: Window,
        key: Array,
        index: Array,
        lost: Array,
    ) -> Slots:
        """The slots after a train step.

        Args:
          slots: of this place.
          which: the one that was taken.
          end: the lattice that it came to, [*space, channels].
          whole: its trajectories, [R, T, ...].
          key: of this place and step.
          index: of the place.
          lost: whether it has to begin anew, see `lost`.
        """
        reset_key, advance_key, begin_key = jax.random.split(key, 3)
        before = jax.tree.map(lambda array: array[which], slots)
        last = whole.values.shape[1] - 1
        moved = before.position + self.span
        finite = all_over_blocks(jnp.isfinite(end).all(), self.grid)
        anew = jax.random.bernoulli(reset_key, self.reset) | lost | ~finite
        advances = jax.random.bernoulli(advance_key, self.advance)
        if self.at_end == "begin":
            anew = anew | (advances & (moved + self.span > last))
        beyond, moved = moved > last, jnp.minimum(moved, last)
        if self.refresh_every:
            species = whole.values.shape[-1]
            seen = whole.values[before.trajectory, moved]
            refreshed = jnp.concatenate([seen, end[..., species:]], axis=-1)
            # Beyond the last snapshot nothing was seen that a slot could be set to.
            end = jnp.where((index % self.refresh_every == 0) & ~beyond, refreshed, end)
        after = Slots(
            jnp.where(advances, end, before.lattice),
            before.trajectory,
            jnp.where(advances, moved, before.position),
            before.age + advances,
        )
        begun = self._begin(whole, begin_key)
        after = jax.tree.map(lambda new, old: jnp.where(anew, new, old), begun, after)
        return jax.tree.map(lambda all_of_them, one: all_of_them.at[which].set(one), slots, after)

    def lost(self, losses: Array, weights: Array) -> Array:
        """Which of the losses of the windows on this device are the batch's worst.

        Of equal losses the first, or a rule without chance would send all slots back.

        Args:
          losses: of the windows on this device.
          weights: 0 for windows that only fill the batch up.
        """
        losses = jnp.where(weights > 0, jnp.nan_to_num(losses, nan=jnp.inf), -jnp.inf)
        if not self.replace_worst:
            return jnp.zeros(losses.shape, bool)
        everybody = jax.lax.all_gather(losses, DATA, tiled=True)
        worst = jnp.argsort(-everybody)[: self.replace_worst]
        here = jax.lax.axis_index(DATA) * len(losses) + jnp.arange(len(losses))
        return (here[:, None] == worst).any(axis=1)

    def _begin(self, whole: Window, key: Array) -> Slots:
        """One slot at its beginning in one of some trajectories, [R, T, ...]."""
        trajectory_key, place_key, key = jax.random.split(key, 3)
        trajectory = jax.random.randint(trajectory_key, (), 0, len(whole.values))
        starts = whole.values.shape[1] - self.span
        quantile = jax.random.uniform(place_key)
        position = {
            "first": jnp.zeros(()),
            "uniform": quantile * starts,
            "log": (starts + 1.0) ** quantile - 1,
        }[self.begin]
        position = jnp.minimum(position.astype(jnp.int32), starts - 1)
        if whole.known is not None:
            # As windows of data do; but what follows may be seen after several windows.
            known = whole.known[trajectory]
            position = begun_by(known, self.span, within=len(known))[position]
        lattice = self.complete(whole.values[trajectory, position], key)
        return Slots(lattice, trajectory, position, jnp.zeros_like(position))
