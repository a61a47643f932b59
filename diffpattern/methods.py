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

from diffpattern.grid.forcing import Forcing
from diffpattern.problem import Problem
from diffpattern.training import averaging, least_squares, optimisers
from diffpattern.training.checkpoints import Checkpoints
from diffpattern.training.losses import weighted_sum
from diffpattern.training.metrics import Metrics, Watch
from diffpattern.training.step import Step, TrainState, make_gradient_step

# Least squares steps in a row in which every window diverges, before training gives up: such a step
# changes nothing, and only other windows can help.
MOST_DIVERGED = 10


@dataclasses.dataclass(frozen=True)
class Training:
    """One of the two ways to train.

    Attributes:
      step: the train step, not yet compiled.
      start: makes the optimiser's part of the first state.
      is_lost: whether a step with these metrics came to nothing.
      patience: how many such steps in a row are passed over.
      nature: what is the matter with such steps.
      limit: who says so.
      lost_in_a_row: an optimiser's state -> how many steps before it were lost.
      schedule: step -> what else to log of it.
    """

    step: Step
    start: Callable[[], Any]
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
            is_lost=lambda metrics: bool(metrics["diverged"] == 1),
            patience=MOST_DIVERGED,
            nature="The rule diverges over every window, and leaves nothing to learn from,",
            limit="least squares",
            lost_in_a_row=lambda damping: 0,
            schedule=lambda step: {},
        )
    chain = optimisers.Chain.of(config.optimiser.name, config.optimiser.optax.to_dict())
    optimiser, frozen = chain.build(initial), chain.are_frozen(initial)
    loss, penalty = weighted_sum(config.loss), _penalty(config.regulariser, sought)

    def window_loss(parameters, window, key):
        parameters = optimisers.held(parameters, frozen)
        start, truth = window.values[0], window.values[1:]
        states = sought.states(parameters, start, times, key, window.forcing, training=True)[1:]
        fit = loss(states[..., : truth.shape[-1]], truth, sought.statistics.grid)
        return fit + penalty(parameters, states, window.forcing)

    step = make_gradient_step(window_loss, optimiser, lower, **options)
    start = lambda: optimiser.init(initial)
    if chain.average_decay:
        step = averaging.averaged(step, chain.average_decay)
        start = lambda: averaging.start(initial, optimiser.init(initial))

    return Training(
        step,
        # Copies, since a compiled step takes over the memory of its state, in which some of Optax's
        # rules begin with the same array twice.
        lambda: jax.tree.map(jnp.copy, start()),
        is_lost=lambda metrics: not np.isfinite([metrics["loss"], metrics["gradient_norm"]]).all(),
        patience=chain.skip_nonfinite,
        nature="The loss or its gradient is not finite",
        limit="optimiser.optax.skip_nonfinite",
        lost_in_a_row=lambda state: int(optimisers.nonfinite_in_a_row(state)),
        schedule=chain.scheduled,
    )


def _penalty(
    weights: ConfigDict, sought: Problem
) -> Callable[[Any, Array, Forcing], Array | float]:
    """What is added to the loss of a window, of (parameters, states [L, *space, C], forcing)."""

    def penalty(parameters, states, forcing):
        total = 0.0
        if weights.coverage:
            mask = sought.mask.apply({"params": parameters["mask"]}, method="coverage")
            total = total + weights.coverage * jnp.mean(mask)
        if weights.outside:
            outside = 1.0 - forcing.mask
            total = total + weights.outside * jnp.mean(outside[..., None] * states**2)
        return total

    return penalty
