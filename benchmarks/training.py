"""Our side of the benchmarks: problems as a config builds them, differentiated as training does."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from diffpattern import problem
from diffpattern.configs import default
from diffpattern.data.statistics import Statistics
from diffpattern.data.windows import Window
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.models.monomials import Whitening
from diffpattern.parallel.mesh import SPREAD, fill_up, make_mesh, put
from diffpattern.problem import Problem
from diffpattern.training import losses
from diffpattern.training.step import TrainState, make_gradient_step, prefers_together

Parameters = Any
LossAndGradient = Callable[[Parameters, Array], tuple[Array, Parameters]]


def build(
    fields: Mapping[str, Any],
    *,
    species: int,
    shape: tuple[int, ...],
    interval: float,
    inputs: int = 0,
) -> Problem:
    """The problem of the default config with some fields changed, without any data.

    Args:
      fields: values by the fields' dotted names.
      species: channels that are data; their whitening changes nothing, but is computed.
      shape: of the lattice, a torus of unit spacing.
      interval: between two snapshots, in units of time.
      inputs: how many numbers all cells are told.
    """
    config = default.get_config()
    config.update_from_flattened_dict(fields)
    unit = tuple(map(tuple, np.eye(species).tolist()))
    statistics = Statistics(
        species=tuple(f"species {index}" for index in range(species)),
        grid=Grid(shape),
        interval=interval,
        mean=(0.0,) * species,
        fluctuation=(1.0,) * species,
        whitening={1: Whitening((0.0,) * species, unit)},
        inputs=inputs,
    )
    return problem.build(config, statistics)


def random_like(parameters: Parameters, scale: float) -> Parameters:
    """The parameters plus noise, so that none of them is zero."""
    leaves, structure = jax.tree.flatten(parameters)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [
        leaf + scale * jax.random.normal(key, leaf.shape)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, noisy)


def random_windows(batch: int, shape: tuple[int, ...], species: int) -> Array:
    """Windows of two snapshots, [B, 2, *space, C]."""
    return jax.random.uniform(jax.random.key(2), (batch, 2, *shape, species))


def loss_and_gradient(sought: Problem) -> LossAndGradient:
    """(parameters, windows [B, 2, *space, C]) -> mean squared error, its gradient.

    The train step itself, over all devices that JAX finds, with an optimiser that changes nothing
    and keeps the gradient.
    """
    times = np.array([0.0, sought.statistics.interval])
    mesh, context = make_mesh(), losses.Context(sought.statistics.grid)

    def window_loss(parameters, window, key, _):
        predicted = sought.predict(parameters, window.values[0], times, key, window.forcing)
        error = losses.LOSSES["l2"](predicted[1:], window.values[1:], context)
        return error, predicted[-1]

    keeper = optax.GradientTransformation(
        init=lambda parameters: jax.tree.map(jnp.zeros_like, parameters),
        update=lambda gradient, _, parameters: (jax.tree.map(jnp.zeros_like, parameters), gradient),
    )
    free = jax.tree.map(lambda x: jnp.full_like(x, -jnp.inf), sought.initialise(0))
    step = jax.jit(
        make_gradient_step(
            window_loss, keeper, free, mesh, seed=0, together=prefers_together("auto")
        )
    )

    def function(parameters, windows):
        state = TrainState(jnp.int32(0), parameters, keeper.init(parameters))
        count, inputs = len(windows), sought.statistics.inputs
        told = np.ones((count, inputs), np.float32) if inputs else None
        forcing = Forcing(time=np.zeros(count, np.float32), inputs=told)
        batch = {"window": Window(windows, forcing), "index": np.arange(count)}
        batch = (fill_up(batch, mesh.size),)
        state, metrics = step(put(state, mesh), put(batch, mesh, SPREAD))
        return metrics["loss"], state.optimiser

    return function
