"""What the page of a run is made of: numbers and arrays, and no rule."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpattern import scores as scoring
from diffpattern.data.trajectories import Trajectories
from diffpattern.records import Damage, States
from diffpattern.report.films import Video
from diffpattern.report.images import Scale, scale_of_states, within
from diffpattern.report.rule.chapter import RuleReading


@dataclass(frozen=True, eq=False)
class Shown:
    """The trajectory that pictures show of the lattices of one size: that of median error.

    Attributes:
      truth: all held-out trajectories on these lattices.
      number: which of them.
      actual: its snapshots, [T, *space, C].
      predicted: what the rule made of the first one, likewise; need not be finite.
      errors: the NRMSE, [T, C], NaN where the truth was not seen.
      size: the lattice in words, where the run has lattices of several sizes.
    """

    truth: Trajectories
    number: int
    actual: NDArray
    predicted: NDArray
    errors: NDArray
    size: str = ""

    @property
    def difference(self) -> NDArray:
        """Prediction less truth, [T, *space, C]."""
        with np.errstate(invalid="ignore", over="ignore"):
            return self.predicted.astype(np.float64) - self.actual

    @property
    def channels(self) -> int:
        """How many species there are."""
        return len(self.truth.species)

    @property
    def mask(self) -> NDArray | None:
        """Where the trajectory has anything, [*space]; None: everywhere."""
        return self.truth.inside(self.number)

    def scale(self, channel: int) -> Scale:
        """See `scale_of`."""
        return scale_of(self.truth, self.number, channel)

    def seen(self, channel: int) -> list[int]:
        """At which times the species was seen; at all of them if it never was."""
        seen = np.flatnonzero(~np.isnan(self.errors[:, channel]))
        return seen.tolist() if len(seen) else list(range(len(self.truth.times)))


def scale_of(truth: Trajectories, which: int, channel: int) -> Scale:
    """The colours of a species' states in all pictures of a trajectory: those of the data."""
    data = within(truth.values[which][..., channel], truth.inside(which))
    return scale_of_states(data, truth.times)


@dataclass(frozen=True, eq=False)
class RunReport:
    """Everything that the page of a run shows.

    Attributes:
      title: heading of the page.
      command: the command that made the run, as it can be typed again.
      config: the run's settings, nested mappings.
      scores: what `diffpattern.scores.summarise` returns, and where the rule has them
        "diffusion" and "diffusion_standard_error" {species: number}, and "equation"
        {species: [{"term", "coefficient", "standard_error", "determined"}, ...]};
        a standard error may be missing or None; "units" as `Statistics.units` has them, and
        "wavelength" and "drift" as `diffpattern.scores.patterns`, may be missing.
      lattices: for one size of lattices after the other the held-out trajectories, and what the
        rule made of their first snapshots, [N, T, *space, C].
      curves: one row for each logged step, {"step", "loss", "validation", ...}; a row may lack
        any key but the step.
      facts: short strings about the run, such as its steps, seconds, devices and versions.
      rule: one sentence on the form of the rule, for one that no equation writes out.
      unwritten: names of the terms by species that no equation writes out.
      states: all channels of one prediction on lattices of the first size, if there are any.
      damage: what became of it after a part had been erased, likewise.
      reading: what was read off the rule, likewise.
      videos: by name, those that `report.videos.make` makes of all this.
    """

    title: str
    command: str
    config: Mapping[str, Any]
    scores: Mapping[str, Any]
    lattices: Sequence[tuple[Trajectories, NDArray]]
    curves: Sequence[Mapping[str, float]] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    rule: str = ""
    unwritten: Mapping[str, Sequence[str]] = field(default_factory=dict)
    states: States | None = None
    damage: Damage | None = None
    reading: RuleReading | None = None
    videos: Mapping[str, Video] = field(default_factory=dict)

    @property
    def species(self) -> tuple[str, ...]:
        """Names of the channels that are data."""
        return self.lattices[0][0].species

    @property
    def hidden(self) -> int:
        """How many channels are hidden."""
        return 0 if self.states is None else self.states.values.shape[-1] - len(self.species)

    def unit(self, what: str) -> str:
        """The name of the unit of "length" or "time"; empty where nothing is known of it."""
        return self.scores.get("units", {}).get(what, "")

    @functools.cached_property
    def shown(self) -> list[Shown]:
        """The trajectory that pictures show, for one size of lattices after the other."""
        floor = [self.scores["floor"][name] for name in self.species]
        several = len(self.lattices) > 1
        result = []
        for truth, prediction in self.lattices:
            which = scoring.typical(prediction, truth, floor)
            actual, predicted = truth.values[which], np.asarray(prediction[which])
            mask = None if truth.mask is None else truth.mask[which : which + 1]
            known = None if truth.known is None else truth.known[which : which + 1]
            errors = scoring.nrmse(predicted[None], actual[None], floor, mask, known)[0]
            size = f" on {' x '.join(map(str, truth.grid.shape))} cells" if several else ""
            result.append(Shown(truth, which, actual, predicted, errors, size))
        return result
