"""What a rule and a score need to know of the training data, small enough to keep with a run."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from diffpattern.data.trajectories import Trajectories
from diffpattern.data.windows import interval
from diffpattern.grid.geometry import Grid
from diffpattern.models import monomials
from diffpattern.models.monomials import Whitening


@dataclasses.dataclass(frozen=True)
class Statistics:
    """A summary of the training data.

    Attributes:
      species: names of the channels.
      grid: where the data live.
      interval: units of time between two snapshots.
      mean: of each species over all cells and times.
      fluctuation: of each species, the root mean square over all snapshots of the deviation from
        the snapshot's mean over space.
      whitening: for each degree d, of the monomials of degree 1 to d.
      masked: whether the trajectories have masks.
      environment: how many fields their environments have.
      inputs: how many inputs they have.
      offset, scale: of each species, as of the trajectories; empty: 0 and 1.
      sizes: cells along each axis of all lattices that the data live on, `grid` being the first.
      length_unit, time_unit: as of the trajectories.
    """

    species: tuple[str, ...]
    grid: Grid
    interval: float
    mean: tuple[float, ...]
    fluctuation: tuple[float, ...]
    whitening: dict[int, Whitening]
    masked: bool = False
    environment: int = 0
    inputs: int = 0
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    sizes: tuple[tuple[int, ...], ...] = ()
    length_unit: str = ""
    time_unit: str = ""

    def __post_init__(self):
        object.__setattr__(self, "sizes", self.sizes or (self.grid.shape,))

    def on(self, size: tuple[int, ...]) -> "Statistics":
        """The same for a lattice of so many cells along each axis."""
        return dataclasses.replace(self, grid=dataclasses.replace(self.grid, shape=size))

    def units(self) -> dict[str, Any]:
        """What numbers of the rule are in, as `eval/scores.json` has it.

        Returns:
          {"length", "time": a name or "", "offset", "scale": {species: number}}; a number of the
          data is offset + scale * a number of the rule.
        """
        offset = self.offset or (0.0,) * len(self.species)
        scale = self.scale or (1.0,) * len(self.species)
        return {
            "length": self.length_unit,
            "time": self.time_unit,
            "offset": dict(zip(self.species, offset, strict=True)),
            "scale": dict(zip(self.species, scale, strict=True)),
        }

    def to_json(self) -> str:
        """As text; `from_json` gives an equal object back."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        whitening = {n: dataclasses.asdict(entry) for n, entry in self.whitening.items()}
        return json.dumps(plain | {"grid": self.grid.to_dict(), "whitening": whitening})

    @classmethod
    def from_json(cls, text: str) -> "Statistics":
        """Reads what `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        whitening = {
            int(degree): Whitening(
                tuple(entry["mean"]), tuple(tuple(row) for row in entry["matrix"])
            )
            for degree, entry in fields["whitening"].items()
        }
        names = ("species", "mean", "fluctuation", "offset", "scale")
        tuples = {name: tuple(fields.get(name, ())) for name in names}
        grid = Grid.from_dict(fields["grid"])
        sizes = tuple(map(tuple, fields.get("sizes", ())))
        return cls(**fields | tuples | {"grid": grid, "whitening": whitening, "sizes": sizes})


def summarise(lattices: Sequence[Trajectories], degrees: tuple[int, ...]) -> Statistics:
    """The statistics of training data, with whitenings for monomials up to each of `degrees`.

    What lies outside of a mask, or was not seen, does not count.

    Args:
      lattices: trajectories that differ in the sizes of their lattices and in nothing else.
      degrees: of monomials.
    """
    first = lattices[0]
    count = len(first.species)
    parts = zip(*map(_samples, lattices), strict=True)
    values, deviations, seen = (np.concatenate(part) for part in parts)
    mean = values.mean(0, where=seen)
    variance = (deviations**2).mean(0, where=seen)
    # Of what was not seen, monomials are taken as if it were as on average.
    samples = np.where(seen, values, mean)
    return Statistics(
        first.species,
        first.grid,
        interval(first),
        tuple(mean.tolist()),
        tuple(np.sqrt(variance).tolist()),
        {
            degree: monomials.whitening(samples, monomials.exponents(count, 1, degree))
            for degree in degrees
        },
        masked=first.mask is not None,
        environment=0 if first.environment is None else first.environment.shape[-1],
        inputs=0 if first.inputs is None else first.inputs.shape[-1],
        offset=first.offset,
        scale=first.scale,
        sizes=tuple(one.grid.shape for one in lattices),
        length_unit=first.length_unit,
        time_unit=first.time_unit,
    )


def _samples(trajectories: Trajectories) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all cells inside of masks at all times: values, their deviations from their snapshot's
    means over space, and whether they were seen, [n, C] each."""
    values = trajectories.values.astype(np.float64)
    space = tuple(range(2, values.ndim - 1))
    inside, seen = np.ones(values.shape, bool), trajectories.seen()
    if trajectories.mask is not None:
        inside = np.broadcast_to(trajectories.mask[:, None, ..., None] > 0, values.shape)
    # The mean over space of what was never seen there is that of nothing.
    total = values.sum(space, keepdims=True, where=seen)
    centre = total / np.maximum(seen.sum(space, keepdims=True), 1)
    cells = lambda array: array[inside].reshape(-1, values.shape[-1])
    return cells(values), cells(values - centre), cells(seen)
