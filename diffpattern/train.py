"""Training, from a config to a report."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from clu import parameter_overview
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffpattern import configuration, dataset, evaluate, problem, selection, summaries, systems
from diffpattern.data import continuation, statistics, streams, windows
from diffpattern.data.simulation import SPLITS
from diffpattern.data.sources import Data
from diffpattern.data.stored import StoredTrajectories
from diffpattern.data.streams import Batches, OfEachSize, Sampling
from diffpattern.data.trajectories import Trajectories, digest
from diffpattern.errors import InputError, StopSignal, TrainingError
from diffpattern.interruption import Interruption
from diffpattern.methods import (
    Training,
    check_size,
    least_squares_step,
    make_training,
    rough_rows,
    window_lengths,
)
from diffpattern.parallel import processes
from diffpattern.parallel.mesh import DATA, held_cells, make_mesh, put
from diffpattern.parallel.placement import Share, held, lay_share
from diffpattern.problem import Problem
from diffpattern.rehearsal import rehearse
from diffpattern.run_folder import RunFolder
from diffpattern.training import averaging, least_squares
from diffpattern.training.checkpoints import Checkpoints
from diffpattern.training.metrics import Averages, Progress, Writer, add_scalars
from diffpattern.training.profiling import Profile
from diffpattern.training.saving import Saving
from diffpattern.training.stalls import Stalls
from diffpattern.training.step import (
    Batch,
    TrainState,
    compiled,
    layout,
    prefers_together,
    put_state,
)
from diffpattern.validation import make_validation


def train_and_evaluate(
    config: ConfigDict,
    folder: RunFolder,
    *,
    data: Data | None = None,
    config_path: str = "",
    sweep: Mapping[str, Any] | None = None,
    interruption: Interruption | None = None,
) -> dict[str, Any]:
    """Trains the rule that `config` asks for, in `folder`, and scores it.

    A folder that holds a run of the same config goes on with it from its newest intact checkpoint.

    Args:
      config: of the run.
      folder: new or empty, or that of a run.
      data: what to train on, where the config's `data.name` is "given".
      config_path: the file that the config comes from, for the record.
      sweep: the combination of a sweep that it has, likewise: its "number" and "fields".
      interruption: what listens to SIGTERM; None: nothing does.

    Returns:
      The scores, as in `eval/scores.json`.

    Raises:
      InputError: the config, the data or the folder cannot be used.
      StopSignal: the run was told to stop.
      TrainingError: the loss is not finite more often than allowed, or a file cannot be written.
    """
    began = time.monotonic()
    interruption = interruption or Interruption()

    # The data; the rule, and how it is trained.
    run = set_up(config, data, refuse=folder.check)
    mesh, together, train, validation = run.mesh, run.together, run.train, run.validation
    batches, sought, initial, training = run.batches, run.sought, run.initial, run.training

    with folder.alone(), Checkpoints(folder.checkpoints) as checkpoints:
        # Again, since another process may have begun a run here while this one made its data.
        folder.check(config)

        # A checkpoint to go on from, or a first state.
        state = first_state(config, training, initial, batches, mesh)
        restored = checkpoints.resume(state.parameters, (state.step, state.optimiser, state.pool))
        if restored:
            step, optimiser_state, pool = restored.training_state
            state = TrainState(step, restored.parameters, optimiser_state, pool)
            state = averaging.exchanged(state)
            began -= restored.metadata["seconds"]
            batches.restore(restored.metadata.get("batches", {}))
            logging.info("Going on from step %d of %d.", restored.step, config.training.steps)
        else:
            logging.info("Rule:\n%s", parameter_overview.get_parameter_overview(initial))
            state = fit_derivatives(config, sought, state, train, mesh, together)

        folder.record(config, config_path, run.digests, sweep)
        folder.keep_data(run.test, sought.statistics)

        # The loop.
        first, last = int(state.step), config.training.steps
        if first < last:
            revealed = summaries.revealed(validation[0])
            validate = make_validation(config, sought, validation, revealed, mesh, together)
            lengths = window_lengths(config)
            # Compiled once for each length that windows have.
            step_over = functools.cache(lambda length: compiled(training.step_over(length), mesh))
            selects = selection.build(config, sought, train, mesh, together)
            watch, averages = training.watch(state, checkpoints), Averages()
            if restored:
                averages.restore(restored.metadata.get("averages", []))
            fields = config.training
            traced = config.profile.steps if processes.is_first() else 0
            saving = Saving(
                fields.checkpoint_every, fields.checkpoint_minutes, last, fields.pictures_every
            )
            with (
                Writer(folder.metrics, folder.scalars, first, _flat(config)) as writer,
                Progress(first, last) as progress,
                Stalls(fields.stall_factor, fields.stall_seconds) as stalls,
                Profile(folder.profile, traced) as profile,
                interruption.steps(),
            ):
                for step in range(first + 1, last + 1):
                    length = lengths.at(step - 1)
                    scores_it = saving.is_scored(step)
                    logs = scores_it or step % fields.log_every == 0
                    with stalls.step(step, kind=length), profile.step(step) as results:
                        train_step = step_over(length)
                        state, metrics = train_step(state, draw_batch(batches, step - 1, mesh))
                        results.append(metrics)
                        averages.add(metrics)
                        watch.add(step, metrics)
                        # Averages start anew at each score, and are saved with any other
                        # checkpoint, so that a resumed run logs the same.
                        row = averages.take() if logs else {}
                    if selects:
                        state = selects.after(step, state)
                    stops, score = interruption.reached(), None
                    saves = stops or scores_it
                    if logs:
                        row |= training.schedule(step)
                        if scores_it:
                            watch.settle()
                            evaluated = averaging.evaluated_parameters(state)
                            validated = validate(evaluated)
                            score = validated.score
                            row |= summaries.curves(validated)
                        writer.write(step, row | {"seconds": time.monotonic() - began})
                        if saving.is_shown(step):
                            summaries.show(writer, step, evaluated, validated, step == last)
                        progress.tell(step, row)
                        saves = saves or saving.is_time()
                    if saves:
                        watch.settle()
                        metadata = {
                            "seconds": time.monotonic() - began,
                            "batches": batches.state(),
                            "averages": averages.state(),
                        }
                        save(checkpoints, state, metadata, score)
                        saving.done()
                    if stops:
                        raise StopSignal(
                            f"Told to stop, after step {step} of {last}, which is saved; the same "
                            f"command with --workdir={folder.path} goes on from there.",
                            together=True,
                        )

    # What came of it, once everything is written.
    processes.wait_for_all()
    result = evaluate.evaluate(folder)
    if final := summaries.of_test(result):
        add_scalars(folder.metrics, result["step"], final)
    return result


@dataclasses.dataclass(frozen=True, eq=False)
class SetUp:
    """A run that could begin.

    Attributes:
      mesh: that it is trained on.
      together: see `training.step.over_windows`.
      train, validation, test: its data, for one size of lattices after the other.
      digests: of the data of each split.
      batches: what gives its train steps their windows.
      sought: the rule.
      initial: its first parameters.
      training: how it is trained.
    """

    mesh: Mesh
    together: bool
    train: Sequence[Trajectories | StoredTrajectories]
    validation: Sequence[Trajectories]
    test: Sequence[Trajectories]
    digests: Mapping[str, str]
    batches: OfEachSize
    sought: Problem
    initial: Any
    training: Training


def set_up(
    config: ConfigDict,
    data: Data | None = None,
    refuse: Callable[[ConfigDict], None] = lambda config: None,
) -> SetUp:
    """Gets the data of a config, builds its rule, and writes nothing.

    Args:
      config: of the run.
      data: see `train_and_evaluate`.
      refuse: called with the config before anything is simulated or read.

    Raises:
      InputError: the config or the data cannot be used.
    """
    # What cannot work is refused before anything is simulated.
    configuration.check(config)
    # A pool is shared out evenly.
    shared = config.training.batch if config.training.starts == "pool" else 0
    sizes = config.mesh.data, config.mesh.rows, config.mesh.columns
    mesh, together = make_mesh(*sizes, shared=shared), prefers_together(config.training.windows)
    degrees = problem.whitened_degrees(config)
    simulated = systems.is_system(config.data.name)
    if simulated:
        rehearse(config, *dataset.expected(config, degrees), mesh)
    refuse(config)
    data = dataset.load(config, data)
    train, validation, test = (dataset.of_split(data, split) for split in SPLITS)
    digests = dict(zip(SPLITS, map(digest, (train, validation, test)), strict=True))
    seen = [streams.sample(one) for one in train]
    summary = statistics.summarise(seen, degrees)
    if not simulated:
        rehearse(config, train[0].times, summary, mesh)
    require_comparable(config, train)
    batches = make_batches(config, train, mesh)
    remedy = "give data.directory, or the files named in the config, on a disk that all share"
    processes.require_same("data", [digests, summary.to_json()], remedy)
    sought = problem.build(config, summary, mesh.size)
    initial = sought.initialise(config.seed)
    training = make_training(config, sought, initial, mesh, together)
    return SetUp(
        mesh, together, train, validation, test, digests, batches, sought, initial, training
    )


def require_comparable(
    config: ConfigDict, lattices: Sequence[Trajectories | StoredTrajectories]
) -> None:
    """Refuses windows of a length at which nothing was seen that a rule could be held to.

    Raises:
      InputError: naming the field that asks for them.
    """
    training, derivative_steps = config.training, config.optimiser.derivative_steps
    for train in lattices:
        if isinstance(train, StoredTrajectories):
            continue
        # What follows may be seen after several windows of a pool.
        within = len(train.times) if training.starts == "pool" else None
        for length in (round(length) for length in window_lengths(config).lengths if length >= 1):
            field = "window" if length == training.window else "continuation"
            windows.require_comparable(train, length, within, f"training.{field}")
        whole = np.ones((1, 2)) if train.known is None else train.known.all(axis=-1)
        if derivative_steps and not (whole[:, 1:] * whole[:, :-1]).any():
            raise InputError(
                f"optimiser.derivative_steps is {derivative_steps}, but of no two successive "
                "snapshots all was seen, so their differences say nothing; set it to 0."
            )


def first_state(
    config: ConfigDict, training: Training, initial: Any, batches: OfEachSize, mesh: Mesh
) -> TrainState:
    """The state before the first step, on the mesh."""
    pooled = config.training.starts == "pool"
    pool = training.start_pool(draw_batch(batches, 0, mesh)) if pooled else ()
    return put_state(TrainState(jnp.int32(0), initial, training.start(), pool), mesh)


def fit_derivatives(
    config: ConfigDict,
    sought: Problem,
    state: TrainState,
    train: Sequence[Trajectories | StoredTrajectories],
    mesh: Mesh,
    together: bool,
) -> TrainState:
    """The state with the right-hand side fitted to difference quotients, as a start."""
    steps = config.optimiser.derivative_steps
    if not steps:
        return state
    check_size(config, state.parameters)
    interval, on_blocks = sought.statistics.interval, sought.cut(mesh)
    residuals, linearise = least_squares.derivative_fit(
        lambda window: on_blocks.of_size(window.size).rule,
        interval,
        on_blocks.met_by_sensitivities,
    )
    lower = sought.lower_bounds(state.parameters)
    step = compiled(
        least_squares_step(
            config,
            residuals,
            linearise,
            lower,
            rows=rough_rows(config, on_blocks, lower, np.array([0.0, interval]), elapsed=1.0),
            signs=on_blocks.signs,
            start_weight=0.0,
            mesh=mesh,
            seed=config.seed,
            together=together,
        ),
        mesh,
    )
    begun = put(least_squares.Fit.start(1e-3, state.parameters), mesh)
    # Copies, because a compiled step takes over the memory of what it is given.
    fit = jax.tree.map(jnp.copy, TrainState(state.step, state.parameters, begun))
    pairs = make_batches(config, train, mesh, window=1)
    for index in range(steps):
        fit, metrics = step(fit, draw_batch(pairs, index, mesh))
    logging.info("Derivative fit: %d steps, loss %.3g", steps, metrics["loss"])
    return dataclasses.replace(state, parameters=fit.parameters)


def make_batches(
    config: ConfigDict,
    lattices: Sequence[Trajectories | StoredTrajectories],
    mesh: Mesh,
    window: int | None = None,
) -> OfEachSize:
    """What gives the train steps their windows: whole trajectories for a pool.

    Args:
      config: of the run.
      lattices: the trajectories to train on, for one size of lattices after the other.
      mesh: over which windows are spread; of several processes each gets those of its own devices,
        and of lattices that are cut into blocks its own blocks.
      window: length of the windows; None: as the config says.

    Raises:
      InputError: windows are to grow, and the data do not suit that.
    """
    share = Share.of(config.training.batch, mesh.shape[DATA], held(mesh, DATA))
    parts = []
    for train in lattices:
        own = train.of_cells(held_cells(mesh, train.grid.shape))
        parts.append(_batches_of_size(config, own, share.places, window))
    return OfEachSize(parts, share)


def _batches_of_size(
    config: ConfigDict,
    train: Trajectories | StoredTrajectories,
    places: np.ndarray,
    window: int | None,
) -> Batches:
    training = config.training
    if training.starts == "pool" and window is None:
        return streams.Whole(train, training.batch, places, training.window)

    def of(length: float) -> Batches:
        source = train
        if (parts := continuation.parts(length)) > 1:
            source = continuation.interpolated(train, parts, training.sampling)
        whole = max(round(length), 1)
        sampling = Sampling(config.seed, training.batch, whole, training.sampling)
        return streams.batches(source, sampling, places)

    if window or not training.continuation:
        return of(window or training.window)
    if isinstance(train, StoredTrajectories):
        raise InputError(
            f"training.continuation is {training.continuation!r}, but the data stay in their "
            "files, of which windows of one length are read; leave it empty, or have the data "
            "read into memory (stream=False)."
        )
    lengths = window_lengths(config)
    if lengths.lengths[0] < 1:
        continuation.require_possible(train)
    return continuation.Growing(lengths, of)


def draw_batch(batches: OfEachSize, step: int, mesh: Mesh) -> Batch:
    """The windows of a step, on the mesh."""
    batch = batches.draw(step)
    return lay_share(batch, mesh, layout(batch, mesh))


def save(
    checkpoints: Checkpoints, state: TrainState, metadata: Mapping[str, Any], score: float | None
) -> None:
    """Saves a checkpoint, whose parameters are finite: what is not would spoil every later step.

    Raises:
      TrainingError: they are not, or it cannot be written.
    """
    state = averaging.exchanged(state)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.parameters):
        if not np.isfinite(leaf).all():
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise TrainingError(
                f"The parameters {name} are not finite at step {int(state.step)}; a smaller "
                "optimiser.optax.learning_rate may help."
            )
    checkpoints.save(
        int(state.step),
        state.parameters,
        (state.step, state.optimiser, state.pool),
        metadata=metadata,
        score=score,
    )


def _flat(config: ConfigDict) -> dict[str, Any]:
    """Hyperparameters as TensorBoard takes them: numbers, booleans and texts by dotted name."""
    plain = (bool, int, float, str)
    return {
        name: value if isinstance(value, plain) else str(value)
        for name, value in configuration.leaves(config)
    }
