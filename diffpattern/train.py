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

from diffpattern import configuration, evaluate, problem, scores
from diffpattern.data import gray_scott, statistics, windows
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import TrainingError
from diffpattern.parallel.mesh import DATA, SPREAD, fill_up, make_mesh, put
from diffpattern.prediction import make_predictor
from diffpattern.problem import Problem
from diffpattern.run_folder import RunFolder
from diffpattern.training import least_squares, optimisers
from diffpattern.training.checkpoints import Checkpoints
from diffpattern.training.losses import weighted_sum
from diffpattern.training.metrics import Averages, Progress, Writer
from diffpattern.training.step import (
    Step,
    TrainState,
    compiled,
    make_gradient_step,
    prefers_together,
)


def train_and_evaluate(config: ConfigDict, folder: RunFolder) -> dict[str, Any]:
    """Trains the rule that `config` asks for, in `folder`, and scores it.

    A folder that holds a run of the same config goes on with it from its newest intact checkpoint.

    Returns:
      The scores, as in `eval/scores.json`.

    Raises:
      InputError: the config, the data or the folder cannot be used.
      TrainingError: the loss is not finite more often than allowed, or a file cannot be written.
    """
    configuration.check(config)
    began = time.monotonic()

    # Data.
    data = load_data(config)
    window = config.training.window
    windows.check(data["train"], window, config.training.sampling)
    summary = statistics.summarise(data["train"], problem.whitened_degrees(config))

    # The rule, on a mesh of devices, and how it is trained.
    sought = problem.build(config, summary)
    mesh = make_mesh(config.mesh.data)
    together = prefers_together(config.training.windows)
    initial = sought.initialise(config.seed)
    training = make_training(config, sought, initial, mesh, together)

    # The run's folder.
    folder.begin(config)
    folder.record(data_digest={split: values.digest() for split, values in data.items()})
    folder.keep_data(data["test"], summary)
    logging.info("Run folder: %s", folder.path)
    logging.info("Rule:\n%s", parameter_overview.get_parameter_overview(initial))

    with Checkpoints(folder.checkpoints) as checkpoints:
        # A checkpoint to go on from, or a first state.
        state = put(TrainState(jnp.int32(0), initial, training.start()), mesh)
        restored = checkpoints.resume(state.parameters, (state.step, state.optimiser))
        writer = Writer(
            folder.metrics, folder.scalars, restored.step if restored else 0, _flat(config)
        )
        if restored:
            step, optimiser_state = restored.training_state
            state = TrainState(step, restored.parameters, optimiser_state)
            logging.info("Going on from step %d.", restored.step)
        else:
            state = fit_derivatives(config, sought, state, data["train"], mesh, together)

        # The loop.
        validate = make_validation(config, sought, data["validation"], summary, mesh, together)
        train_step = compiled(training.step, mesh)
        first, last = int(state.step), config.training.steps
        progress, averages = Progress(first, last), Averages()
        for step in range(first, last):
            batch = draw_batch(config, data["train"], step, mesh)
            state, metrics = train_step(state, batch)
            averages.add(metrics)
            training.watch(state, checkpoints)
            done = step + 1
            row = {}
            if done % config.training.log_every == 0 or done == last:
                row = averages.take()
            if done % config.training.checkpoint_every == 0 or done == last:
                row["validation"] = validate(state.parameters)
                checkpoints.save(
                    done,
                    state.parameters,
                    (state.step, state.optimiser),
                    metadata={"seconds": time.monotonic() - began},
                    score=row["validation"],
                )
            if row:
                writer.write(done, row)
                progress.tell(done, row)
        progress.close()
        writer.close()

    # What came of it.
    return evaluate.evaluate(folder)


@dataclasses.dataclass(frozen=True)
class Training:
    """One of the two ways to train.

    Attributes:
      step: the train step, not yet compiled.
      first_optimiser_state: the optimiser's part of the first state.
      skip_nonfinite: how many non-finite gradients in a row are passed over; None: least squares
        rejects what is not finite by itself.
    """

    step: Step
    first_optimiser_state: Any
    skip_nonfinite: int | None

    def start(self) -> Any:
        """The optimiser's part of the first state."""
        return self.first_optimiser_state

    def watch(self, state: TrainState, checkpoints: Checkpoints) -> None:
        """Ends the run when too many steps in a row had a gradient that is not finite."""
        if self.skip_nonfinite is None:
            return
        in_a_row = int(optimisers.nonfinite_in_a_row(state.optimiser))
        if in_a_row > self.skip_nonfinite:
            checkpoints.wait()
            last = checkpoints.latest
            good = (
                "there is no checkpoint yet"
                if last is None
                else (f"the last good checkpoint is {checkpoints.folder / str(last)}")
            )
            raise TrainingError(
                f"The loss or its gradient is not finite at step {int(state.step)} ({in_a_row} in "
                f"a row, optimiser.optax.skip_nonfinite allows {self.skip_nonfinite}); {good}."
            )


def make_training(
    config: ConfigDict, sought: Problem, initial: Any, mesh: Mesh, together: bool
) -> Training:
    """The train step that a config asks for, and its optimiser's first state."""
    times = sought.statistics.interval * np.arange(config.training.window + 1)
    lower = sought.lower_bounds(initial)
    options = {
        "mesh": mesh,
        "seed": config.seed,
        "together": together,
        "check": sought.replication_is_checked,
    }
    if config.optimiser.name == "levenberg_marquardt":
        least_squares.check_size(initial)
        return Training(
            least_squares.make_least_squares_step(
                sought.residuals(times), sought.linearisation(times), lower, **options
            ),
            least_squares.Damping.start(config.optimiser.levenberg_marquardt.damping),
            None,
        )
    optimiser = optimisers.Chain(config.optimiser.name, **config.optimiser.optax).build()
    loss = weighted_sum(config.loss)

    def window_loss(parameters, window, key):
        predicted = sought.predict(parameters, window[0], times, key)
        return loss(predicted[1:], window[1:], sought.statistics.grid)

    return Training(
        make_gradient_step(window_loss, optimiser, lower, **options),
        optimiser.init(initial),
        config.optimiser.optax.skip_nonfinite,
    )


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
    residuals, linearise = least_squares.derivative_fit(sought.rule, sought.statistics.interval)
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


def load_data(config: ConfigDict) -> dict[str, Trajectories]:
    """Trajectories by split, simulated on first use."""
    fields = dict(config.data)
    directory = fields.pop("directory") or None
    del fields["name"]
    return gray_scott.load(gray_scott.GrayScottData(**fields), directory)


def draw_batch(
    config: ConfigDict, train: Trajectories, step: int, mesh: Mesh, window: int | None = None
) -> dict[str, jax.Array]:
    """The windows of a step, on the mesh."""
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
        errors = scores.nrmse(predict(parameters), validation.values, floor)
        return float(np.median(errors, axis=0)[1:].mean())

    return validate


def _flat(config: ConfigDict) -> dict[str, Any]:
    """Hyperparameters as TensorBoard takes them: numbers, booleans and texts by dotted name."""
    plain = (bool, int, float, str)
    return {
        name: value if isinstance(value, plain) else str(value)
        for name, value in configuration.leaves(config)
    }
