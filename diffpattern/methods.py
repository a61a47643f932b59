"""The two ways to train, as a config asks for: gradients through Optax, or least squares."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffpattern import objective
from diffpattern.data import continuation
from diffpattern.data.windows import Window
from diffpattern.errors import InputError
from diffpattern.grid.cutting import mean_over_blocks
from diffpattern.models.rda import ReactionDiffusionAdvection
from diffpattern.parallel.mesh import DATA, SPREAD, blocks, lattices, on_mesh
from diffpattern.problem import Problem
from diffpattern.training import averaging, least_squares, matrix_free, optimisers, preconditioning
from diffpattern.training.augmentation import Augmentation
from diffpattern.training.checkpoints import Checkpoints
from diffpattern.training.metrics import Metrics, Watch
from diffpattern.training.pool import Pool, Slots
from diffpattern.training.step import (
    AUGMENTATION,
    Batch,
    Step,
    TrainState,
    layout,
    make_gradient_step,
)

# Least squares steps in a row in which every window diverges, before training gives up: such a step
# changes nothing, and only other windows can help.
MOST_DIVERGED = 10
# A preconditioner of the matrix-free form is dense, for up to so many parameters. Its rows are
# drawn: with two for each parameter, hardly any direction is missed.
MOST_PRECONDITIONED = 4000
ROWS_PER_PARAMETER = 2


@dataclasses.dataclass(frozen=True)
class Training:
    """One of the two ways to train.

    Attributes:
      step_over: the train step, not yet compiled, over windows of a length in intervals.
      window: the length that windows have in the end.
      start: makes the optimiser's part of the first state.
      start_pool: makes the pool's, of a batch of whole trajectories that lies on the mesh.
      is_lost: whether a step with these metrics came to nothing.
      patience: how many such steps in a row are passed over.
      nature: what is the matter with such steps.
      limit: who says so.
      lost_in_a_row: an optimiser's state -> how many steps before it were lost.
      schedule: step -> what else to log of it.
    """

    step_over: Callable[[float], Step]
    window: int
    start: Callable[[], Any]
    start_pool: Callable[[Batch], tuple[Slots, ...]]
    is_lost: Callable[[Metrics], bool]
    patience: int
    nature: str
    limit: str
    lost_in_a_row: Callable[[Any], int]
    schedule: Callable[[int], dict[str, float]]

    @property
    def step(self) -> Step:
        """The step over windows of their final length."""
        return self.step_over(self.window)

    def watch(self, state: TrainState, checkpoints: Checkpoints) -> Watch:
        """Ends the run when too many steps in a row, counted on from `state`, are lost."""

        def explain(step: int, in_a_row: int) -> str:
            checkpoints.wait()
            kept = "there is no checkpoint yet"
            if (last := checkpoints.latest) is not None:
                kept = f"the last good checkpoint is {checkpoints.folder / str(last)}"
            return (
                f"{self.nature} at step {step} ({in_a_row} in a row; {self.limit} passes over "
                f"{self.patience}); {kept}."
            )

        return Watch(self.is_lost, self.patience, self.lost_in_a_row(state.optimiser), explain)


def make_training(
    config: ConfigDict, sought: Problem, initial: Any, mesh: Mesh, together: bool
) -> Training:
    """The train step that a config asks for, and its optimiser's first state.

    Args:
      config: of the run.
      sought: the rule, on whole lattices.
      initial: its first parameters.
      mesh: on which it is trained.
      together: see `training.step.over_windows`.
    """
    window, interval = config.training.window, sought.statistics.interval
    lower, on_blocks = sought.lower_bounds(initial), sought.cut(mesh)
    options = {
        "mesh": mesh,
        "seed": config.seed,
        "together": together,
        "running": sought.running,
    }
    if config.optimiser.name == "levenberg_marquardt":
        fields = config.optimiser.levenberg_marquardt
        check_size(config, initial)
        sought_from = least_squares.first_steps(initial, fields.frozen, fields.frozen_steps)

        def step_over(length: float) -> Step:
            times = continuation.elapsed(length, interval)
            rows = rough_rows(config, on_blocks, lower, times, elapsed=times[-1])
            return least_squares_step(
                config,
                on_blocks.residuals(times),
                on_blocks.linearisation(times),
                lower,
                rows=rows,
                sought_from=sought_from,
                signs=on_blocks.signs,
                **options,
            )

        return Training(
            step_over,
            window,
            lambda: least_squares.Fit.start(fields.damping, initial),
            start_pool=lambda batch: (),
            is_lost=lambda metrics: bool(metrics["diverged"] == 1),
            patience=MOST_DIVERGED,
            nature="The rule diverges over every window, and leaves nothing to learn from,",
            limit="least squares",
            lost_in_a_row=lambda damping: 0,
            schedule=lambda step: {},
        )
    chain = optimisers.Chain.of(config.optimiser.name, config.optimiser.optax.to_dict())
    optimiser, frozen = chain.build(initial), chain.are_frozen(initial)
    pool = make_pool(config, on_blocks, mesh.shape[DATA])

    def start_pool(batch: Batch) -> tuple[Slots, ...]:
        if pool is None:
            return ()
        key = jax.random.key(config.seed)
        keys = lambda part: jax.vmap(jax.random.fold_in, (None, 0))(key, part["index"])
        start = lambda batch: tuple(pool.start(part["window"], keys(part)) for part in batch)
        where = layout(batch, mesh)
        slots = Slots(lattices(mesh, 2, sought.statistics.grid.ndim), *(SPREAD,) * 3)
        spread = on_mesh(start, mesh, (where,), (slots,) * len(batch))
        return jax.jit(spread)(batch)

    def step_over(length: float) -> Step:
        of_all = _window_loss(config, sought, mesh, continuation.elapsed(length, interval))
        window_loss = lambda parameters, *rest: of_all(optimisers.held(parameters, frozen), *rest)
        step = make_gradient_step(window_loss, optimiser, lower, **options, pool=pool)
        return averaging.averaged(step, chain.average_decay) if chain.average_decay else step

    start = lambda: optimiser.init(initial)
    if chain.average_decay:
        start = lambda: averaging.start(initial, optimiser.init(initial))

    return Training(
        step_over,
        window,
        # Copies, since a compiled step takes over the memory of its state, in which some of Optax's
        # rules begin with the same array twice.
        lambda: jax.tree.map(jnp.copy, start()),
        start_pool=start_pool,
        is_lost=lambda metrics: not np.isfinite([metrics["loss"], metrics["gradient_norm"]]).all(),
        patience=chain.skip_nonfinite,
        nature="The loss or its gradient is not finite",
        limit="optimiser.optax.skip_nonfinite",
        lost_in_a_row=lambda state: int(optimisers.nonfinite_in_a_row(state)),
        schedule=chain.scheduled,
    )


def window_lengths(config: ConfigDict) -> continuation.Schedule:
    """How long windows are at which step.

    Raises:
      InputError: naming a length that cannot be.
    """
    training = config.training
    return continuation.Schedule(
        training.window, training.continuation, training.continuation_steps
    )


def least_squares_step(
    config: ConfigDict,
    residuals: least_squares.Residuals,
    linearise: least_squares.Linearisation,
    lower: Any,
    *,
    rows: preconditioning.Rows | None,
    signs: matrix_free.Signs,
    start_weight: float | None = None,
    **options: Any,
) -> Step:
    """A least squares step in the form that a config asks for.

    Args:
      config: of the run.
      residuals: of one window.
      linearise: residuals and Jacobian of one window.
      lower: smallest values of the parameters.
      rows: for the preconditioner of the matrix-free form, from `rough_rows`.
      signs: for the scales of that form where there are no rows.
      start_weight: in place of the config's.
      options: further arguments of both forms.
    """
    fields = config.optimiser.levenberg_marquardt
    if fields.form == "dense":
        return least_squares.make_least_squares_step(residuals, linearise, lower, **options)
    return matrix_free.make_matrix_free_step(
        residuals,
        lower,
        stopping=matrix_free.ConjugateGradients(**fields.conjugate_gradients),
        rows=rows,
        signs=signs,
        start_weight=fields.start_weight if start_weight is None else start_weight,
        **options,
    )


def rough_rows(
    config: ConfigDict, sought: Problem, lower: Any, times: np.ndarray, elapsed: float
) -> preconditioning.Rows | None:
    """What tells roughly of a PDE's parameters; None where nothing does, or too much for a matrix.

    Args:
      config: of the run.
      sought: the rule.
      lower: like the parameters.
      times: of a window's snapshots, relative to the first.
      elapsed: the time over which residuals feel the right-hand side.
    """
    count = sum(leaf.size for leaf in jax.tree.leaves(lower))
    # A mask of as many parameters as there are cells acts through all terms, cell by cell.
    known = isinstance(sought.rule, ReactionDiffusionAdvection) and not sought.mask.by_cell
    if not known or count > MOST_PRECONDITIONED:
        return None
    per_window = config.training.batch * len(sought.statistics.species)
    return preconditioning.of_right_hand_side(
        lambda window: sought.of_size(window.size).rule,
        lambda window: sought.of_size(window.size).statistics.grid,
        times,
        -(-ROWS_PER_PARAMETER * count // per_window),
        elapsed=elapsed,
        acting=sought.met_by_sensitivities,
    )


def check_size(config: ConfigDict, parameters: Any) -> None:
    """Refuses a rule with too many parameters for the form of least squares that a config asks for.

    Raises:
      InputError: saying how many there are.
    """
    fields = config.optimiser.levenberg_marquardt
    if fields.form == "dense" or fields.selection.steps:
        least_squares.check_size(parameters)


def make_pool(config: ConfigDict, sought: Problem, devices: int) -> Pool | None:
    """The pool that windows begin in; None where they begin with the data.

    Raises:
      InputError: the devices cannot share it evenly, or a field does not suit the others.
    """
    if config.training.starts == "data":
        return None
    if config.training.batch % devices:
        raise InputError(
            f"training.batch is {config.training.batch}, but with training.starts='pool' it must "
            f"be a multiple of the {devices} devices (mesh.data), each of which keeps its part."
        )
    if config.training.pool.replace_worst >= config.training.batch:
        raise InputError(
            f"training.pool.replace_worst is {config.training.pool.replace_worst}, but must be "
            f"less than training.batch, {config.training.batch}."
        )
    if config.augmentation.crop:
        raise InputError(
            "augmentation.crop shows parts of lattices, which cannot go back into a pool; take "
            "training.starts='data', or no crop."
        )
    return Pool(
        span=config.training.window,
        interval=sought.statistics.interval,
        complete=sought.complete,
        grid=sought.statistics.grid,
        **config.training.pool,
    )


def _window_loss(
    config: ConfigDict, sought: Problem, mesh: Mesh, times: np.ndarray
) -> Callable[[Any, Window, Array, Array], tuple[Array, Array]]:
    """The loss of a window and the lattice that it ends with, of (parameters, window, key, old)."""
    augmentation = Augmentation(**config.augmentation)
    sizes = sought.statistics.sizes
    for size in sizes:
        augmentation.check(sought.of_size(size).statistics.grid.block(blocks(mesh)))
    augments = augmentation != Augmentation()
    whole = sought
    if augmentation.crop:
        whole = sought.on(augmentation.cropped(sought.statistics.grid))
        sizes = (whole.statistics.grid.shape,)
    loss, sought = objective.build(config, whole, sizes, mesh), whole.cut(mesh)
    inner = config.training.inner
    of_hidden = {
        "training.inner.steps": inner.steps,
        "augmentation.noise_on": augmentation.noise and augmentation.noise_on == "hidden",
    }
    for field in (name for name, asked in of_hidden.items() if asked):
        if sought.channels == len(sought.statistics.species):
            raise InputError(
                f"{field} is about hidden channels, but the rule has no channels besides the "
                f"data's {sought.channels}; leave it out, or take an automaton with more "
                "(model.nca.channels)."
            )

    def fit(parameters, window, key):
        start, forcing = window.start, window.forcing
        states = sought.states(parameters, start, times, key, forcing, training=True)
        return loss(states[1:], window, key, parameters), states[-1]

    def adapted(parameters, window, key):
        """The window with the hidden channels of its start fitted to what follows."""
        species = window.values.shape[-1]

        def of_hidden(hidden):
            start = jnp.concatenate([window.start[..., :species], hidden], axis=-1)
            return fit(parameters, dataclasses.replace(window, start=start), key)[0]

        def descend(hidden, _):
            slope = jax.grad(of_hidden)(hidden)
            size = mean_over_blocks(jnp.mean(slope**2), sought.statistics.grid) ** 0.5 + 1e-12
            return hidden - inner.rate * slope / size, None

        hidden, _ = jax.lax.scan(descend, window.start[..., species:], length=inner.steps)
        start = jnp.concatenate([window.start[..., :species], hidden], axis=-1)
        return dataclasses.replace(window, start=jax.lax.stop_gradient(start))

    # What has just begun in a pool may be a single cell, and is spared; a snapshot of the data is
    # not.
    spares = config.training.starts == "pool"

    def window_loss(parameters, window, key, old):
        if window.start is None:
            hidden_key, _ = jax.random.split(key)
            window = dataclasses.replace(
                window, start=sought.complete(window.values[0], hidden_key)
            )
        undo = lambda lattice: lattice
        if augments:
            augmentation_key = jax.random.fold_in(key, AUGMENTATION)
            grid, may_be_hit = sought.of_size(window.size).statistics.grid, old if spares else True
            window, undo = augmentation.apply(window, grid, augmentation_key, may_be_hit)
        if inner.steps:
            fitted = adapted(jax.lax.stop_gradient(parameters), window, key)
            start = jnp.where(old, window.start, fitted.start)
            window = dataclasses.replace(window, start=start)
        error, end = fit(parameters, window, key)
        return error, undo(end)

    return window_loss
