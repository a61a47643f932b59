"""What a config asks for, built: the rule, its dynamics, and how it is differentiated.

Here the floors meet: rules know nothing of rollouts, rollouts nothing of configs, and the trainer
and the scores nothing of whether an automaton or a PDE runs.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffpattern import rules
from diffpattern.data.statistics import Statistics
from diffpattern.data.windows import Window
from diffpattern.errors import InputError
from diffpattern.grid.forcing import UNFORCED, Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.grid.randomness import TILE, draw, normal
from diffpattern.grid.reach import reach
from diffpattern.models.masks import MASKS
from diffpattern.models.rda import ReactionDiffusionAdvection
from diffpattern.parallel.mesh import ALONE, CHECKED, UNCHECKED, blocks
from diffpattern.precision import real
from diffpattern.rollout import (
    Adaptive,
    Dynamics,
    Jittered,
    Stepped,
    Wide,
    exponential,
    rollout,
    runge_kutta,
)
from diffpattern.solvers import adaptive, explicit, spectral
from diffpattern.training import least_squares
from diffpattern.training.step import prefers_together
from diffpattern.training.weighting import field_weights

Parameters = Any


@dataclasses.dataclass(frozen=True)
class Problem:
    """A rule that is sought, with all that is done to it.

    A rule is local, and so lives on lattices of any size: what runs it takes the size from the
    state that it is given.

    Attributes:
      rule: the linen module; it works on lattices species first.
      mask: where the rule acts, a linen module (see `models.masks`).
      initialise: seed -> the first parameters of both, the mask's under "mask".
      dynamics: what a rollout runs.
      trained: what a rollout runs in training, where chance may be in it.
      with_sensitivities: the dynamics of a state and its sensitivities, where the rule has the
        structure for it.
      channels: of a lattice; the species come first, the rest is hidden.
      statistics: of the data that it is to reproduce; what stands here is for their first lattice.
      on: the same problem for another lattice.
      start_alive: the species whose values hidden channels start from; None: zero.
      start_noise: standard deviation of the noise that is added to them.
      channel_weights, time_weights: of the residuals, see `training.weighting`.
    """

    rule: nn.Module
    mask: nn.Module
    initialise: Callable[[int], Parameters]
    dynamics: Dynamics
    trained: Dynamics
    with_sensitivities: Stepped | Wide | None
    channels: int
    statistics: Statistics
    on: Callable[[Grid], "Problem"]
    start_alive: int | None = None
    start_noise: float = 0.0
    channel_weights: tuple[float, ...] = ()
    time_weights: tuple[float, ...] = ()

    def of_size(self, size: tuple[int, ...]) -> "Problem":
        """The same problem on a lattice of so many cells along each axis."""
        return self.on(dataclasses.replace(self.statistics.grid, shape=tuple(size)))

    def cut(self, mesh: Mesh) -> "Problem":
        """The same problem on the blocks that a mesh makes of lattices, inside `shard_map`.

        Raises:
          InputError: the lattices cannot be cut so, or what runs has to see them whole.
        """
        for size in self.statistics.sizes:
            self.statistics.on(size).grid.block(blocks(mesh))
        return self.on(self.statistics.grid.block(blocks(mesh)))

    def predict(
        self,
        parameters: Parameters,
        start: Array,
        times: np.ndarray,
        key: Array,
        forcing: Forcing = UNFORCED,
    ) -> Array:
        """Snapshots of the species, [T, *space, C], from a lattice of the species [*space, C]."""
        states = self.states(parameters, start, times, key, forcing)
        return states[..., : start.shape[-1]]

    def states(
        self,
        parameters: Parameters,
        start: Array,
        times: np.ndarray,
        key: Array,
        forcing: Forcing = UNFORCED,
        *,
        training: bool = False,
    ) -> Array:
        """Snapshots of all channels, as `predict` has those of the species.

        The start may have all channels already.
        """
        hidden_key, key = jax.random.split(key)
        start = self.complete(start, hidden_key)
        here = self.of_size(start.shape[:-1])
        dynamics = here.trained if training else here.dynamics
        return rollout(dynamics, parameters, start, times, key, here.acting(parameters, forcing))

    def complete(self, start: Array, key: Array) -> Array:
        """A lattice of the species [*space, C] with the hidden channels behind them."""
        shape = (*start.shape[:-1], self.channels - start.shape[-1])
        hidden = jnp.zeros(shape, start.dtype)
        if self.start_alive is not None:
            hidden += start[..., self.start_alive, None]
        if self.start_noise:
            grid = self.of_size(start.shape[:-1]).statistics.grid
            hidden += (self.start_noise * normal(key, grid, shape[-1])).astype(start.dtype)
        return jnp.concatenate([start, hidden], axis=-1)

    def acting(self, parameters: Parameters, forcing: Forcing) -> Forcing:
        """The forcing as the rule meets it, the mask's own kind of it."""
        return self.mask.apply({"params": parameters.get("mask", {})}, forcing)

    def met_by_sensitivities(self, parameters: Parameters, window: Window) -> Forcing:
        """The forcing of a window as the rule meets it, with a learnt mask's derivatives."""
        here = self.of_size(window.size)
        forcing = here.acting(parameters, window.forcing)
        flat, unravel = ravel_pytree(parameters.get("mask", {}))
        if not flat.size:
            return forcing
        mask = lambda flat: here.acting({"mask": unravel(flat)}, window.forcing).mask
        return forcing.replace(mask_changes=jnp.moveaxis(jax.jacfwd(mask)(flat), -1, 0))

    def lower_bounds(self, parameters: Parameters) -> Parameters:
        """The smallest value that each parameter may take, like `parameters`."""
        free = jax.tree.map(lambda x: jnp.full_like(x, -jnp.inf), parameters)
        if isinstance(self.rule, ReactionDiffusionAdvection):
            return free | self.rule.lower_bounds(parameters)
        return free

    def residuals(self, times: np.ndarray) -> least_squares.Residuals:
        """Prediction minus truth over a window, as it counts, for least squares."""

        def residuals(parameters: Parameters, window: Window, key: Array) -> Array:
            start = window.values[0] if window.start is None else window.start
            predicted = self.predict(parameters, start, times, key, window.forcing)
            return (self.factor(window) * (predicted[1:] - window.values[1:])).reshape(-1)

        return residuals

    def linearisation(self, times: np.ndarray) -> least_squares.Linearisation:
        """Residuals and their Jacobian over a window."""
        if self.with_sensitivities is None:
            return least_squares.by_forward_mode(self.residuals(times))

        def linearise(parameters: Parameters, window: Window, key: Array):
            here = self.of_size(window.size)
            of_size = least_squares.by_sensitivities(
                here.with_sensitivities, times, self.met_by_sensitivities, self.factor
            )
            return of_size(parameters, window, key)

        return linearise

    def factor(self, window: Window) -> Array | float:
        """What multiplies residuals, [L, 1 ..., C] or 1: the root of the weights of their squares.

        Raises:
          InputError: the weights do not fit the data.
        """
        weights = field_weights(window, self.channel_weights, self.time_weights)
        if weights is None:
            return 1.0
        return jnp.sqrt(jnp.expand_dims(weights, tuple(range(1, window.values.ndim - 1))))

    def signs(self, window: Window, key: Array, count: int) -> Array:
        """A random sign for each residual of a window, [M], on blocks as on the whole lattice.

        Args:
          window: whose residuals they are, in the order of the data.
          key: of the draws.
          count: M, of some snapshots.
        """
        grid = self.of_size(window.size).statistics.grid
        species = window.values.shape[-1]
        snapshots = count // window.values[0].size
        of_field = lambda key: draw(key, jax.random.rademacher, grid)
        signs = jax.vmap(of_field)(jax.random.split(key, (snapshots, species)).reshape(-1))
        signs = signs.reshape(snapshots, species, *grid.shape)
        return jnp.moveaxis(signs, 1, -1).reshape(-1).astype(window.values.dtype)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Those of the species, and of the hidden channels behind them."""
        species = self.statistics.species
        hidden = range(1, self.channels - len(species) + 1)
        return (*species, *(f"hidden {place}" for place in hidden))

    @property
    def running(self) -> str:
        """How it runs on the devices, see `parallel.mesh.on_mesh`: Diffrax's loops bear no proof of
        what is equal on all of them, and its implicit solvers no splitting at all."""
        if not isinstance(self.dynamics, Adaptive):
            return CHECKED
        return ALONE if self.dynamics.solver in adaptive.IMPLICIT else UNCHECKED


def build(
    config: ConfigDict, statistics: Statistics, devices: int = 1, distance: int | None = None
) -> Problem:
    """The problem of a checked config (see `configuration.check`) and of its data.

    Args:
      config: of the run.
      statistics: of the data.
      devices: over which trajectories will be spread.
      distance: how many cells away a step sees, where that is known.

    Raises:
      InputError: a name in it is not known, parts do not fit one another or the data, or a step
        does not divide the data's interval.
    """
    mask = MASKS[config.model.mask](statistics.grid)
    if mask.needs_data and not statistics.masked:
        raise InputError(
            f"model.mask is {config.model.mask!r}, which begins with the data's mask, but the data "
            "have none; give them one (data.mask), or take 'trainable'."
        )
    whole = statistics.grid.whole.shape
    if mask.by_cell and whole not in statistics.sizes:
        trained = ", ".join("x".join(map(str, size)) for size in statistics.sizes)
        raise InputError(
            f"model.mask is {config.model.mask!r}, one number for each cell, so the rule knows no "
            f"other lattices than it was trained on, {trained}, and none of "
            f"{'x'.join(map(str, whole))}."
        )
    automaton = rules.is_automaton(config.model)
    if automaton:
        rule, channels = rules.automaton(config.model, statistics), config.model.nca.channels
        together = statistics.grid.is_cut or prefers_together(config.training.windows)
        parts = _of_automaton(rule, config.model.nca, statistics, together)
    else:
        rule, channels = rules.pde(config.model, statistics), len(statistics.species)
        parts = _of_pde(
            rule,
            config.solver,
            statistics,
            devices,
            masked=mask.binds and (statistics.masked or mask.by_cell),
        )
        if mask.by_cell:
            # Its parameters act through every term, whose own structure does not know of it.
            parts["with_sensitivities"] = None

    def initialise(seed: int) -> Parameters:
        rule_key, mask_key, step_key = jax.random.split(jax.random.key(seed), 3)
        lattice = jnp.zeros((channels, *statistics.grid.shape))
        masks: Parameters = {}
        for size in statistics.sizes:
            there = statistics.on(size)
            variables = MASKS[config.model.mask](there.grid).init(mask_key, given(there))
            masks |= variables.get("params", {})
        forcing = mask.apply({"params": masks}, given(statistics))
        arguments = (step_key,) if automaton else ()
        parameters = rule.init(rule_key, lattice, *arguments, forcing).get("params", {})
        parameters |= {"mask": masks} if masks else {}
        return jax.tree.map(lambda leaf: leaf.astype(real()), parameters)

    @functools.cache
    def elsewhere(grid: Grid) -> Problem:
        far = _reach(problem) if several and grid.is_cut and distance is None else distance
        # Also while a function is traced: what is made here outlives that.
        with jax.ensure_compile_time_eval():
            return build(config, dataclasses.replace(statistics, grid=grid), devices, far)

    several = config.mesh.exchange_every > 1
    if several and statistics.grid.is_cut and not any(statistics.grid.margins):
        parts |= _on_wide_blocks(
            config.mesh.exchange_every, distance, elsewhere, statistics.grid, parts["trained"]
        )

    problem = Problem(
        rule=rule,
        mask=mask,
        initialise=jax.jit(initialise, static_argnums=0),
        channels=channels,
        statistics=statistics,
        on=lambda grid: problem if grid == statistics.grid else elsewhere(grid),
        channel_weights=tuple(config.loss.channel_weights),
        time_weights=tuple(config.loss.time_weights),
        **parts,
    )
    return problem


def _on_wide_blocks(
    every: int, distance: int, on: Callable[[Grid], Problem], grid: Grid, trained: Dynamics
) -> dict[str, Any]:
    """What a problem on blocks has that exchange their borders once for several steps.

    Args:
      every: how many steps.
      distance: how many cells away a step sees.
      on: the problem on another grid.
      grid: of the block.
      trained: what would run in training, asking for borders in each step.

    Raises:
      InputError: the lattice or the rule does not suit that.
    """
    if isinstance(trained, Jittered):
        raise InputError(
            f"mesh.exchange_every is {every}, but with model.nca.step_jitter each window makes "
            "steps of a number of its own; set one of the two to its default."
        )
    for cells, walls, cut in zip(grid.whole.shape, grid.boundary, grid.cuts, strict=True):
        if cut and walls.kind == "circular" and cells % TILE:
            raise InputError(
                f"mesh.exchange_every is {every}, for which a circular axis that is cut must have "
                f"a multiple of {TILE} cells, but one has {cells}."
            )
    wide = on(grid.widened(every * distance))
    several = Wide(wide.dynamics, every, grid, distance)
    pair = wide.with_sensitivities
    return {
        "dynamics": several,
        "trained": several,
        "with_sensitivities": pair and dataclasses.replace(several, steps=pair),
    }


def _reach(whole: Problem) -> int:
    """How many cells away a step sees."""

    def step(parameters, x, key, forcing):
        steps = whole.dynamics
        return steps.step(steps.prepare(parameters), x, key, whole.acting(parameters, forcing))

    x = jax.ShapeDtypeStruct((whole.channels, *whole.statistics.grid.shape), real())
    parameters = jax.eval_shape(lambda: whole.initialise(0))
    key = jax.eval_shape(lambda: jax.random.key(0))
    return reach(step, parameters, x, key, jax.eval_shape(lambda: given(whole.statistics)))


def whitened_degrees(config: ConfigDict) -> tuple[int, ...]:
    """Up to which degrees the config's rule takes whitened monomials."""
    return tuple(sorted({1, *rules.orders(config.model)}))


def _of_automaton(
    rule: nn.Module, fields: ConfigDict, statistics: Statistics, together: bool
) -> dict[str, Any]:
    """What an automaton's problem has; `together` as `rollout.Jittered` has it."""
    if fields.start_alive and fields.alive.channel >= len(statistics.species):
        raise InputError(
            "model.nca.start_alive lets hidden channels start from the data's channel "
            f"{fields.alive.channel} (model.nca.alive.channel), but the data have "
            f"{len(statistics.species)}, counted from 0."
        )
    steps = Stepped(
        lambda parameters, x, key, forcing: rule.apply({"params": parameters}, x, key, forcing),
        statistics.interval / fields.steps_per_interval,
    )
    trained = steps
    if fields.step_jitter:
        trained = Jittered(steps, fields.step_jitter, together)
    return {
        "dynamics": steps,
        "trained": trained,
        "with_sensitivities": None,
        "start_alive": fields.alive.channel if fields.start_alive else None,
        "start_noise": fields.start_noise,
    }


# Why a solver cannot do with blocks, by whether it is spectral.
_SEES_ALL = {
    True: "solver.name is {!r}, whose modes are waves of the whole lattice",
    False: "solver.dt is 0, and each block would choose the lengths of its own steps",
}


def _of_pde(
    rule: ReactionDiffusionAdvection,
    fields: ConfigDict,
    statistics: Statistics,
    devices: int,
    masked: bool,
) -> dict[str, Any]:
    """What a PDE's problem has."""

    def right_hand_side(parameters, x, forcing):
        return rule.apply({"params": parameters}, x, forcing)

    if statistics.grid.is_cut and (fields.name in spectral.NAMES or not fields.dt):
        raise InputError(
            "mesh.rows and mesh.columns cut lattices into blocks, but "
            f"{_SEES_ALL[fields.name in spectral.NAMES].format(fields.name)}; leave both at 1, or "
            "take an explicit solver with steps of a fixed length (solver.dt)."
        )
    pair = None
    if fields.name in spectral.NAMES:
        if not fields.dt:
            raise InputError(
                f"solver.dt is 0, but {fields.name} takes steps of a fixed length; give it one."
            )
        if masked:
            raise InputError(
                f"solver.name is {fields.name!r}, whose modes know no masks, but the rule has one; "
                "take an explicit solver."
            )
        transform = spectral.Transform(statistics.grid)
        symbol = spectral.EXACT if fields.exact else rule.laplacian()
        eigenvalues = jnp.asarray(transform.eigenvalues(symbol), real())
        dynamics = exponential(
            lambda parameters: rule.rates(parameters, eigenvalues, len(statistics.species)),
            rule.remainder,
            fields.name,
            fields.dt,
            transform,
        )
        dynamics.count(statistics.interval)
    elif fields.dt:
        dynamics = runge_kutta(right_hand_side, fields.name, fields.dt)
        pair = runge_kutta(rule.with_sensitivities, fields.name, fields.dt)
        dynamics.count(statistics.interval)
    else:
        shape = (len(statistics.species), *statistics.grid.shape)
        adaptive.require_possible(fields.name, shape, devices)
        dynamics = Adaptive(right_hand_side, fields.name, **fields.adaptive)
    return {"dynamics": dynamics, "trained": dynamics, "with_sensitivities": pair}


def solver_names() -> tuple[str, ...]:
    """All solvers of a PDE by name."""
    return tuple(dict.fromkeys((*explicit.NAMES, *spectral.NAMES, *adaptive.NAMES)))


def given(statistics: Statistics) -> Forcing:
    """A forcing of the shapes that those of the data have."""
    space = statistics.grid.shape
    return Forcing(
        time=jnp.zeros(()),
        mask=jnp.ones(space) if statistics.masked else None,
        environment=jnp.zeros((statistics.environment, *space)) if statistics.environment else None,
        inputs=jnp.zeros(statistics.inputs) if statistics.inputs else None,
    )
