"""The data that a config asks for: simulated, or read by one of `data.sources`.

Whatever the source, trajectories come with what the config has made of them: environments, and
inputs that differ from one trajectory to another.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
from ml_collections import ConfigDict

from diffpattern.data import builders, environment
from diffpattern.data.simulation import SPLITS, Simulation, require_stable
from diffpattern.data.sources import SOURCES
from diffpattern.data.statistics import Statistics, summarise
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.models import monomials
from diffpattern.models.monomials import Whitening
from diffpattern.systems import SYSTEMS


def load(config: ConfigDict) -> dict[str, Trajectories]:
    """Trajectories by split, simulated on first use.

    Raises:
      InputError: naming the field or file that cannot work.
    """
    data = _read(config) if config.data.name in SOURCES else _simulated(config)
    return {
        split: environment.added(trajectories, config.data.environment).regular()
        for split, trajectories in data.items()
    }


def expected(config: ConfigDict, degrees: tuple[int, ...]) -> tuple[np.ndarray, Statistics]:
    """Times and statistics as those of the data will be, in shape, before there are any.

    Args:
      config: of the run.
      degrees: up to which monomials are to be whitened.

    Raises:
      InputError: the data cannot be made.
    """
    if config.data.name in SOURCES:
        train = load(config)["train"]
        return train.times, summarise(train, degrees)
    settings = list(_simulations(config))
    for one in settings:
        require_stable(one)
    first = settings[0]
    species = first.system.species
    sizes = {degree: len(monomials.exponents(len(species), 1, degree)) for degree in degrees}
    return first.times, Statistics(
        species,
        first.grid,
        first.interval,
        mean=(0.0,) * len(species),
        fluctuation=(1.0,) * len(species),
        whitening={
            degree: Whitening((0.0,) * size, ((0.0,) * size,) * size)
            for degree, size in sizes.items()
        },
        masked=first.mask != "none",
        environment=environment.count(first.grid, config.data.environment),
        inputs=len(config.data.doses),
    )


def simulation(config: ConfigDict) -> Simulation:
    """The simulation of the config's system, with its parameters as they stand there."""
    fields = config.data.to_dict()
    name = fields.pop("name")
    for other in ("directory", "environment", "doses", *SOURCES):
        del fields[other]
    if len(fields["boundary"]) == 1:
        fields["boundary"] = fields["boundary"] * len(fields["shape"])
    parameters = {system: fields.pop(system) for system in SYSTEMS}
    try:
        system = SYSTEMS[name](**parameters[name])
    except InputError as error:
        raise InputError(f"data.{name}.{error}") from error
    return Simulation(system=system, **fields)


def _read(config: ConfigDict) -> dict[str, Trajectories]:
    return SOURCES[config.data.name](config.data[config.data.name])


def _simulated(config: ConfigDict) -> dict[str, Trajectories]:
    doses = _doses(config)
    directory = config.data.directory or None
    runs = [builders.load(settings, directory) for settings in _simulations(config)]
    return {split: _joined([run[split] for run in runs], doses) for split in SPLITS}


def _simulations(config: ConfigDict) -> Iterator[Simulation]:
    """One for each combination of the doses."""
    settings, doses = simulation(config), _doses(config)
    for values in itertools.product(*doses.values()):
        try:
            system = dataclasses.replace(settings.system, **dict(zip(doses, values, strict=True)))
        except InputError as error:
            raise InputError(f"data.doses: {error}") from error
        yield dataclasses.replace(settings, system=system)


def _doses(config: ConfigDict) -> dict[str, list[float]]:
    """The values that each parameter takes which differs between trajectories."""
    parameters = config.data[config.data.name]
    doses = {}
    for entry in config.data.doses:
        name, _, written = str(entry).partition("=")
        try:
            values = [float(value) for value in written.split(",")]
        except ValueError:
            values = []
        if name not in parameters or len(set(values)) < 2:
            raise InputError(
                f"data.doses has {entry!r}; write NAME=VALUE,VALUE with two or more values and one "
                f"of the system's parameters: {', '.join(parameters)}."
            )
        doses[name] = values
    return doses


def _joined(runs: list[Trajectories], doses: dict[str, list[float]]) -> Trajectories:
    """All trajectories together, each told its doses: 0 for the lowest of a kind, 1 the highest."""
    if not doses:
        return runs[0]
    scaled = [
        [(value - min(values)) / (max(values) - min(values)) for value in values]
        for values in doses.values()
    ]
    told = np.array(list(itertools.product(*scaled)))
    masks = [run.mask for run in runs]
    return dataclasses.replace(
        runs[0],
        values=np.concatenate([run.values for run in runs]),
        mask=None if masks[0] is None else np.concatenate(masks),
        inputs=np.repeat(told, [len(run.values) for run in runs], axis=0),
    )
