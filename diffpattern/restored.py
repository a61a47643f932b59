"""A rule taken out of the folder of its run, as it was trained."""

from dataclasses import dataclass

import jax
from absl import logging
from ml_collections import ConfigDict

from diffpattern import problem
from diffpattern.data.statistics import Statistics
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.problem import Problem
from diffpattern.run_folder import RunFolder
from diffpattern.training.checkpoints import Checkpoints, Restored


@dataclass(frozen=True, eq=False)
class RestoredRule:
    """A trained rule with what its run's folder knows of it.

    Attributes:
      config: of the run.
      problem: the rule and what is done to it.
      checkpoint: with its parameters.
      truth: the run's test data, for one size of lattices after the other.
      statistics: of its training data.
    """

    config: ConfigDict
    problem: Problem
    checkpoint: Restored
    truth: tuple[Trajectories, ...]
    statistics: Statistics


def restore(folder: RunFolder, step: int | None = None) -> RestoredRule:
    """The rule of a run, as it was trained.

    Args:
      folder: of the run; nothing else is needed.
      step: of the checkpoint. None: the best by its validation score.

    Raises:
      InputError: the folder is not one of a run, or the checkpoint is missing or damaged.
    """
    config = folder.config()
    truth, statistics = folder.data()
    sought = problem.build(config, statistics)
    template = jax.eval_shape(lambda: sought.initialise(config.seed))
    with Checkpoints(folder.checkpoints) as checkpoints:
        checkpoint = _checkpoint(checkpoints, template, step)
    return RestoredRule(config, sought, checkpoint, truth, statistics)


def _checkpoint(checkpoints: Checkpoints, template, step: int | None) -> Restored:
    if step is None and (best := checkpoints.best) is not None:
        try:
            return checkpoints.restore(template, step=best)
        except InputError as error:
            logging.warning("The best checkpoint cannot be used, taking the newest: %s", error)
    return checkpoints.restore(template, step=step)
