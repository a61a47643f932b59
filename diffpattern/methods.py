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
from diffpattern.data.windows import Window
from diffpattern.errors import InputError
from diffpattern.problem import Problem, build
from diffpattern.training import averaging, least_squares, optimisers
from diffpattern.training.augmentation import Augmentation
from diffpattern.training.checkpoints import Checkpoints
from diffpattern.training.metrics import Metrics, Watch
from diffpattern.training.pool import Pool, Slots
from diffpattern.training.step import AUGMENTATION, Step, TrainState, make_gradient_step

# Least squares steps in a row in which every window diverges, before training gives up: such a step
# changes nothing, and only other windows can help.
MOST_DIVERGED = 10


@dataclasses.dataclass(frozen=True)
class Training:
    """One of the two ways to train.

    Attributes:
      step: the train step, not yet compiled.
      start: makes the optimiser's part of the first state.
      start_pool: makes the pool's, of a batch of whole trajectories; None without a pool.
      is_lost: whether a step with these metrics came to nothing.
      patience: how many such steps in a row are passed over.
      nature: what is the matter with such steps.
      limit: who says so.
      lost_in_a_row: an optimiser's state -> how many steps before it were lost.
      schedule: step -> what else to log of it.
    """

    step: Step
    start: Callable[[], Any]
    start_pool: Callable[[Window], Slots | None]
    is_lost: Callable[[Metrics], bool]
    patience: int
    nature: str
    limit: str
    lost_in_a_row: Callable[[Any], int]
    schedule: Callable[[int], dict[str, float]]

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
    """The train step that a config asks for, and its optimiser's first state."""
    times = sought.statistics.interval * np.arange(config.training.window + 1)
    lower = sought.lower_bounds(initial)
    options = {
        "mesh": mesh,
        "seed": config.seed,
        "together": together,
        "running": sought.running,
    }
    if config.optimiser.name == "levenberg_marquardt":
        least_squares.check_size(initial)
        return Training(
            least_squares.make_least_squares_step(
                sought.residuals(times), sought.linearisation(times), lower, **options
            ),
            lambda: least_squares.Damping.start(config.optimiser.levenberg_marquardt.damping),
            start_pool=lambda whole: None,
            is_lost=lambda metrics: bool(metrics["diverged"] == 1),
            patience=MOST_DIVERGED,
            nature="The rule diverges over every window, and leaves nothing to learn from,",
            limit="least squares",
            lost_in_a_row=lambda damping: 0,
            schedule=lambda step: {},
        )
    chain = optimisers.Chain.of(config.optimiser.name, config.optimiser.optax.to_dict())
    optimiser, frozen = chain.build(initial), chain.are_frozen(initial)
    of_all = _window_loss(config, sought, times)
    window_loss = lambda parameters, *window: of_all(optimisers.held(parameters, frozen), *window)
    pool = make_pool(config, sought, mesh.size)

    def start_pool(whole: Window) -> Slots | None:
        if pool is None:
            return None
        count = np.arange(len(whole.values))
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(config.seed), count)
        return jax.jit(pool.start)(whole, keys)

    step = make_gradient_step(window_loss, optimiser, lower, **options, pool=pool)
    start = lambda: optimiser.init(initial)
    if chain.average_decay:
        step = averaging.averaged(step, chain.average_decay)
        start = lambda: averaging.start(initial, optimiser.init(initial))

    return Training(
        step,
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
        **config.training.pool,
    )


def _window_loss(
    config: ConfigDict, sought: Problem, times: np.ndarray
) -> Callable[[Any, Window, Array, Array], tuple[Array, Array]]:
    """The loss of a window and the lattice that it ends with, of (parameters, window, key, old)."""
    augmentation = Augmentation(**config.augmentation)
    augmentation.check(sought.statistics.grid)
    augments = augmentation != Augmentation()
    grid = augmentation.cropped(sought.statistics.grid)
    if augmentation.crop:
        sought = build(config, dataclasses.replace(sought.statistics, grid=grid))
    loss = objective.build(config, sought)
    inner = config.training.inner

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
            size = jnp.sqrt(jnp.mean(slope**2)) + 1e-12
            return hidden - inner.rate * slope / size, None

        hidden, _ = jax.lax.scan(descend, window.start[..., species:], length=inner.steps)
        start = jnp.concatenate([window.start[..., :species], hidden], axis=-1)
        return dataclasses.replace(window, start=jax.lax.stop_gradient(start))

    def window_loss(parameters, window, key, old):
        if window.start is None:
            hidden_key, _ = jax.random.split(key)
            window = dataclasses.replace(
                window, start=sought.complete(window.values[0], hidden_key)
            )
        undo = lambda lattice: lattice
        if augments:
            window, undo = augmentation.apply(window, jax.random.fold_in(key, AUGMENTATION), old)
        if inner.steps:
            fitted = adapted(jax.lax.stop_gradient(parameters), window, key)
            start = jnp.where(old, window.start, fitted.start)
            window = dataclasses.replace(window, start=start)
        error, end = fit(parameters, window, key)
        return error, undo(end)

    return window_loss
