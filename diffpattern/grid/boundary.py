"""What lies beyond the walls of a lattice, as frozen descriptions.

docs/boundaries.md has the formulas; `padding` is where they become cells.
"""

import dataclasses
import itertools
import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from diffpattern.errors import InputError

BOUNDARY_KINDS = ("circular", "zero", "value", "symmetric", "replicate", "flux")
GIVEN_KINDS = ("value", "flux")

# A number; one for each species; or, over time, a row of either for each moment.
Given = float | tuple[float, ...] | tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Boundary:
    """What the cells beyond a wall hold.

    Attributes:
      kind: `circular`, the cells of the opposite side (a torus); `zero`, nothing; `value`, a given
        value; `symmetric`, the half-sample mirror of the lattice, so that no flux passes the wall;
        `replicate`, the outermost cell again (an open end); `flux`, the mirror raised so that the
        gradient across the wall is a given one, which at 0 is `symmetric`.
      value: what `value` cells hold, in the state's units, or the derivative along the outward
        normal at a `flux` wall, in the state's units per length: a number, or one for each species.
        With `times` one such entry for each of them. 0 for every other kind.
      times: increasing; between them the value goes on linearly, before and after them it stays as
        at the first and the last. Empty where the value does not change.

    Raises:
      InputError: for an unknown kind, a value that is not finite or has no use, and times that do
        not increase or do not fit the values.

    Example:
      >>> Boundary("value", 0.5)
      Boundary(kind='value', value=0.5, times=())
      >>> Boundary("flux", (0.0, -0.1)).value  # one for each of two species
      (0.0, -0.1)
      >>> Boundary("circular", 0.5)
      Traceback (most recent call last):
          ...
      diffpattern.errors.InputError: boundary value is 0.5 on a boundary of kind ...
    """

    kind: str = "circular"
    value: Given | Array = 0.0
    times: tuple[float, ...] = ()

    def __post_init__(self):
        if self.kind not in BOUNDARY_KINDS:
            raise InputError(
                f"boundary kind is {self.kind!r}, but must be one of {', '.join(BOUNDARY_KINDS)}."
            )
        object.__setattr__(self, "value", _finite("value", self.value))
        object.__setattr__(self, "times", _finite("times", self.times))
        if self.kind not in GIVEN_KINDS and (self.value != 0 or self.times != ()):
            raise InputError(
                f"boundary value is {self.value!r} on a boundary of kind {self.kind!r}, "
                f"but only the kinds {' and '.join(GIVEN_KINDS)} have one."
            )
        if _entries(self.times) is None or any(a >= b for a, b in itertools.pairwise(self.times)):
            raise InputError(f"boundary times are {self.times!r}, but must be numbers that grow.")
        rows = self.value if self.times else (self.value,)
        if not isinstance(rows, tuple) or len(rows) != max(1, len(self.times)):
            raise InputError(
                f"boundary value is {self.value!r}, but must have an entry for each of the "
                f"{len(self.times)} times."
            )
        sizes = {0 if isinstance(row, float) else _entries(row) for row in rows}
        if len(sizes) > 1 or None in sizes:
            raise InputError(
                f"boundary value is {self.value!r}, but must be a number or one for each species, "
                "with one such entry for each of the times if there are any."
            )

    @property
    def species(self) -> int | None:
        """For how many species the value is given; None: it is one for all.

        Example:
          >>> Boundary("flux", (0.5, 0.2)).species, Boundary("flux", 0.5).species
          (2, None)
        """
        table: Any = self.value
        return _entries(table[0] if self.times else table)

    def at(self, time: Array | float) -> "Boundary":
        """The same wall at one moment, its value one that does not change.

        Example:
          >>> wall = Boundary("value", (0.0, 1.0), times=(0.0, 10.0))
          >>> float(wall.at(2.5).value)
          0.25
        """
        if not self.times:
            return self
        times, table = jnp.asarray(self.times), jnp.asarray(self.value)
        interpolate = jnp.interp if table.ndim == 1 else jax.vmap(jnp.interp, (None, None, 1))
        return BoundaryNow(self.kind, interpolate(time, times, table))

    def for_coefficients(self) -> "Boundary":
        """The wall as a coefficient sees it: see `Grid.for_coefficients`.

        Example:
          >>> Boundary("value", 0.5).for_coefficients().kind
          'replicate'
        """
        if self.kind == "flux":
            return Boundary("symmetric")
        return Boundary("replicate") if self.kind in ("zero", "value") else self

    def for_channels(self, places: Sequence[int]) -> "Boundary":
        """The wall as some of the channels see it: see `Grid.for_channels`.

        Example:
          >>> Boundary("flux", (0.5, 0.2)).for_channels((1, 2)).value  # the third is hidden
          (0.2, 0.0)
        """
        if self.species is None:
            return self
        pick = lambda row: tuple(row[place] if place < len(row) else 0.0 for place in places)
        table: Any = self.value
        picked = tuple(map(pick, table)) if self.times else pick(table)
        return dataclasses.replace(self, value=picked)

    def for_changes(self) -> "Boundary":
        """The wall as a small change of the state sees it: see `Grid.for_changes`.

        Example:
          >>> Boundary("value", 0.5).for_changes().kind
          'zero'
        """
        homogeneous = {"value": "zero", "flux": "symmetric"}
        return Boundary(homogeneous[self.kind]) if self.kind in homogeneous else self

    def to_dict(self) -> dict[str, Any]:
        """The fields, `times` only where there are any.

        Example:
          >>> Boundary("value", 0.5).to_dict()
          {'kind': 'value', 'value': 0.5}
        """
        fields = dataclasses.asdict(self)
        return fields if self.times else {"kind": self.kind, "value": self.value}


class BoundaryNow(Boundary):
    """A boundary of one moment; its value is an array, [] or [species], and may be traced.

    Example:
      >>> now = Boundary("flux", (0.0, 1.0), times=(0.0, 10.0)).at(5.0)
      >>> type(now).__name__, now.kind, float(now.value)
      ('BoundaryNow', 'flux', 0.5)
    """

    __hash__ = None  # type: ignore[assignment]  # that of object

    def __post_init__(self):
        """Nothing can be asked of traced numbers."""

    def for_channels(self, places: Sequence[int]) -> "Boundary":
        """See `Boundary`."""
        value = jnp.asarray(self.value)
        if value.ndim == 0:
            return self
        picked = jnp.take(value, jnp.asarray(places), mode="fill", fill_value=0.0)
        return BoundaryNow(self.kind, picked)


@dataclass(frozen=True)
class Walls:
    """The two walls of one axis.

    Attributes:
      lower: what lies before the first cell.
      upper: what lies after the last.

    Raises:
      InputError: where one of them is `circular` and the other is not.

    Example:
      >>> walls = Walls(Boundary("zero"), Boundary("symmetric"))
      >>> walls.kind is None, walls.change
      (True, False)
    """

    lower: Boundary
    upper: Boundary

    def __post_init__(self):
        if (self.lower.kind == "circular") != (self.upper.kind == "circular"):
            raise InputError(
                f"grid boundary is {self.lower.kind!r} at the lower wall and {self.upper.kind!r} "
                "at the upper, but 'circular' must be at both or none."
            )

    def __str__(self) -> str:
        return self.kind or f"{self.lower.kind} and {self.upper.kind}"

    @property
    def kind(self) -> str | None:
        """The kind of both; None where they are of two kinds."""
        return self.lower.kind if self.lower.kind == self.upper.kind else None

    @property
    def change(self) -> bool:
        """Whether a value of theirs changes in time."""
        return bool(self.lower.times or self.upper.times)

    def at(self, time: Array | float) -> "Walls":
        """Both at one moment.

        Example:
          >>> growing = Boundary("value", (0.0, 1.0), times=(0.0, 10.0))
          >>> float(Walls(Boundary("zero"), growing).at(5.0).upper.value)
          0.5
        """
        return Walls(self.lower.at(time), self.upper.at(time))

    def for_coefficients(self) -> "Walls":
        """Both as a coefficient sees them.

        Example:
          >>> Walls(Boundary("zero"), Boundary("symmetric")).for_coefficients().lower.kind
          'replicate'
        """
        return Walls(self.lower.for_coefficients(), self.upper.for_coefficients())

    def for_channels(self, places: Sequence[int]) -> "Walls":
        """Both as some of the channels see them.

        Example:
          >>> pair = Walls(Boundary("value", (0.5, 0.2)), Boundary("symmetric"))
          >>> pair.for_channels((0, 1, 2)).lower.value
          (0.5, 0.2, 0.0)
        """
        return Walls(self.lower.for_channels(places), self.upper.for_channels(places))

    def for_changes(self) -> "Walls":
        """Both as a small change of the state sees them.

        Example:
          >>> Walls(Boundary("value", 1.0), Boundary("symmetric")).for_changes().lower.kind
          'zero'
        """
        return Walls(self.lower.for_changes(), self.upper.for_changes())

    def to_dict(self) -> dict[str, Any] | list[dict[str, Any]]:
        """One description where they are alike, otherwise the lower and the upper.

        Example:
          >>> as_walls("zero").to_dict()
          {'kind': 'zero', 'value': 0.0}
        """
        lower, upper = self.lower.to_dict(), self.upper.to_dict()
        return lower if self.lower == self.upper else [lower, upper]


# What a person gives for one wall, and for the two of an axis.
BoundaryLike = Boundary | str | Mapping[str, Any]
WallsLike = Walls | BoundaryLike | Sequence[BoundaryLike]


def as_walls(given: WallsLike) -> Walls:
    """Walls from what a person gives for an axis: one description of both, or a pair.

    A description is a `Boundary`, the name of its kind, or its fields as a mapping.

    Raises:
      InputError: for anything else.

    Example:
      >>> as_walls("symmetric").kind
      'symmetric'
      >>> as_walls(["zero", {"kind": "value", "value": 1.0}]).upper
      Boundary(kind='value', value=1.0, times=())
      >>> as_walls("open")
      Traceback (most recent call last):
          ...
      diffpattern.errors.InputError: boundary kind is 'open', but must be one of ...
    """
    if isinstance(given, Walls):
        return given
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given) == 2:
        return Walls(*map(_as_boundary, given))
    both = _as_boundary(given)
    return Walls(both, both)


def _as_boundary(given) -> Boundary:
    if isinstance(given, Boundary):
        return given
    if isinstance(given, str):
        return Boundary(given)
    if isinstance(given, Mapping) and {"kind"} <= given.keys() <= {"kind", "value", "times"}:
        return Boundary(**given)
    raise InputError(
        f"grid boundary is {given!r}, but must be a Boundary, the name of its kind "
        f"({', '.join(BOUNDARY_KINDS)}), its fields, or a pair of these for the two walls."
    )


def _entries(given) -> int | None:
    """The length of a tuple of numbers; None for anything else."""
    flat = isinstance(given, tuple) and all(isinstance(entry, float) for entry in given)
    return len(given) if flat else None


def _finite(field: str, given) -> Any:
    """`given` with every number a float and every sequence a tuple."""
    if isinstance(given, Sequence) and not isinstance(given, str) and (given or field == "times"):
        return tuple(_finite(field, entry) for entry in given)
    if not isinstance(given, numbers.Real) or isinstance(given, bool) or not math.isfinite(given):
        raise InputError(f"boundary {field} is {given!r}, but must be a finite number.")
    return float(given)
