"""Noise on data, as a camera would have it."""

import dataclasses

import numpy as np

from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError

# Test data stay as they are: what is scored is whether the rule is right.
NOISY = ("train", "validation")


def added(data: dict[str, Trajectories], share: float, seed: int) -> dict[str, Trajectories]:
    """The data with Gaussian noise on every number of the splits to train and to choose by.

    Args:
      data: trajectories by split.
      share: standard deviation of the noise, as a share of each channel's standard deviation over
        all cells and times of the training data.
      seed: of the noise.

    Raises:
      InputError: data stay in files.
    """
    if not share:
        return data
    if not all(isinstance(one, Trajectories) for one in data.values()):
        raise InputError(
            f"data.noise is {share:g}, but the data stay in their files and cannot be changed; set "
            "it to 0, or have them read (stream=False)."
        )
    size = share * spread(data["train"])
    return data | {
        split: noisy(data[split], size, (seed, place)) for place, split in enumerate(NOISY)
    }


def noisy(trajectories: Trajectories, size: np.ndarray, seed: tuple[int, ...]) -> Trajectories:
    """The trajectories with noise of standard deviation `size` [C] where anything was seen."""
    random = np.random.default_rng(seed)
    noise = size * random.standard_normal(trajectories.values.shape, np.float32)
    if trajectories.known is not None:
        noise = noise * _at_cells(trajectories.known, noise.ndim)
    return dataclasses.replace(trajectories, values=trajectories.values + noise)


def spread(trajectories: Trajectories) -> np.ndarray:
    """The standard deviation of each channel, [C], where anything was seen."""
    values, where = trajectories.values.astype(np.float64), True
    if trajectories.mask is not None:
        where = trajectories.mask[:, None, ..., None] > 0
    if trajectories.known is not None:
        where = where & (_at_cells(trajectories.known, values.ndim) > 0)
    axes = tuple(range(values.ndim - 1))
    return values.std(axes, where=np.broadcast_to(where, values.shape))


def _at_cells(known: np.ndarray, axes: int) -> np.ndarray:
    """[N, T, C] with axes of space in between, so that it meets values of so many axes."""
    return np.expand_dims(known, tuple(range(2, axes - 1)))
