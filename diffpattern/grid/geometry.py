"""Frozen descriptions of a lattice: its shape, its spacing and what lies beyond its walls.

They are static: hashable, so that a jitted function may close over one or take one as a static
argument, and validated once, when they are made. What the description means for the numbers of a
lattice is the business of `padding`. What belongs to a moment or to a trajectory, and so may be
traced, is attached by `Grid.under`.
"""

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from jax import Array

from diffpattern.errors import InputError
from diffpattern.grid.boundary import BOUNDARY_KINDS, Boundary, Walls, WallsLike, as_walls
from diffpattern.grid.forcing import Forcing

__all__ = ["BOUNDARY_KINDS", "Boundary", "Cut", "Grid", "GridNow", "Walls"]

MOST_AXES = 3


class Cut(NamedTuple):
    """How one axis of a lattice is cut: into how many blocks, across which axis of the mesh.

    Example:
      >>> Grid((8, 6)).block({"rows": 2, "columns": 1}).cuts
      (Cut(mesh_axis='rows', blocks=2), None)
    """

    mesh_axis: str
    blocks: int


@dataclass(frozen=True)
class Grid:
    """A regular lattice of 1, 2 or 3 axes; two axes are rows (y) and columns (x), in this order.

    Attributes:
      shape: cells along each axis, of a block those of the block; a single number for one axis.
      spacing: distance between neighbouring cells, in the data's unit of length; one number for
        all axes or one for each. Kept as a tuple.
      boundary: what lies beyond the walls, once for all axes or one for each: a `Boundary`, the
        name of its kind, its fields as a mapping, or a pair of these for the lower and the upper
        wall. Kept as a tuple of `Walls`.
      cuts: of a block, which lies on one device of a mesh, how each axis of its lattice is cut;
        None for an axis that is not. See `block`.
      margins: of a block, how many of the cells along each axis, at either end, are copies of its
        neighbours' that it is to do without asking for; see `widened`.

    Raises:
      InputError: naming the field that cannot describe a lattice.

    Example:
      >>> grid = Grid((64, 32), spacing=0.5, boundary=("circular", "symmetric"))
      >>> grid.shape, grid.spacing, [walls.kind for walls in grid.boundary]
      ((64, 32), (0.5, 0.5), ['circular', 'symmetric'])
      >>> Grid((64, 32), spacing=-1)
      Traceback (most recent call last):
          ...
      diffpattern.errors.InputError: grid spacing is -1, but must be finite and positive.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    boundary: tuple[Walls, ...]
    cuts: tuple[Cut | None, ...]
    margins: tuple[int, ...]

    def __init__(
        self,
        shape: Sequence[int] | int,
        spacing: Sequence[float] | float = 1.0,
        boundary: WallsLike | Sequence[WallsLike] = "circular",
        cuts: Sequence[Cut | None] = (),
        margins: Sequence[int] = (),
    ):
        cells = (shape,) if isinstance(shape, numbers.Integral) else shape
        if not isinstance(cells, Sequence) or not all(_is_positive_count(n) for n in cells):
            raise InputError(f"grid shape is {shape!r}, but must be positive whole numbers.")
        if not 1 <= len(cells) <= MOST_AXES:
            raise InputError(f"grid shape is {shape!r}, but must have 1, 2 or 3 axes.")
        distances = _one_per_axis("spacing", spacing, len(cells))
        if not all(_is_real(h) and math.isfinite(h) and h > 0 for h in distances):
            raise InputError(f"grid spacing is {spacing!r}, but must be finite and positive.")
        walls = _one_per_axis("boundary", boundary, len(cells))
        object.__setattr__(self, "shape", tuple(int(n) for n in cells))
        object.__setattr__(self, "spacing", tuple(float(h) for h in distances))
        object.__setattr__(self, "boundary", tuple(map(as_walls, walls)))
        object.__setattr__(self, "cuts", tuple(cuts) or (None,) * len(cells))
        object.__setattr__(self, "margins", tuple(margins) or (0,) * len(cells))

    @property
    def mask(self) -> Array | None:
        """None; see `GridNow`.

        Example:
          >>> Grid(4).mask is None
          True
        """
        return None

    @property
    def ndim(self) -> int:
        """The number of spatial axes.

        Example:
          >>> Grid((64, 32)).ndim
          2
        """
        return len(self.shape)

    @property
    def is_cut(self) -> bool:
        """Whether this is a block of a lattice.

        Example:
          >>> Grid((8, 6)).is_cut, Grid((8, 6)).block({"rows": 2}).is_cut
          (False, True)
        """
        return any(self.cuts)

    @property
    def whole(self) -> "Grid":
        """The lattice that this is a block of; of a lattice that is not cut, itself.

        Example:
          >>> block = Grid((8, 6)).block({"rows": 2})
          >>> block.shape, block.whole.shape
          ((4, 6), (8, 6))
        """
        shape = tuple(
            (cells - 2 * margin) * (cut.blocks if cut else 1)
            for cells, cut, margin in zip(self.shape, self.cuts, self.margins, strict=True)
        )
        return replace(self, shape=shape, cuts=(), margins=())

    def block(self, blocks: Mapping[str, int]) -> "Grid":
        """What one device has of the lattice, all blocks being alike.

        Args:
          blocks: into how many the first axis is cut, the second and so on, by the mesh axis.

        Raises:
          InputError: an axis cannot be cut so, or there is none.

        Example:
          >>> Grid((8, 6)).block({"rows": 2, "columns": 3}).shape
          (4, 2)
          >>> Grid((8, 6)).block({"rows": 3})
          Traceback (most recent call last):
              ...
          diffpattern.errors.InputError: mesh.rows is 3, which does not divide an axis of ...
        """
        cuts = [Cut(name, count) if count > 1 else None for name, count in blocks.items()]
        for further in filter(None, cuts[self.ndim :]):
            raise InputError(
                f"mesh.{further.mesh_axis} is {further.blocks}, but the lattice has only "
                f"{self.ndim} {'axis' if self.ndim == 1 else 'axes'} to cut."
            )
        cuts = (cuts + [None] * self.ndim)[: self.ndim]
        for cells, cut in zip(self.shape, cuts, strict=True):
            if cut and cells % cut.blocks:
                raise InputError(
                    f"mesh.{cut.mesh_axis} is {cut.blocks}, which does not divide an axis of "
                    f"{cells} cells into equal blocks."
                )
        shape = tuple(
            cells // (cut.blocks if cut else 1) for cells, cut in zip(self.shape, cuts, strict=True)
        )
        return replace(self, shape=shape, cuts=tuple(cuts))

    def of_cells(self, cells: Sequence[slice]) -> "Grid":
        """A lattice of the size of some cells of this one, a slice along each axis.

        Example:
          >>> Grid((8, 6), spacing=0.5).of_cells((slice(0, 4), slice(None))).shape
          (4, 6)
        """
        stretches = zip(self.shape, cells, strict=True)
        return replace(self, shape=tuple(len(range(count)[part]) for count, part in stretches))

    def widened(self, width: int) -> "Grid":
        """A block with so many cells of its neighbours around it, along the axes that are cut.

        What lies beyond a border that is asked of it is known beyond the lattice's walls alone. So
        each operation spoils as many cells of the margin as it reaches, and when the margin is used
        up it has to be asked for again.

        Example:
          >>> Grid((8, 6)).block({"rows": 2}).widened(3).shape
          (10, 6)
        """
        margins = tuple(width if cut else 0 for cut in self.cuts)
        shape = tuple(cells + 2 * m for cells, m in zip(self.shape, margins, strict=True))
        return replace(self, shape=shape, margins=margins)

    def for_changes(self) -> "Grid":
        """The same lattice as a small change of the state sees it.

        A wall that gives the state a value or a flux gives its changes none: stencils on this grid
        are the linear parts of those on the other.

        Example:
          >>> held = Grid(8, boundary={"kind": "value", "value": 2.0})
          >>> held.for_changes().boundary[0].kind
          'zero'
        """
        return replace(self, boundary=tuple(walls.for_changes() for walls in self.boundary))

    def between_mirrors(self) -> "Grid":
        """The same lattice with mirrors for all walls.

        Example:
          >>> Grid((8, 6), boundary=("zero", "circular")).between_mirrors().boundary[0].kind
          'symmetric'
        """
        mirrors = [
            walls if walls.kind == "circular" else as_walls("symmetric") for walls in self.boundary
        ]
        return replace(self, boundary=tuple(mirrors))

    def for_coefficients(self) -> "Grid":
        """The same lattice as a coefficient (diffusivity, velocity, mask) sees it.

        A wall at which the state is held at zero or at a value says nothing about a coefficient,
        which therefore goes on beyond it as it was in the outermost cell. A wall with a given flux
        of the state is a mirror to a coefficient, which no velocity passes.

        Example:
          >>> Grid(8, boundary="zero").for_coefficients().boundary[0].kind
          'replicate'
        """
        return replace(self, boundary=tuple(walls.for_coefficients() for walls in self.boundary))

    def for_channels(self, places: Sequence[int]) -> "Grid":
        """The same lattice as some of the state's channels see it.

        Walls that are given for each species have the values of these channels, and 0 for hidden
        ones, whose places are behind those of the species. One value for all is that of hidden
        channels too.

        Args:
          places: of the channels, counted from 0.

        Example:
          >>> held = Grid(8, boundary={"kind": "value", "value": (1.0, 0.5)})
          >>> held.for_channels((1, 2, 3)).boundary[0].lower.value
          (0.5, 0.0, 0.0)
        """
        return replace(self, boundary=tuple(walls.for_channels(places) for walls in self.boundary))

    def under(self, forcing: Forcing) -> "Grid":
        """The same lattice at the forcing's moment and inside its mask.

        Every operator on the result takes the walls' values at `forcing.time`, and lets no flux
        pass the edge of `forcing.mask`. Where nothing changes and nothing is masked it is this
        very grid; otherwise a `GridNow`, which lives within one evaluation of a right-hand side.

        Raises:
          InputError: if the mask is not of the grid's shape.

        Example:
          >>> inside = np.array([0.0, 1.0, 1.0, 0.0])
          >>> grid = Grid(4)
          >>> grid.under(Forcing(mask=inside)).mask.tolist(), grid.under(Forcing()) is grid
          ([0.0, 1.0, 1.0, 0.0], True)
        """
        mask = self.mask if forcing.mask is None else forcing.mask
        if mask is self.mask and not any(walls.change for walls in self.boundary):
            return self
        if mask is not None and tuple(mask.shape) != self.shape:
            raise InputError(
                f"mask has shape {tuple(mask.shape)}, but must have the grid's {self.shape}."
            )
        boundary = tuple(walls.at(forcing.time) for walls in self.boundary)
        return GridNow(self.shape, self.spacing, boundary, self.cuts, self.margins, mask)

    def to_dict(self) -> dict[str, Any]:
        """Numbers, names and lists, as JSON takes them; `from_dict` gives an equal grid back.

        Example:
          >>> Grid(4, boundary="symmetric").to_dict()
          {'shape': [4], 'spacing': [1.0], 'boundary': [{'kind': 'symmetric', 'value': 0.0}]}
        """
        return {
            "shape": list(self.shape),
            "spacing": list(self.spacing),
            "boundary": [walls.to_dict() for walls in self.boundary],
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Grid":
        """Reads what `to_dict` gave, also after its way through JSON.

        Raises:
          InputError: for anything else.

        Example:
          >>> grid = Grid((8, 6), spacing=0.5)
          >>> Grid.from_dict(grid.to_dict()) == grid
          True
        """
        names = {"shape", "spacing", "boundary"}
        if not isinstance(fields, Mapping) or set(fields) != names:
            raise InputError(f"grid is {fields!r}, but must have {', '.join(sorted(names))}.")
        return cls(**fields)


@dataclass(frozen=True, eq=False)
class GridNow(Grid):
    """A lattice at a moment, made by `Grid.under`.

    Its walls' values and its mask may be traced numbers: it has no hash, so that nobody takes it
    for a static argument or the key of a cache.

    Attributes:
      mask: 1 inside and 0 outside, [*shape], or anything between (docs/boundaries.md has what that
        means); None: inside is everywhere.

    Example:
      >>> now = Grid(4).under(Forcing(mask=np.array([0.0, 1.0, 1.0, 0.0])))
      >>> type(now).__name__, now.shape
      ('GridNow', (4,))
    """

    mask: Array | None = None

    def __init__(
        self,
        shape: tuple[int, ...],
        spacing: tuple[float, ...],
        boundary: tuple[Walls, ...],
        cuts: tuple[Cut | None, ...] = (),
        margins: tuple[int, ...] = (),
        mask: Array | None = None,
    ):
        super().__init__(shape, spacing, boundary, cuts, margins)
        object.__setattr__(self, "mask", mask)

    __eq__ = object.__eq__
    __hash__ = None  # type: ignore[assignment]  # that of object


def _is_real(number) -> bool:
    return isinstance(number, numbers.Real) and not isinstance(number, bool)


def _is_positive_count(number) -> bool:
    return isinstance(number, numbers.Integral) and not isinstance(number, bool) and int(number) > 0


def _one_per_axis(field: str, given, ndim: int) -> tuple:
    """`given` as a tuple with one entry for each axis."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        return (given,) * ndim
    if len(given) != ndim:
        raise InputError(
            f"grid {field} is {given!r}, but must be one for all axes or {ndim}, one for each."
        )
    return tuple(given)
