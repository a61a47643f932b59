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
      masked: whether the trajectories have masks.
      environment: how many fields their environments have.
      inputs: how many inputs they have.
      offset, scale: of each species, as of the trajectories.
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
        return cls(**fields | tuples | {"grid": grid, "whitening": whitening})


def summarise(trajectories: Trajectories, degrees: tuple[int, ...]) -> Statistics:
    """The statistics of training data, with whitenings for monomials up to each of `degrees`.

    What lies outside of a mask, or was not seen, does not count.
    """
    values = trajectories.values.astype(np.float64)
    count, space = len(trajectories.species), tuple(range(2, values.ndim - 1))
    inside, where = None, True
    if trajectories.mask is not None:
        where = inside = np.broadcast_to(trajectories.mask[:, None, ..., None] > 0, values.shape)
    if trajectories.known is not None:
        where = where & np.broadcast_to(np.expand_dims(trajectories.known > 0, space), values.shape)
    everything = (0, 1, *space)
    mean = values.mean(everything, where=where)
    # Of what was not seen, monomials are taken as if it were as on average.
    samples = values if trajectories.known is None else np.where(where, values, mean)
    if inside is not None:
        samples = samples[inside].reshape(-1, count)
    # The mean over space of what was never seen there is that of nothing.
    centre = np.divide(
        values.sum(space, keepdims=True, where=where),
        np.maximum(np.sum(np.broadcast_to(where, values.shape), space, keepdims=True), 1),
    )
    variance = ((values - centre) ** 2).mean(everything, where=where)
    return Statistics(
        trajectories.species,
        trajectories.grid,
        interval(trajectories),
        tuple(mean.tolist()),
        tuple(np.sqrt(variance).tolist()),
        {
            degree: monomials.whitening(samples, monomials.exponents(count, 1, degree))
            for degree in degrees
        },
        masked=trajectories.mask is not None,
        environment=0 if trajectories.environment is None else trajectories.environment.shape[-1],
        inputs=0 if trajectories.inputs is None else trajectories.inputs.shape[-1],
        offset=trajectories.offset,
        scale=trajectories.scale,
    )
