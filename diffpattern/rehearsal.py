"""A run gone through on shapes alone, before anything is simulated, compiled or written.

So that a config that cannot work is refused at once, by the very functions that would refuse it
later.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffpattern import configuration, problem
from diffpattern.data import continuation, windows
from diffpattern.data.statistics import Statistics
from diffpattern.methods import check_size, make_training, window_lengths


def rehearse(config: ConfigDict, times: np.ndarray, statistics: Statistics, mesh: Mesh) -> None:
    """Builds what a checked config asks for, and traces its rule.

    Args:
      config: of the run.
      times: of the data's snapshots.
      statistics: of the data, of which only shapes matter here.
      mesh: on which it will run.

    Raises:
      InputError: something cannot work, or does not suit the data.
    """
    configuration.levels(config.evaluation.covered, statistics.species)
    windows.check(times, config.training.window, config.training.sampling)
    lengths = window_lengths(config)
    sought = problem.build(config, statistics, mesh.size)
    initial = jax.eval_shape(lambda: sought.initialise(config.seed))
    training = make_training(config, sought, initial, mesh, together=True)
    for length in lengths.lengths:
        training.step_over(length)
    if config.optimiser.derivative_steps:
        check_size(config, initial)
    for size in statistics.sizes:
        shape = (config.training.window + 1, *size, len(statistics.species))
        jax.eval_shape(
            sought.factor, windows.Window(jax.ShapeDtypeStruct(shape, jnp.float32), None)
        )
    for length, size in itertools.product(lengths.lengths, statistics.sizes):
        elapsed = continuation.elapsed(length, statistics.interval)
        forcing = problem.given(statistics.on(size))
        start = jax.ShapeDtypeStruct((*size, len(statistics.species)), jnp.float32)
        predict = lambda parameters, start, elapsed=elapsed, forcing=forcing: sought.predict(
            parameters, start, elapsed, jax.random.key(0), forcing
        )
        jax.eval_shape(predict, initial, start)
