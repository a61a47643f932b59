"""Training, from a config to a report."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from clu import parameter_overview
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffpattern import configuration, dataset, evaluate, problem, scores
from diffpattern.data import statistics, windows
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import TrainingError
from diffpattern.methods import Training, make_training
from diffpattern.parallel.mesh import DATA, SPREAD, fill_up, make_mesh, put
from diffpattern.prediction import make_predictor
from diffpattern.problem import Problem
from diffpattern.rehearsal import rehearse
from diffpattern.run_folder import RunFolder
from diffpattern.training import averaging, least_squares
from diffpattern.training.checkpoints import Checkpoints
from diffpattern.training.metrics import Averages, Progress, Writer
from diffpattern.training.step import TrainState, compiled, prefers_together, put_state


def train_and_evaluate(
    config: ConfigDict, folder: RunFolder, *, config_path: str = ""
) -> dict[str, Any]:
    """Trains the rule that `config` asks for, in `folder`, and scores it.

    A folder that holds a run of the same config goes on with it from its newest intact checkpoint.

    Args:
      config: of the run.
      folder: new or empty, or that of a run.
      config_path: the file that the config comes from, for the record.

    Returns:
      The scores, as in `eval/scores.json`.

    Raises:
      InputError: the config, the data or the folder cannot be used.
      TrainingError: the loss is not finite more often than allowed, or a file cannot be written.
    """
    began = time.monotonic()

    # What cannot work is refused before anything is simulated or written.
    configuration.check(config)
    mesh, together = make_mesh(config.mesh.data), prefers_together(config.training.windows)
    degrees = problem.whitened_degrees(config)
    rehearse(config, *dataset.expected(config, degrees), mesh)
    folder.check(config)

    # The data; the rule, and how it is trained.
    data = dataset.load(config)
    digest = {split: trajectories.digest() for split, trajectories in data.items()}
    summary = statistics.summarise(data["train"], degrees)
    sought = problem.build(config, summary, mesh.size)
    initial = sought.initialise(config.seed)
    training = make_training(config, sought, initial, mesh, together)

    with folder.alone(), Checkpoints(folder.checkpoints) as checkpoints:
        # Again, since another process may have begun a run here while this one made its data.
        folder.check(config)

        # A checkpoint to go on from, or a first state.
        state = first_state(config, training, initial, data["train"], mesh)
        restored = checkpoints.resume(state.parameters, (state.step, state.optimiser, state.pool))
        if restored:
            step, optimiser_state, pool = restored.training_state
            state = TrainState(step, restored.parameters, optimiser_state, pool)
            state = averaging.exchanged(state)
            began -= restored.metadata["seconds"]
            logging.info("Going on from step %d of %d.", restored.step, config.training.steps)
        else:
            logging.info("Rule:\n%s", parameter_overview.get_parameter_overview(initial))
            state = fit_derivatives(config, sought, state, data["train"], mesh, together)

        folder.record(config, config_path, digest)
        folder.keep_data(data["test"], summary)

        # The loop.
        first, last = int(state.step), config.training.steps
        if first < last:
            validate = make_validation(config, sought, data["validation"], summary, mesh, together)
            train_step = compiled(training.step, mesh)
            watch, averages = training.watch(state, checkpoints), Averages()
            with (
                Writer(folder.metrics, folder.scalars, first, _flat(config)) as writer,
                Progress(first, last) as progress,
            ):
                for step in range(first + 1, last + 1):
                    batch = draw_batch(config, data["train"], step - 1, mesh)
                    state, metrics = train_step(state, batch)
                    averages.add(metrics)
                    watch.add(step, metrics)
                    saves = step % config.training.checkpoint_every == 0 or step == last
                    if not saves and step % config.training.log_every:
                        continue
                    # Averages start anew at each checkpoint, so that a resumed run logs the same.
                    row = averages.take() | training.schedule(step)
                    if saves:
                        watch.settle()
                        row["validation"] = validate(averaging.evaluated_parameters(state))
                    writer.write(step, row)
                    progress.tell(step, row)
                    if saves:
                        save(checkpoints, state, time.monotonic() - began, row["validation"])

    # What came of it.
    return evaluate.evaluate(folder)


def first_state(
    config: ConfigDict, training: Training, initial: Any, train: Trajectories, mesh: Mesh
) -> TrainState:
    """The state before the first step, on the mesh."""
    pool = training.start_pool(windows.whole(train, config.training.batch)["window"])
    return put_state(TrainState(jnp.int32(0), initial, training.start(), pool), mesh)


def fit_derivatives(
    config: ConfigDict,
    sought: Problem,
    state: TrainState,
    train: Trajectories,
    mesh: Mesh,
    together: bool,
) -> TrainState:
    """The state with the right-hand side fitted to difference quotients, as a start."""
    steps = config.optimiser.derivative_steps
    if not steps:
        return state
    least_squares.check_size(state.parameters)
    residuals, linearise = least_squares.derivative_fit(
        sought.rule, sought.statistics.interval, lambda forcing: sought.acting({}, forcing)
    )
    step = compiled(
        least_squares.make_least_squares_step(
            residuals,
            linearise,
            sought.lower_bounds(state.parameters),
            mesh,
            seed=config.seed,
            together=together,
        ),
        mesh,
    )
    damping = put(least_squares.Damping.start(1e-3), mesh)
    # Copies, because a compiled step takes over the memory of what it is given.
    fit = jax.tree.map(jnp.copy, TrainState(state.step, state.parameters, damping))
    for index in range(steps):
        fit, metrics = step(fit, draw_batch(config, train, index, mesh, window=1))
    logging.info("Derivative fit: %d steps, loss %.3g", steps, metrics["loss"])
    return dataclasses.replace(state, parameters=fit.parameters)


def draw_batch(
    config: ConfigDict, train: Trajectories, step: int, mesh: Mesh, window: int | None = None
) -> dict[str, Any]:
    """The windows of a step, on the mesh; whole trajectories for a pool."""
    if config.training.starts == "pool" and window is None:
        batch = windows.whole(train, config.training.batch)
    else:
        batch = windows.draw(
            train,
            step,
            seed=config.seed,
            count=config.training.batch,
            window=window or config.training.window,
            sampling=config.training.sampling,
        )
    return put(fill_up(batch, mesh.shape[DATA]), mesh, SPREAD)


def make_validation(config, sought, validation, summary, mesh, together):
    """A function from parameters to the validation score: the NRMSE averaged over times and
    species, of the median trajectory; lower is better."""
    predict = make_predictor(sought, validation, mesh, seed=config.seed, together=together)
    floor = config.evaluation.floor * np.asarray(summary.fluctuation)

    def validate(parameters) -> float:
        prediction = predict(parameters)
        errors = scores.nrmse(
            prediction, validation.values, floor, validation.mask, validation.known
        )
        return scores.overall(errors)

    return validate


def save(checkpoints: Checkpoints, state: TrainState, seconds: float, score: float) -> None:
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
        metadata={"seconds": seconds},
        score=score,
    )


def _flat(config: ConfigDict) -> dict[str, Any]:
    """Hyperparameters as TensorBoard takes them: numbers, booleans and texts by dotted name."""
    plain = (bool, int, float, str)
    return {
        name: value if isinstance(value, plain) else str(value)
        for name, value in configuration.leaves(config)
    }
