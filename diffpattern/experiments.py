"""What a trained rule does from one start, for people to look at: all its channels, and healing.

Scores need the species of all trajectories at the data's times. A picture shows one trajectory, and
asks for more of it: hidden channels, times in between where the data have few, and how the rule
goes on when a part of the lattice is erased.
"""

import functools
import math
from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from diffpattern import intervals, scores
from diffpattern.data.trajectories import Trajectories
from diffpattern.data.windows import layout_of_forcing
from diffpattern.grid.geometry import Grid
from diffpattern.models.rda import ReactionDiffusionAdvection
from diffpattern.parallel.mesh import lattices
from diffpattern.precision import real
from diffpattern.prediction import Parameters, spread
from diffpattern.problem import Problem
from diffpattern.records import Damage, States
from diffpattern.rollout import Dynamics

# As many moments as a film needs, and as much as a file of states may hold, in half precision.
_MOMENTS = 96
_BYTES = 16_000_000
# The radius of the erased part, as a share of the lattice's shortest side.
_RADIUS = 0.25


@dataclass(frozen=True, eq=False)
class Experiments:
    """A rule with one of the trajectories that it is tried on.

    Attributes:
      problem: the rule and what is done to it.
      parameters: of the rule.
      truth: the test data.
      trajectory: which of them.
      mesh: over whose "data" axis rollouts lie.
      seed: of what is random in the rule, as for predictions.
      together: see `training.step.over_windows`.
    """

    problem: Problem
    parameters: Parameters
    truth: Trajectories
    trajectory: int
    mesh: Mesh
    seed: int
    together: bool

    def states(self) -> States:
        """All channels from the trajectory's first snapshot on, at `moments`."""
        cells = math.prod(self.truth.grid.shape) * self.problem.channels
        most = max(2, min(_MOMENTS, _BYTES // (2 * cells)))
        times = moments(self.truth.times, self.problem.dynamics, most)
        start = self.truth.values[self.trajectory, 0]
        return States(self.trajectory, times, self._run(start[None], times, draw=0)[0])

    def damage(self, states: States, floor: NDArray) -> Damage:
        """Erases a part of a state half-way, and lets it go on for as long as the data last.

        What is erased is a disc (a ball, or a piece of a line) about the middle. An automaton's
        cells are set to zero, where hidden channels and an empty picture begin; the species of a
        PDE to the mean of the training data, since zero may lie far from all that it has seen.

        Args:
          states: of the trajectory, not yet rounded.
          floor: of the NRMSE, see `scores.nrmse`.
        """
        times = self.truth.times
        middle = int(np.abs(states.times - times[len(times) // 2]).argmin())
        before = np.asarray(states.values[middle])
        mask = None if self.truth.mask is None else self.truth.mask[self.trajectory]
        erased = disc(self.truth.grid) & (True if mask is None else mask > 0)
        filling = np.zeros(before.shape[-1], before.dtype)
        if isinstance(self.problem.rule, ReactionDiffusionAdvection):
            filling += np.asarray(self.problem.statistics.mean, before.dtype)
        after = np.where(erased[..., None], filling, before)
        later = states.times[middle] + (states.times - states.times[0])
        both = self._run(np.stack([before, after]), later, draw=1)
        undamaged, damaged = both[..., : len(self.truth.species)]
        return Damage(
            self.trajectory,
            later,
            erased,
            filling,
            undamaged,
            damaged,
            scores.nrmse(
                damaged[None], undamaged[None], floor, None if mask is None else mask[None]
            )[0],
        )

    def _run(self, starts: NDArray, times: NDArray, draw: int) -> NDArray:
        """All channels from several starts by the same chance, [N, T, *space, channels].

        Args:
          starts: of the species or of all channels, [N, *space, channels].
          times: [T], the first that of the starts.
          draw: 0 for the chance by which the trajectory was predicted, or another.
        """
        key = jax.random.fold_in(jax.random.key(self.seed), self.trajectory)
        key = jax.random.fold_in(key, draw) if draw else key
        here, space = self.problem.cut(self.mesh), self.truth.grid.ndim

        def states(parameters, item, index):
            del index  # chance is the same for all
            start, forcing = item
            return here.states(parameters, start, times, key, forcing)

        forcing = self.truth.forcing(np.full(len(starts), self.trajectory))
        forcing = forcing.later(real().type(times[0] - self.truth.times[0]))
        layout = (lattices(self.mesh, 1, space), layout_of_forcing(forcing, space, self.mesh))
        run = spread(
            states,
            (starts, forcing),
            self.mesh,
            layout,
            lattices(self.mesh, 2, space),
            together=self.together,
            running=here.running,
        )
        return run(self.parameters)


def moments(times: NDArray, dynamics: Dynamics, most: int) -> NDArray:
    """Times at which to look, from the first of the data's to the last: `most` or a few more.

    Between two snapshots there are more, all after whole numbers of the rule's steps, where the
    data have few; where they have more than `most`, only every second, third ... is kept.
    """
    times = np.asarray(times, np.float64)
    gaps = len(times) - 1
    if gaps >= most:
        kept = times[:: math.ceil(gaps / (most - 1))]
        return kept if kept[-1] == times[-1] else np.append(kept, times[-1])
    parts = max(1, most // max(gaps, 1))
    if hasattr(dynamics, "count"):
        counts = {dynamics.count(interval) for interval in intervals.between(times)}
        steps = functools.reduce(math.gcd, counts, 0)
        parts = max(n for n in range(1, parts + 1) if steps % n == 0)
    within = np.arange(parts) / parts
    between = times[:-1, None] + within * np.diff(times)[:, None]
    return np.append(between.ravel(), times[-1])


def disc(grid: Grid) -> NDArray[np.bool_]:
    """The cells no farther from the lattice's middle than a quarter of its shortest side."""
    axes = [
        spacing * (np.arange(cells) - (cells - 1) / 2)
        for cells, spacing in zip(grid.shape, grid.spacing, strict=True)
    ]
    shortest = min(n * h for n, h in zip(grid.shape, grid.spacing, strict=True))
    squares = sum(np.square(x) for x in np.meshgrid(*axes, indexing="ij"))
    return squares <= (_RADIUS * shortest) ** 2
