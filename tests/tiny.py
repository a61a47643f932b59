"""Tiny data and runs: what the tests of training share."""

import functools

import numpy as np
from ml_collections import ConfigDict

from diffpattern import configuration, problem, train
from diffpattern.configs import default
from diffpattern.data import statistics
from diffpattern.data.simulation import Simulation, simulate
from diffpattern.data.trajectories import Trajectories
from diffpattern.methods import make_training
from diffpattern.parallel.mesh import make_mesh
from diffpattern.training.step import compiled, prefers_together


def config(**changes) -> ConfigDict:
    """The default config with some fields changed, given by their dotted paths."""
    changed = default.get_config()
    changed.update_from_flattened_dict(changes)
    return changed


@functools.cache
def data(**settings) -> Trajectories:
    """A few short trajectories of Gray-Scott."""
    fields = {"shape": (8, 8), "interval": 2.0, "end_time": 16.0, "train": 3}
    return simulate(Simulation(**fields | settings, validation=1, test=1))["train"]


class Run:
    """Training as `train.train_and_evaluate` does it, without a folder.

    Attributes:
      step: the compiled train step.
      state: the state after the last step.
    """

    def __init__(
        self,
        config: ConfigDict,
        trajectories: Trajectories,
        devices: int,
        *further: Trajectories,
        blocks: tuple[int, int] = (1, 1),
    ):
        configuration.check(config)
        lattices = (trajectories, *further)
        summary = statistics.summarise(lattices, problem.whitened_degrees(config))
        self.config, self.trajectories = config, trajectories
        self.mesh = make_mesh(devices, *blocks)
        self.batches = train.make_batches(config, lattices, self.mesh)
        self.sought = problem.build(config, summary, self.mesh.size)
        together = prefers_together(config.training.windows)
        initial = self.sought.initialise(config.seed)
        training = make_training(config, self.sought, initial, self.mesh, together)
        self.step = compiled(training.step, self.mesh)
        self.state = train.first_state(config, training, initial, self.batches, self.mesh)

    def advance(self, draw: int | None = None) -> dict[str, float]:
        """Makes one train step, over the windows of that step or another; returns its metrics."""
        draw = int(self.state.step) if draw is None else draw
        batch = train.draw_batch(self.batches, draw, self.mesh)
        self.state, metrics = self.step(self.state, batch)
        return {name: float(value) for name, value in metrics.items()}

    def train(self, steps: int, draw: int | None = None) -> dict[str, np.ndarray]:
        """Makes some train steps; returns their metrics, [steps] each."""
        rows = [self.advance(draw) for _ in range(steps)]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}
