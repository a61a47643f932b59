"""A rule trained on arrays in memory: `diffpattern.fit`."""

import dataclasses
import os
from collections.abc import Mapping

from ml_collections import ConfigDict

from diffpattern import configuration, precision, train
from diffpattern.api.loading import PathLike, Run, load
from diffpattern.configs import default
from diffpattern.data.sources import GIVEN, by_split
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.run_folder import given_folder, new_folder


def fit(
    data: Trajectories | Mapping[str, Trajectories],
    config: ConfigDict | PathLike | None = None,
    workdir: PathLike | None = None,
) -> Run:
    """Trains the rule that a config asks for on arrays in memory.

    Args:
      data: to train on; or {"train", "validation", "test": trajectories}, of which those that are
        missing are the training data.
      config: of the rule and its training, or the path of the file that gives it, as `--config`
        takes it; None: `default_config()`. Its `data.name` counts for nothing here,
        and what it says of data that are simulated or read is refused.
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
    path = os.fsdecode(config) if isinstance(config, PathLike) else ""
    wanted = _of_given_data(_read(path) if path else config)
    folder = new_folder(GIVEN) if workdir is None else given_folder(workdir, "workdir")
    with precision.of_config(wanted):
        # In the precision of the run, whatever they were made in.
        given = tuple(
            {split: dataclasses.replace(of_split) for split, of_split in of_size.items()}
            for of_size in given
        )
        train.train_and_evaluate(wanted, folder, data=given, config_path=path)
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


def _of_given_data(config: ConfigDict | None) -> ConfigDict:
    """A checked copy of a config, for data that a program hands over."""
    config = default_config() if config is None else config
    if not isinstance(config, ConfigDict):
        raise InputError(
            f"config is of the type {type(config).__name__}, but must be a ConfigDict, such as "
            "default_config() gives, or the path of a config's file."
        )
    # A frozen one is made one that can be changed.
    config = ConfigDict(config).copy_and_resolve_references()
    if isinstance(config.get("data"), ConfigDict):
        config.data.name = GIVEN
    configuration.check(config)
    return config


def _read(path: str) -> ConfigDict:
    """The config of a file, as `--config` takes it."""
    (argument,) = configuration.with_stored([f"--config={path}"])
    try:
        return configuration.check_file(argument.removeprefix("--config="))
    except InputError as error:
        raise InputError(str(error).removeprefix("--")) from error
