"""A run gone through on shapes alone, before anything is simulated, compiled or written.

So that a config that cannot work is refused at once, by the very functions that would refuse it
later.
"""

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
    make_training(config, sought, initial, mesh, together=True)
    if config.optimiser.derivative_steps:
        check_size(config, initial)
    start = jax.ShapeDtypeStruct((*statistics.grid.shape, len(statistics.species)), jnp.float32)
    window = windows.Window(
        jax.ShapeDtypeStruct((config.training.window + 1, *start.shape), start.dtype), None
    )
    jax.eval_shape(sought.factor, window)
    for length in lengths.lengths:
        elapsed = continuation.elapsed(length, statistics.interval)
        predict = lambda parameters, start, elapsed=elapsed: sought.predict(
            parameters, start, elapsed, jax.random.key(0), problem.given(statistics)
        )
        jax.eval_shape(predict, initial, start)
