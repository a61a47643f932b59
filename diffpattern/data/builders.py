"""TFDS builders of simulated data: prepared on first use, by one process, without TensorFlow.

`BUILDERS` has one for each system of `diffpattern.systems`, made of what the system says of itself.

Each simulation has a folder of its own, DIRECTORY/<system>/<settings' name>/<version>. TFDS writes
beside it and renames when all is there, so a folder that exists is complete. Whoever prepares holds
an exclusive flock on DIRECTORY/<system>/<settings' name>.lock; the kernel lets go of it when the
process ends, however it ends, and the next holder clears away what was left half-written.
"""

import contextlib
import dataclasses
import functools
import inspect
import io
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds
from absl import logging as absl_logging

from diffpattern.data.simulation import SPLITS, Simulation, require_stable, simulate
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.files import cache_folder, locked
from diffpattern.parallel import processes
from diffpattern.precision import real
from diffpattern.systems import SYSTEMS, System

_SNAPSHOTS, _MASK = "snapshots", "mask"

# TFDS tells of every folder that it opens, and warns of each configuration that it was not born
# with. The filter leaves the records of everybody else alone.
absl_logging.get_absl_logger().addFilter(
    lambda record: record.levelno >= logging.ERROR or "tensorflow_datasets" not in record.pathname
)


@dataclasses.dataclass(eq=False, kw_only=True)
class SimulationConfig(tfds.core.BuilderConfig):
    """A builder's configuration: the whole simulation, whose name is the configuration's."""

    settings: Simulation


class SimulationBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Simulates a system and writes its trajectories, one example each.

    Any settings will do; the recommended ones are among the `BUILDER_CONFIGS`.
    """

    # To be raised when the same settings give other numbers.
    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar = {
        "1.0.0": "First version.",
        "1.1.0": "Equations of fourth order have walls of their own for the potential.",
    }
    SYSTEM: type[System]

    # Nothing is downloaded. Left to itself, TFDS 4.9.10 looks for checksums beside this module, by
    # way of a package, importlib_resources, that it does not install on Python 3.9 and later.
    url_infos = None

    def __init__(self, settings: Simulation, directory: str | os.PathLike):
        config = self.builder_configs.get(settings.name) or _config(settings)
        super().__init__(data_dir=directory, config=config)

    @property
    def settings(self) -> Simulation:
        """Everything that the numbers depend on."""
        return self.builder_config.settings

    def _info(self) -> tfds.core.DatasetInfo:
        settings = self.settings
        shape = (settings.times.size, *settings.shape, len(settings.system.species))
        # Stored as bytes: lists of floats take a hundred times as long to write and read.
        tensor = functools.partial(
            tfds.features.Tensor, dtype=real().type, encoding=tfds.features.Encoding.BYTES
        )
        features = {_SNAPSHOTS: tensor(shape=shape)}
        if settings.mask != "none":
            features[_MASK] = tensor(shape=settings.shape)
        return tfds.core.DatasetInfo(
            builder=self,
            description=(
                f"Simulated trajectories, one an example: snapshots {list(shape)} at equal "
                f"intervals of {', '.join(settings.system.species)}. Train, validation and test "
                "differ in the random starts alone.\n\n" + (inspect.getdoc(self.SYSTEM) or "")
            ),
            citation=self.SYSTEM.citation,
            features=tfds.features.FeaturesDict(features),
            # The order of the trajectories is that of their random keys.
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(settings.description()),
        )

    def _split_generators(self, dl_manager):
        return {
            split: self._generate_examples(trajectories)
            for split, trajectories in simulate(self.settings).items()
        }

    def _generate_examples(self, trajectories: Trajectories):
        for index, snapshots in enumerate(trajectories.values):
            masked = {} if trajectories.mask is None else {_MASK: trajectories.mask[index]}
            yield index, {_SNAPSHOTS: snapshots} | masked


def _config(settings: Simulation) -> SimulationConfig:
    return SimulationConfig(name=settings.name, settings=settings)


@functools.cache
def builder_of(system: type[System]) -> type[SimulationBuilder]:
    """The TFDS builder of a system's data, which may be a user's."""

    class Builder(SimulationBuilder, skip_registration=True):
        name = system.name
        SYSTEM = system
        BUILDER_CONFIGS: ClassVar = [_config(Simulation.recommended(system()))]

    return Builder


# Those of the known systems, by the system's name.
BUILDERS = {name: builder_of(system) for name, system in SYSTEMS.items()}


def default_directory() -> Path:
    """Where data are kept: `$DIFFPATTERN_DATA`, or a folder of the user's cache."""
    if chosen := os.environ.get("DIFFPATTERN_DATA"):
        return Path(chosen).expanduser()
    return cache_folder() / "data"


def load(
    settings: Simulation, directory: str | os.PathLike | None = None
) -> dict[str, Trajectories]:
    """Reads the trajectories of a simulation, which is run first if nobody has yet.

    Any number of processes may ask at once; one simulates, the others wait for it. Of those that
    train together, which all have to ask, it is the first.

    Args:
      settings: which simulation.
      directory: where data are kept; None means `default_directory()`.

    Returns:
      Trajectories by the name of their split: "train", "validation" and "test".

    Raises:
      InputError: the simulation cannot work, or the folder cannot be written or read.
    """
    directory = Path(directory).expanduser() if directory else default_directory()
    builder_class = builder_of(type(settings.system))
    folder = directory / builder_class.name / settings.name / str(builder_class.VERSION)
    try:
        with processes.first_goes_first():
            if not folder.exists():
                require_stable(settings)
                simulation = folder.parent
                simulation.mkdir(parents=True, exist_ok=True)
                with locked(simulation.with_name(f"{simulation.name}.lock")):
                    # Another process may have prepared it while this one waited for its turn.
                    if not folder.exists():
                        _prepare(builder_class(settings, directory))
    except OSError as error:
        raise InputError(
            f"data directory {directory} cannot be used ({error.strerror or error}); "
            "$DIFFPATTERN_DATA may name another."
        ) from error
    try:
        builder = builder_class(settings, directory)
        return {split: _read(builder, split) for split in SPLITS}
    except Exception as error:
        raise InputError(
            f"the data in {folder} are damaged ({error}); "
            "remove this folder to have them simulated anew."
        ) from error


def _read(builder: SimulationBuilder, split: str) -> Trajectories:
    settings = builder.settings
    examples = list(builder.as_data_source(split))
    values = np.stack([example[_SNAPSHOTS] for example in examples])
    mask = None if settings.mask == "none" else np.stack([one[_MASK] for one in examples])
    if len(values) != getattr(settings, split):
        raise ValueError(f"{len(values)} trajectories in {split}")
    species = settings.system.species
    return Trajectories(values, settings.times, species, settings.grid, mask=mask)


def _prepare(builder: SimulationBuilder) -> None:
    parent = builder.data_path.parent
    for remains in parent.glob("incomplete.*"):
        shutil.rmtree(remains)
    absl_logging.info("Simulating %s into %s", builder.name, builder.data_path)
    with (
        # TFDS wants a folder for downloads even where there are none.
        tempfile.TemporaryDirectory(dir=parent, prefix="incomplete.") as downloads,
        _without_progress_bars(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        try:
            builder.download_and_prepare(download_dir=downloads, file_format="array_record")
        except RuntimeError as error:
            # So array_record reports a write that failed, as on a full disk.
            reason = str(error).partition("write() failed: ")[2].partition(";")[0]
            if not reason:
                raise
            raise OSError(reason) from error


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    tfds.disable_progress_bar()
    try:
        yield
    finally:
        tfds.enable_progress_bar()
