"""A rule trained on arrays in memory: `diffpattern.fit`."""

from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from diffpattern import precision, train
from diffpattern.api.loading import PathLike, Run, load
from diffpattern.configs import default
from diffpattern.data.sources import GIVEN, by_split
from diffpattern.data.trajectories import Trajectories
from diffpattern.run_folder import RunFolder, new_folder


def fit(
    data: Trajectories | Mapping[str, Trajectories],
    config: ConfigDict | None = None,
    workdir: PathLike | None = None,
) -> Run:
    """Trains the rule that a config asks for on arrays in memory.

    Args:
      data: to train on; or {"train", "validation", "test": trajectories}, of which those that are
        missing are the training data.
      config: None: `default_config()`. Its `data.name` counts for nothing here.
      workdir: the run's folder, where training begins or goes on; None: runs/given-<time>.

    Returns:
      The run, scored and reported on as by the command.

    Raises:
      InputError: the config, the data or the folder cannot be used.
      TrainingError: the loss is not finite more often than allowed.

    Example:
      >>> data = diffpattern.simulate("gray_scott", (8, 8), range(0, 65, 16), count=2)
      >>> config = diffpattern.default_config()
      >>> config.training.steps = 2
      >>> config.model.rda.polynomial.order = 1
      >>> config.evaluation.report = False
      >>> run = diffpattern.fit(data, config, workdir="runs/mine")
      Checkpoint of step 2, scored on what it was trained on: ...
      >>> run.step
      2
    """
    given = by_split(data, "The data")
    config = (default_config() if config is None else config).copy_and_resolve_references()
    config.data.name = GIVEN
    folder = RunFolder(Path(workdir).expanduser()) if workdir else new_folder(GIVEN)
    with precision.of_config(config):
        train.train_and_evaluate(config, folder, data=given)
    return load(folder.path)


def default_config() -> ConfigDict:
    """A config to start from, with every field; configs/default.py explains each.

    Example:
      >>> config = diffpattern.default_config()
      >>> config.training.steps = 20
      >>> config.model.name, config.optimiser.name
      ('rda', 'levenberg_marquardt')
    """
    return default.get_config()
