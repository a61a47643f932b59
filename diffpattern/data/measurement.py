"""What a measurement leaves of data: noise, as a camera would have it, and what is not seen."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from diffpattern import named_numbers
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.precision import real

# Test data stay as they are: what is scored is whether the rule is right.
MEASURED = ("train", "validation")
# A snapshot is at a time that is no farther away, in intervals.
_NEAR = 1e-3


def added(
    data: tuple[dict[str, Trajectories], ...], share: float, seed: int
) -> tuple[dict[str, Trajectories], ...]:
    """The data with Gaussian noise on every number of the splits to train and to choose by.

    Args:
      data: trajectories by split, for each size of lattices.
      share: standard deviation of the noise, as a share of each channel's standard deviation over
        all cells and times of the training data.
      seed: of the noise.

    Raises:
      InputError: data stay in files.
    """
    if not share:
        return data
    if not all(isinstance(one, Trajectories) for of_size in data for one in of_size.values()):
        raise InputError(
            f"data.noise is {share:g}, but the data stay in their files and cannot be changed; set "
            "it to 0, or have them read (stream=False)."
        )
    deviation = share * spread([of_size["train"] for of_size in data if "train" in of_size])
    return tuple(
        of_size
        | {
            split: noisy(of_size[split], deviation, (seed, place * (len(MEASURED) + 1) + kind))
            for kind, split in enumerate(MEASURED)
            if split in of_size
        }
        for place, of_size in enumerate(data)
    )


def seen_at(
    data: tuple[dict[str, Trajectories], ...], entries: Sequence[str]
) -> tuple[dict[str, Trajectories], ...]:
    """The data without what was not seen, in the splits to train and to choose by.

    Args:
      data: trajectories by split, for each size of lattices.
      entries: for some species the times at which it was seen, "u=0,1,2,4".

    Raises:
      InputError: data stay in files, or an entry names a species or a time that they do not have.
    """
    if not entries:
        return data
    if not all(isinstance(one, Trajectories) for of_size in data for one in of_size.values()):
        raise InputError(
            "data.seen takes something away from data, but they stay in their files and cannot be "
            "changed; leave it empty, or have them read (stream=False)."
        )
    return tuple(
        of_size
        | {split: _without(of_size[split], entries) for split in MEASURED if split in of_size}
        for of_size in data
    )


def _without(trajectories: Trajectories, entries: Sequence[str]) -> Trajectories:
    species, times = trajectories.species, trajectories.times
    known = np.ones((*trajectories.values.shape[:2], len(species)), real())
    seen = named_numbers.read(
        entries,
        lambda name, _: name in species,
        field="data.seen",
        form=f"SPECIES=TIME,TIME with one of the species {', '.join(species)}",
    )
    for name, asked in seen.items():
        near = np.abs(times[:, None] - np.array(asked)) <= _NEAR * np.diff(times).min()
        if not near.any(0).all():
            missing = asked[int(near.any(0).argmin())]
            raise InputError(
                f"data.seen has {missing:g} for {name!r}, but no snapshot is at {missing:g}; they "
                f"are from {times[0]:g} to {times[-1]:g}, {times[1] - times[0]:g} apart."
            )
        known[:, :, species.index(name)] = near.any(1)
    if trajectories.known is not None:
        known = known * trajectories.known
    return dataclasses.replace(trajectories, known=known)


def noisy(trajectories: Trajectories, deviation: np.ndarray, seed: tuple[int, ...]) -> Trajectories:
    """The trajectories with noise of standard deviation `deviation` [C] where anything was seen."""
    random = np.random.default_rng(seed)
    noise = deviation * random.standard_normal(trajectories.values.shape, real())
    if trajectories.known is not None:
        space = tuple(range(2, noise.ndim - 1))
        noise = noise * np.expand_dims(trajectories.known, space)
    return dataclasses.replace(trajectories, values=trajectories.values + noise)


def spread(lattices: Sequence[Trajectories]) -> np.ndarray:
    """The standard deviation of each channel, [C], where anything was seen."""
    channels = range(len(lattices[0].species))
    return np.array([np.concatenate([one.numbers(n) for one in lattices]).std() for n in channels])
