"""The data that a config asks for: simulated, read by one of `data.sources`, or made by a run.

Whatever the source, trajectories come with what the config has made of them: environments, and
inputs that differ from one trajectory to another. Those of lattices of several sizes come apart.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from diffpattern import memory, named_numbers, parts, systems, taught
from diffpattern.data import builders, environment, measurement, sources
from diffpattern.data.simulation import SPLITS, Simulation, largest_of_start, require_stable
from diffpattern.data.sources import GIVEN, SOURCES, Data
from diffpattern.data.statistics import Statistics
from diffpattern.data.stored import StoredTrajectories
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.models import monomials
from diffpattern.models.monomials import Whitening
from diffpattern.precision import real
from diffpattern.systems import SYSTEMS


def load(config: ConfigDict, given: Data | None = None) -> Data:
    """What a config asks for, simulated on first use or read; some to train on may stay in files.

    Args:
      config: of the run.
      given: the data themselves, where `data.name` is "given".

    Raises:
      InputError: naming the field or file that cannot work.
    """
    name, fields = config.data.name, config.data.environment
    if name == GIVEN:
        if given is None:
            raise InputError(
                f"data.name is {GIVEN!r}, which stands for arrays handed to diffpattern.fit; take "
                "a system, or a source of data such as 'images'."
            )
        data = given
    elif name in SOURCES:
        data = SOURCES[name](config.data[name])
    elif name == "run":
        data = taught.rollouts(config, simulate=_simulated)
    elif systems.is_system(name):
        data = _simulated(config)
    else:
        data = sources.read_own(name, config.data.own)
    data = tuple(
        {split: _prepared(split, trajectories, fields) for split, trajectories in of_size.items()}
        for of_size in data
    )
    data = measurement.added(data, config.data.noise, config.data.seed)
    return measurement.seen_at(data, config.data.seen)


def _prepared(
    split: str, trajectories: Trajectories | StoredTrajectories, fields: tuple[str, ...]
) -> Trajectories | StoredTrajectories:
    """The trajectories of a split with the named fields to be seen, at equal intervals.

    Raises:
      InputError: there is too little of them, or terms cannot hold the names of their species.
    """
    for name in trajectories.species:
        if (better := monomials.name_of(name)) != name:
            raise InputError(
                f"The {split} data have a species called {name!r}, whose blanks and signs a term "
                f"such as 'A B^2' could not hold; call it {better!r}."
            )
    if len(trajectories.times) < 2:
        raise InputError(
            f"The {split} data have one snapshot to begin with and none after it, but a rule is "
            "about what follows; give them two or more."
        )
    if isinstance(trajectories, StoredTrajectories):
        return trajectories.seeing(fields)
    regular = environment.added(trajectories, fields).regular()
    if between := len(regular.times) - len(trajectories.times):
        logging.info(
            "The %s data were taken at unequal times: at equal intervals of %g they have %d "
            "snapshots, of which %d come in between and were not seen.",
            split,
            regular.times[1] - regular.times[0],
            len(regular.times),
            between,
        )
    return regular


def require_memory(config: ConfigDict) -> None:
    """Refuses to simulate what this machine could not keep, or a lattice that it could not run.

    Raises:
      InputError: saying how much memory the data or a state would take.
    """
    settings, number = list(_simulations(config)), np.dtype(real()).itemsize
    snapshots = sum(
        (one.train + one.validation + one.test) * one.snapshots * math.prod(one.shape)
        for one in settings
    )
    species = len(settings[0].system.species)
    memory.require(
        number * species * snapshots,
        "The snapshots that data.shape, data.train and so on ask for",
        "take a smaller lattice, fewer trajectories, or a longer data.interval",
    )
    memory.require(
        number * species * max(math.prod(one.fine_grid.shape) for one in settings),
        "The lattices of the simulation",
        "take a smaller data.shape or data.refinement",
    )
    memory.require(
        number * max(map(largest_of_start, settings)),
        f"Starts of {settings[0].system.name}, from end to end of this lattice,",
        "take a smaller data.spacing or data.shape",
    )


def of_split(data: Data, split: str) -> list[Trajectories | StoredTrajectories]:
    """The trajectories of a split, for one size of lattices after the other."""
    return [of_size[split] for of_size in data if split in of_size]


def _simulated(config: ConfigDict) -> tuple[dict[str, Trajectories], ...]:
    """The trajectories of all sizes, each with those of all doses."""
    require_memory(config)
    doses, runs = _doses(config), {}
    for settings in _simulations(config):
        made = builders.load(settings, config.data.directory or None)
        runs.setdefault(settings.shape, []).append(made)
    return tuple(
        {split: _joined([run[split] for run in of_size], doses) for split in SPLITS}
        for of_size in runs.values()
    )


def expected(config: ConfigDict, degrees: tuple[int, ...]) -> tuple[np.ndarray, Statistics]:
    """Times and statistics as simulated data will have them, in shape, before there are any.

    Args:
      config: of the run.
      degrees: up to which monomials are to be whitened.

    Raises:
      InputError: the data cannot be made.
    """
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
        sizes=tuple(dict.fromkeys(one.shape for one in settings)),
    )


def simulation(config: ConfigDict) -> Simulation:
    """The simulation of the config's system, with its parameters as they stand there."""
    fields = config.data.to_dict()
    others = ("directory", "further_shapes", "environment", "doses", "noise", "seen", "run", "own")
    for other in ("name", *others, *SOURCES, *SYSTEMS):
        fields.pop(other)
    if len(fields["boundary"]) == 1:
        fields["boundary"] = fields["boundary"] * len(fields["shape"])
    return Simulation(system=systems.of_config(config.data), **fields)


def _simulations(config: ConfigDict) -> Iterator[Simulation]:
    """One for each combination of the doses, on the lattices of each size."""
    settings, doses = simulation(config), _doses(config)
    for shape in (settings.shape, *_further_shapes(config)):
        try:
            of_size = dataclasses.replace(settings, shape=shape)
        except InputError as error:
            raise InputError(f"data.further_shapes: {error}") from error
        for values in itertools.product(*doses.values()):
            try:
                system = dataclasses.replace(
                    settings.system, **dict(zip(doses, values, strict=True))
                )
            except InputError as error:
                raise InputError(f"data.doses: {error}") from error
            yield dataclasses.replace(of_size, system=system)


def combinations(config: ConfigDict) -> int:
    """How many combinations of the doses there are, each with trajectories of its own."""
    return math.prod(map(len, _doses(config).values()))


def _further_shapes(config: ConfigDict) -> tuple[tuple[int, ...], ...]:
    """The sizes of lattices beside the first."""
    first, others = config.data.shape, config.data.further_shapes
    for other in others:
        if not isinstance(other, tuple) or len(other) != len(first):
            raise InputError(
                f"data.further_shapes has {other!r}, but each of its entries must give the cells "
                f"along {len(first)} axes, as data.shape does."
            )
    if len({first, *others}) <= len(others):
        raise InputError(
            f"data.further_shapes is {others!r}, and a shape is there twice or is data.shape, "
            f"{first!r}; more trajectories of one size are asked for by data.train."
        )
    return others


def _doses(config: ConfigDict) -> dict[str, list[float]]:
    """The values that each parameter takes which differs between trajectories."""
    parameters = parts.attributes(systems.system_named(config.data.name, "data.name"))
    return named_numbers.read(
        config.data.doses,
        lambda name, values: name in parameters and len(set(values)) > 1,
        field="data.doses",
        form="NAME=VALUE,VALUE with two or more values and one of the system's parameters: "
        + ", ".join(parameters),
    )


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
