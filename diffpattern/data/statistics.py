"""What a rule and a score need to know of the training data, small enough to keep with a run."""

import dataclasses
import json
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
    """

    species: tuple[str, ...]
    grid: Grid
    interval: float
    mean: tuple[float, ...]
    fluctuation: tuple[float, ...]
    whitening: dict[int, Whitening]

    def to_json(self) -> str:
        """As text; `from_json` gives an equal object back."""
        fields = {
            name: getattr(self, name) for name in ("species", "interval", "mean", "fluctuation")
        }
        whitening = {n: dataclasses.asdict(entry) for n, entry in self.whitening.items()}
        return json.dumps(fields | {"grid": self.grid.to_dict(), "whitening": whitening})

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
        return cls(
            tuple(fields["species"]),
            Grid.from_dict(fields["grid"]),
            fields["interval"],
            tuple(fields["mean"]),
            tuple(fields["fluctuation"]),
            whitening,
        )


def summarise(trajectories: Trajectories, degrees: tuple[int, ...]) -> Statistics:
    """The statistics of training data, with whitenings for monomials up to each of `degrees`."""
    values = trajectories.values.astype(np.float64)
    space = tuple(range(2, values.ndim - 1))
    deviation = values - values.mean(space, keepdims=True)
    count = len(trajectories.species)
    return Statistics(
        trajectories.species,
        trajectories.grid,
        interval(trajectories),
        tuple(values.mean((0, 1, *space)).tolist()),
        tuple(np.sqrt((deviation**2).mean((0, 1, *space))).tolist()),
        {
            degree: monomials.whitening(values, monomials.exponents(count, 1, degree))
            for degree in degrees
        },
    )
