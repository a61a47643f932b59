"""One rollout for every kind of dynamics.

A `Dynamics` knows how to advance a lattice over an interval of time; that is all that the trainer,
the scores and the data builders ask of a cellular automaton or of a PDE. Outside, lattices have
their channels last; a rollout turns them species first once, which is how rules and stencils want
them (see docs/conventions.md), and turns its snapshots back.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffpattern import intervals
from diffpattern.errors import InputError
from diffpattern.grid.cutting import crop_margin
from diffpattern.grid.forcing import UNFORCED, Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.grid.padding import pad
from diffpattern.parallel import recomputation
from diffpattern.solvers import adaptive, explicit, spectral

Parameters = Any


class Dynamics(Protocol):
    """What a rollout runs.

    Example:
      >>> class Still:
      ...     def advance(self, parameters, state, duration, key, forcing):
      ...         return state
      ...
      >>> rollout(Still(), None, jnp.ones((4, 4, 1)), [0, 16], jax.random.key(0)).shape
      (2, 4, 4, 1)
    """

    def advance(
        self, parameters: Parameters, state: Array, duration: float, key: Array, forcing: Forcing
    ) -> Array:
        """The state [C, *space] after `duration` units of time.

        `key` is this interval's own, and `forcing` that of the interval's beginning.

        Example:
          >>> halved = Stepped(lambda prepared, state, key, forcing: 0.5 * state, dt=1.0)
          >>> halved.advance(None, jnp.ones((1, 4)), 3.0, jax.random.key(0), UNFORCED).tolist()
          [[0.125, 0.125, 0.125, 0.125]]
        """


# Of the body of a scan all that happens inside is computed again when gradients are pulled back. In
# a scan nothing can be merged across steps, so checkpoint need not prevent it.
_recomputed = functools.partial(jax.checkpoint, prevent_cse=False, policy=recomputation.POLICY)


@dataclasses.dataclass(frozen=True)
class Stepped:
    """Steps of a fixed length: a cellular automaton, or a PDE under an explicit solver.

    Each step is recomputed when gradients are pulled back, so that a rollout stores one lattice a
    step and nothing of what happens inside.

    Attributes:
      step: (prepared, state, key, forcing) -> state one `dt` later; states are pytrees of arrays.
      dt: units of time a step takes.
      prepare: parameters -> what a step takes in their place, made once for all steps between two
        snapshots.

    Example:
      >>> decay = Stepped(lambda rate, state, key, forcing: (1 - 0.1 * rate) * state, dt=0.1)
      >>> after = decay.advance(2.0, jnp.ones(()), 0.2, jax.random.key(0), UNFORCED)
      >>> round(float(after), 3)
      0.64
    """

    step: Callable[[Any, Any, Array, Forcing], Any]
    dt: float
    prepare: Callable[[Parameters], Any] = lambda parameters: parameters

    def advance(
        self, parameters: Parameters, state: Any, duration: float, key: Array, forcing: Forcing
    ) -> Any:
        """See `Dynamics`; here states may be pytrees."""
        one = self.body(self.prepare(parameters), key, forcing)
        return jax.lax.scan(one, state, jnp.arange(self.count(duration)))[0]

    def body(self, prepared: Any, key: Array, forcing: Forcing) -> Callable[..., tuple[Any, None]]:
        """The body of a scan over the numbers of steps; see `advance` for the arguments.

        Example:
          >>> decay = Stepped(lambda rate, state, key, forcing: (1 - 0.1 * rate) * state, dt=0.1)
          >>> one = decay.body(2.0, jax.random.key(0), UNFORCED)
          >>> round(float(jax.lax.scan(one, jnp.ones(()), jnp.arange(2))[0]), 3)
          0.64
        """

        @_recomputed
        def one(state, index):
            now = forcing.later(index * self.dt)
            return self.step(prepared, state, jax.random.fold_in(key, index), now), None

        return one

    def count(self, duration: float) -> int:
        """How many steps make up `duration`.

        Raises:
          InputError: a step does not divide it (to 1e-4 of a step).

        Example:
          >>> steps = Stepped(lambda prepared, state, key, forcing: state, dt=0.5)
          >>> steps.count(16.0)
          32
          >>> steps.count(0.7)
          Traceback (most recent call last):
              ...
          diffpattern.errors.InputError: The rule takes steps of 0.5 units of time, which ...
        """
        count = round(duration / self.dt)
        if count < 1 or abs(count * self.dt - duration) > 1e-4 * self.dt:
            raise InputError(
                f"The rule takes steps of {self.dt:g} units of time, which do not divide the "
                f"{duration:g} between two snapshots; take a whole fraction of them (solver.dt)."
            )
        return count


@dataclasses.dataclass(frozen=True)
class Wide:
    """Steps of a block of a lattice that asks its neighbours for a border once for several steps.

    The border is as wide as these steps see, and what they spoil of it is cut off in the end.

    Attributes:
      steps: on blocks with that margin.
      every: how many steps are made with one border.
      grid: of the block, without the margin.
      reach: how many cells away a step sees.

    Example:
      >>> steps = Stepped(lambda prepared, state, key, forcing: state, dt=1.0)
      >>> block = Grid((8, 6)).block({"rows": 2})
      >>> Wide(steps, every=4, grid=block, reach=1).count(16.0)
      16
    """

    steps: Stepped
    every: int
    grid: Grid
    reach: int

    def advance(
        self, parameters: Parameters, state: Any, duration: float, key: Array, forcing: Forcing
    ) -> Any:
        """See `Dynamics`; here states may be pytrees."""
        count = self.steps.count(duration)
        prepared = self.steps.prepare(parameters)
        around = self._bordered(
            (forcing.mask, forcing.environment, forcing.mask_changes), self.grid.for_coefficients()
        )
        mask, environment, changes = around
        forcing = forcing.replace(mask=mask, environment=environment, mask_changes=changes)

        one = self.steps.body(prepared, key, forcing)

        def several(state, first, steps):
            # What lies beyond the lattice's walls is made anew in each step, so anything will do.
            wide = self._bordered(state, self.grid.between_mirrors())
            wide = jax.lax.scan(one, wide, first + jnp.arange(steps))[0]
            return jax.tree.map(lambda x: crop_margin(x, self._wide), wide)

        def next_ones(state, place):
            return several(state, place * self.every, self.every), None

        whole, rest = divmod(count, self.every)
        state = jax.lax.scan(next_ones, state, jnp.arange(whole))[0]
        return several(state, whole * self.every, rest) if rest else state

    @property
    def _wide(self) -> Grid:
        return self.grid.widened(self.every * self.reach)

    def _bordered(self, tree: Any, grid: Grid) -> Any:
        return jax.tree.map(lambda x: pad(x, grid, self._wide.margins), tree)

    def count(self, duration: float) -> int:
        """See `Stepped`."""
        return self.steps.count(duration)


@dataclasses.dataclass(frozen=True)
class Jittered:
    """Steps whose number between two snapshots is drawn anew each time.

    A rule trained so cannot count on a snapshot to be a whole number of steps away.

    Attributes:
      steps: what runs; their usual number between two snapshots is the middle of the range.
      jitter: by how many steps there may be more or fewer, each number being as likely.
      together: whether all windows make as many steps as any may, and those too many for nothing.
        So must blocks of a lattice, which exchange their borders in each step, and windows in one
        batch, of which none can leave out what another makes.

    Raises:
      InputError: when called, if none might be left.

    Example:
      >>> steps = Stepped(lambda prepared, state, key, forcing: 0.5 * state, dt=1.0)
      >>> jittered = Jittered(steps, jitter=1)  # 1, 2 or 3 of them
      >>> after = jittered.advance(None, jnp.ones(()), 2.0, jax.random.key(0), UNFORCED)
      >>> float(after) in (0.5, 0.25, 0.125)
      True
    """

    steps: Stepped
    jitter: int
    together: bool = False

    def advance(
        self, parameters: Parameters, state: Any, duration: float, key: Array, forcing: Forcing
    ) -> Any:
        """See `Dynamics`."""
        usual = self.steps.count(duration)
        if not 0 <= self.jitter < usual:
            raise InputError(
                f"Up to {self.jitter} steps more or fewer than {usual} between two snapshots leave "
                "none; take fewer (model.nca.step_jitter)."
            )
        count_key, key = jax.random.split(key)
        count = jax.random.randint(count_key, (), usual - self.jitter, usual + self.jitter + 1)
        prepared = self.steps.prepare(parameters)

        @_recomputed
        def one(state, index):
            # Steps of another length would be another rule, so time is stretched between them.
            now = forcing.later(index * duration / count)
            step = lambda state: self.steps.step(
                prepared, state, jax.random.fold_in(key, index), now
            )
            if self.together:
                choose = lambda new, old: jnp.where(index < count, new, old)
                return jax.tree.map(choose, step(state), state), None
            return jax.lax.cond(index < count, step, lambda state: state, state), None

        return jax.lax.scan(one, state, jnp.arange(usual + self.jitter))[0]


@dataclasses.dataclass(frozen=True)
class Adaptive:
    """Steps that follow the estimated error; see `solvers.adaptive.solve` for the fields.

    Example:
      >>> decay = Adaptive(lambda rate, x, forcing: -rate * x, "tsit5", 1e-4, 1e-6, max_steps=64)
      >>> after = decay.advance(2.0, jnp.ones((1, 4)), 1.0, jax.random.key(0), UNFORCED)
      >>> round(float(after[0, 0]), 3)
      0.135
    """

    right_hand_side: Callable[[Parameters, Array, Forcing], Array]
    solver: str
    relative_tolerance: float
    absolute_tolerance: float
    max_steps: int

    def __post_init__(self):
        adaptive.named(self.solver)  # an unknown name is told now, not while tracing

    def advance(
        self, parameters: Parameters, state: Array, duration: float, key: Array, forcing: Forcing
    ) -> Array:
        """See `Dynamics`."""
        del key  # a PDE draws nothing
        return adaptive.solve(
            self.solver,
            lambda x, elapsed: self.right_hand_side(parameters, x, forcing.later(elapsed)),
            state,
            duration,
            relative_tolerance=self.relative_tolerance,
            absolute_tolerance=self.absolute_tolerance,
            max_steps=self.max_steps,
        )


def runge_kutta(
    right_hand_side: Callable[[Parameters, Any, Forcing], Any], solver: str, dt: float
) -> Stepped:
    """The dynamics of dx/dt = f(parameters, x, forcing) under an explicit solver of fixed step.

    Example:
      >>> decay = runge_kutta(lambda rate, x, forcing: -rate * x, "heun", dt=0.1)
      >>> after = decay.advance(2.0, jnp.ones((1, 4)), 0.1, jax.random.key(0), UNFORCED)
      >>> round(float(after[0, 0]), 3)
      0.82
    """

    def step(parameters, state, key, forcing):
        del key  # a PDE draws nothing

        def slope(state, elapsed):
            return right_hand_side(parameters, state, forcing.later(elapsed))

        return explicit.step(solver, slope, state, dt)

    explicit.tableau(solver)  # an unknown name is told now, not while tracing
    return Stepped(step, dt)


def exponential(
    rates: Callable[[Parameters], Array],
    remainder: Callable[[Parameters, Array, Forcing], Array],
    solver: str,
    dt: float,
    transform: spectral.Transform,
) -> Stepped:
    """The dynamics of dx/dt = L x + N(x) under an exponential solver of fixed step.

    Args:
      rates: parameters -> those of L for each mode, [C, *freq].
      remainder: N.
      solver: its name.
      dt: length of a step, in units of time.
      transform: of the lattice.

    Example:
      >>> transform = spectral.Transform(Grid(8))
      >>> eigenvalues = jnp.asarray(transform.eigenvalues("cross"), jnp.float32)
      >>> nothing = lambda diffusion, x, forcing: jnp.zeros_like(x)
      >>> rates = lambda diffusion: diffusion * eigenvalues[None]
      >>> spreading = exponential(rates, nothing, "etdrk2", 1.0, transform)
      >>> spreading.count(16.0)
      16
    """
    spectral.require_known(solver)

    def prepare(parameters):
        return parameters, spectral.coefficients(solver, rates(parameters), dt)

    def step(prepared, state, key, forcing):
        del key  # a PDE draws nothing
        parameters, coefficients = prepared

        def rest(state, elapsed):
            return remainder(parameters, state, forcing.later(elapsed))

        return spectral.step(coefficients, transform, rest, state)

    return Stepped(step, dt, prepare)


def rollout(
    dynamics: Dynamics,
    parameters: Parameters,
    start: Array,
    times: np.ndarray,
    key: Array,
    forcing: Forcing = UNFORCED,
) -> Array:
    """Snapshots of the dynamics from one start.

    Args:
      dynamics: what runs.
      parameters: of the rule.
      start: lattice at times[0], [*space, C].
      times: increasing times of the T snapshots, known when traced.
      key: interval n draws from `fold_in(key, n)`.
      forcing: at times[0]; its own time is absolute, while of `times` only differences count.

    Returns:
      [T, *space, C]; the first is `start`.

    Raises:
      InputError: as `snapshots`.

    Example:
      >>> halved = Stepped(lambda prepared, state, key, forcing: 0.5 * state, dt=1.0)
      >>> states = rollout(halved, None, jnp.ones((4, 4, 1)), [0, 1, 3], jax.random.key(0))
      >>> states.shape, states[:, 0, 0, 0].tolist()
      ((3, 4, 4, 1), [1.0, 0.5, 0.125])
    """
    first = jnp.moveaxis(start, -1, 0)
    later = snapshots(dynamics, parameters, first, times, key, forcing)
    return jnp.moveaxis(jnp.concatenate([first[None], later]), 1, -1)


def snapshots(
    dynamics: Dynamics,
    parameters: Parameters,
    state: Any,
    times: np.ndarray,
    key: Array,
    forcing: Forcing = UNFORCED,
) -> Any:
    """The states at times[1:], for a state of any structure that the dynamics advance.

    Snapshots between which equal intervals lie are scanned over together, so that compilation
    grows with the number of changes of the interval only.

    Args:
      dynamics, parameters, times, key, forcing: as in `rollout`.
      state: at times[0]; lattices species first.

    Returns:
      Like `state`, every array with a leading axis of length T - 1.

    Raises:
      InputError: the times are fewer than two, or do not increase.

    Example:
      >>> halved = Stepped(lambda prepared, state, key, forcing: 0.5 * state, dt=1.0)
      >>> snapshots(halved, None, jnp.ones((1, 4)), [0, 1, 3], jax.random.key(0))[:, 0, 0].tolist()
      [0.5, 0.125]
    """
    times = np.asarray(times, np.float64)
    if len(times) < 2 or np.any(np.diff(times) <= 0):
        raise InputError(
            f"The times of a rollout must be two or more and increase: {times.tolist()}."
        )
    groups, first = [], 0
    for duration, group in itertools.groupby(intervals.between(times)):

        def next_snapshot(state, interval, duration=float(duration)):
            index, elapsed = interval
            interval_key = jax.random.fold_in(key, index)
            now = forcing.later(elapsed)
            state = dynamics.advance(parameters, state, duration, interval_key, now)
            return state, state

        last = first + len(list(group))
        elapsed = jnp.asarray(times[first:last] - times[0])
        state, states = jax.lax.scan(next_snapshot, state, (jnp.arange(first, last), elapsed))
        groups.append(states)
        first = last
    return groups[0] if len(groups) == 1 else jax.tree.map(lambda *x: jnp.concatenate(x), *groups)
