"""A run gone through on shapes alone, before anything is simulated, compiled or written.

So that a config that cannot work is refused at once, by the very functions that would refuse it
later.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffpattern import configuration, dataset, memory, problem, systems
from diffpattern.data import continuation, windows
from diffpattern.data.statistics import Statistics
from diffpattern.data.windows import layout_of_forcing
from diffpattern.methods import check_size, make_training, window_lengths
from diffpattern.parallel import processes
from diffpattern.parallel.mesh import DATA, EVERYWHERE, lattices, on_mesh
from diffpattern.precision import real
from diffpattern.problem import Problem


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
    if systems.is_system(config.data.name):
        dataset.require_memory(config)
    configuration.levels(config.evaluation.covered, statistics.species)
    windows.check(times, config.training.window, config.training.sampling)
    lengths = window_lengths(config)
    sought = problem.build(config, statistics, mesh.size)
    initial = jax.eval_shape(lambda: sought.initialise(config.seed))
    _require_memory(config, sought, initial)
    training = make_training(config, sought, initial, mesh, together=True)
    for length in lengths.lengths:
        training.step_over(length)
    if config.optimiser.derivative_steps:
        check_size(config, initial)
    for size in statistics.sizes:
        shape = (config.training.window + 1, *size, len(statistics.species))
        jax.eval_shape(sought.factor, windows.Window(jax.ShapeDtypeStruct(shape, real()), None))
    for length, size in itertools.product(lengths.lengths, statistics.sizes):
        elapsed = continuation.elapsed(length, statistics.interval)
        jax.eval_shape(*_prediction(sought, initial, elapsed, size, mesh))


def _require_memory(config: ConfigDict, sought: Problem, initial: Any) -> None:
    """Refuses a batch, or parameters, that this process could not hold.

    Raises:
      InputError: saying how much memory they would take.
    """
    number, statistics = np.dtype(real()).itemsize, sought.statistics
    memory.require(
        number * sum(leaf.size for leaf in jax.tree.leaves(initial)),
        "The rule's parameters",
        "take fewer hidden units or terms under model",
    )
    snapshots = (config.training.window + 1) * len(statistics.species)
    cells = sum(map(math.prod, statistics.sizes))
    memory.require(
        number * config.training.batch * cells * (snapshots + sought.channels) / processes.count(),
        f"The {config.training.batch} windows of a batch, with a state of the rule for each,",
        "take a smaller training.batch",
    )


def _prediction(
    sought: Problem, parameters: Any, elapsed: np.ndarray, size: tuple[int, ...], mesh: Mesh
) -> tuple[Callable, Any, Any, Any]:
    """What predicts a lattice for each place on "data", in blocks, and shapes of its arguments."""
    statistics, on_blocks = sought.statistics.on(size), sought.cut(mesh)
    count, space = mesh.shape[DATA], len(size)
    each = lambda shape: jax.ShapeDtypeStruct((count, *shape), real())
    forcing = jax.tree.map(lambda array: each(array.shape), problem.given(statistics))

    def predict(parameters, start, forcing):
        of_one = lambda start, forcing: on_blocks.predict(
            parameters, start, elapsed, jax.random.key(0), forcing
        )
        return jax.vmap(of_one)(start, forcing)

    layout = EVERYWHERE, lattices(mesh, 1, space), layout_of_forcing(forcing, space, mesh)
    spread = on_mesh(predict, mesh, layout, lattices(mesh, 2, space), sought.running)
    return spread, parameters, each((*size, len(statistics.species))), forcing
