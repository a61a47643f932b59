"""Frozen descriptions of a lattice: its shape, its spacing and what lies beyond its walls.

They are static: hashable, so that a jitted function may close over one or take one as a static
argument, and validated once, when they are made. What the description means for the numbers of a
lattice is the business of `padding`.
"""

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, replace

from diffpattern.errors import InputError

BOUNDARY_KINDS = ("circular", "zero", "value", "symmetric", "replicate")
MOST_AXES = 3


@dataclass(frozen=True)
class Boundary:
    """What the cells beyond both walls of one axis hold.

    Attributes:
      kind: `circular`, the cells of the opposite side (a torus); `zero`, nothing; `value`, a fixed
        value; `symmetric`, the half-sample mirror of the lattice, so that no flux passes the wall;
        `replicate`, the outermost cell again (an open end).
      value: what `value` cells hold, in the state's units; 0 for every other kind.

    Raises:
      InputError: for an unknown kind, or a value that is not finite or has no use.
    """

    kind: str = "circular"
    value: float = 0.0

    def __post_init__(self):
        if self.kind not in BOUNDARY_KINDS:
            raise InputError(
                f"boundary kind is {self.kind!r}, but must be one of {', '.join(BOUNDARY_KINDS)}."
            )
        if not _is_real(self.value) or not math.isfinite(self.value):
            raise InputError(f"boundary value is {self.value!r}, but must be a finite number.")
        if self.kind != "value" and self.value != 0:
            raise InputError(
                f"boundary value is {self.value!r} on a boundary of kind {self.kind!r}, "
                "but only kind 'value' has one."
            )
        object.__setattr__(self, "value", float(self.value))


@dataclass(frozen=True)
class Grid:
    """A regular lattice of 1, 2 or 3 axes; two axes are rows (y) and columns (x), in this order.

    Attributes:
      shape: cells along each axis; a single number for one axis.
      spacing: distance between neighbouring cells, in the data's unit of length; one number for
        all axes or one for each. Kept as a tuple.
      boundary: a `Boundary` or the name of its kind, once for all axes or one for each. Kept as a
        tuple of `Boundary`.

    Raises:
      InputError: naming the field that cannot describe a lattice.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...] | float = 1.0
    boundary: tuple[Boundary, ...] | Boundary | str = "circular"

    def __post_init__(self):
        shape = (self.shape,) if isinstance(self.shape, numbers.Integral) else self.shape
        if not isinstance(shape, Sequence) or not all(_is_positive_count(n) for n in shape):
            raise InputError(f"grid shape is {self.shape!r}, but must be positive whole numbers.")
        if not 1 <= len(shape) <= MOST_AXES:
            raise InputError(f"grid shape is {self.shape!r}, but must have 1, 2 or 3 axes.")
        spacing = _one_per_axis("spacing", self.spacing, len(shape))
        if not all(_is_real(h) and math.isfinite(h) and h > 0 for h in spacing):
            raise InputError(f"grid spacing is {self.spacing!r}, but must be finite and positive.")
        boundary = _one_per_axis("boundary", self.boundary, len(shape))
        object.__setattr__(self, "shape", tuple(int(n) for n in shape))
        object.__setattr__(self, "spacing", tuple(float(h) for h in spacing))
        object.__setattr__(self, "boundary", tuple(_as_boundary(b) for b in boundary))

    @property
    def ndim(self) -> int:
        """The number of spatial axes."""
        return len(self.shape)

    def for_coefficients(self) -> "Grid":
        """The same lattice as a coefficient (diffusivity, velocity) sees it.

        A wall at which the state is held at zero or at a value says nothing about a coefficient,
        which therefore goes on beyond it as it was in the outermost cell.
        """
        open_end = Boundary("replicate")
        return replace(
            self,
            boundary=tuple(open_end if b.kind in ("zero", "value") else b for b in self.boundary),
        )


def _is_real(number) -> bool:
    return isinstance(number, numbers.Real) and not isinstance(number, bool)


def _is_positive_count(number) -> bool:
    return isinstance(number, numbers.Integral) and not isinstance(number, bool) and number > 0


def _one_per_axis(field: str, given, ndim: int) -> tuple:
    """`given` as a tuple with one entry for each axis."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        return (given,) * ndim
    if len(given) != ndim:
        raise InputError(
            f"grid {field} is {given!r}, but must be one for all axes or {ndim}, one for each."
        )
    return tuple(given)


def _as_boundary(given) -> Boundary:
    if isinstance(given, Boundary):
        return given
    if isinstance(given, str):
        return Boundary(given)
    raise InputError(
        f"grid boundary is {given!r}, but must be a Boundary or the name of its kind "
        f"({', '.join(BOUNDARY_KINDS)})."
    )
