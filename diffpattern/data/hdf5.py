"""HDF5 files of trajectories: what is in them, and parts of it, read when they are asked for.

Two layouts are known. The Well's (its docs/data_format.md) has many trajectories in a file:

    dimensions/             attribute spatial_dims, such as (x, y)
      time [T], x [X], y [Y]
    boundary_conditions/*   attributes associated_dims and bc_type: PERIODIC, WALL or OPEN
    scalars/*               parameters of the simulation
    t0_fields/              attribute field_names
      NAME [N, T, X, Y]     one for each species

PDEBench's (its data_gen/gen_diff_react.py) has a group for each:

    0000/data [T, Y, X, C]  rows first: the simulator's last reshape says so, not its docstring
    0000/grid/              t [T], x [X], y [Y]

Either way a lattice comes out with its rows (y) first and its channels last. Sources: Ohana et al.
(2024), arXiv:2412.00568; Takamoto et al. (2022), arXiv:2210.07182.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import h5py
import numpy as np

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.models import monomials
from diffpattern.precision import real

_SINGLE = float(np.finfo(np.float32).eps)

# Which part of a file a trajectory is: its number, or the name of its group.
Item = int | str
# A stretch of each axis of space, rows first; without any, all cells.
Cells = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class Content:
    """What one file holds.

    Attributes:
      items: which part of it each of the N trajectories is.
      times: [T] float64, equally far apart.
      species: names of the C channels.
      grid: the lattice.
      inputs: numbers that all cells of a trajectory are told alike, [N, I]; None: none.
    """

    items: tuple[Item, ...]
    times: np.ndarray
    species: tuple[str, ...]
    grid: Grid
    inputs: np.ndarray | None = None


class Layout(Protocol):
    """How trajectories lie in a file."""

    def content(self, file: h5py.File) -> Content:
        """What the file holds.

        Raises:
          InputError: it lacks something, or has it in a shape that does not fit the rest.
        """

    def read(self, file: h5py.File, item: Item, snapshots: slice, cells: Cells = ()) -> np.ndarray:
        """Some snapshots of some cells of a trajectory, [S, *space, C]."""


@dataclass(frozen=True)
class TheWell:
    """The layout of The Well.

    Attributes:
      fields: which scalar fields are the species; empty: all.
      inputs: which scalars a rule is told.
      boundary: as `Grid` takes it, for rows before columns; empty: what the file says, where WALL
        is taken for "symmetric" (no flux) and OPEN for "replicate".
    """

    fields: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    boundary: tuple = ()

    _KINDS: ClassVar = {"PERIODIC": "circular", "WALL": "symmetric", "OPEN": "replicate"}

    def content(self, file: h5py.File) -> Content:
        """See `Layout`."""
        axes = _names(_attribute(file, "dimensions", "spatial_dims"))
        times = _regular(file, "dimensions/time")
        coordinates = [_regular(file, f"dimensions/{axis}") for axis in axes]
        species = self.fields or self._all_fields(file)
        first = _dataset(file, f"t0_fields/{species[0]}")
        count = first.shape[0] if first.ndim else 0
        shape = (count, len(times), *map(len, coordinates))
        for name in species:
            _require_shape(file, f"t0_fields/{name}", shape)
        boundary = _for_all(self.boundary, len(axes)) or tuple(
            self._kind(file, axis) for axis in reversed(axes)
        )
        inputs = None
        if self.inputs:
            inputs = np.stack([self._scalar(file, name, count) for name in self.inputs], axis=-1)
        grid, names = _grid(file, coordinates[::-1], boundary), map(monomials.name_of, species)
        return Content(tuple(range(count)), times, tuple(names), grid, inputs)

    def read(self, file: h5py.File, item: Item, snapshots: slice, cells: Cells = ()) -> np.ndarray:
        """See `Layout`."""
        species = self.fields or self._all_fields(file)
        place = (item, snapshots, *reversed(cells))
        values = np.stack([file[f"t0_fields/{name}"][place] for name in species], axis=-1)
        return values.transpose(0, *reversed(range(1, values.ndim - 1)), values.ndim - 1)

    def _all_fields(self, file: h5py.File) -> tuple[str, ...]:
        for group in ("t1_fields", "t2_fields"):
            if others := list(file.get(group, ())):
                raise InputError(
                    f"{file.filename} has fields of vectors or tensors ({', '.join(others)}), "
                    "which are not read; name the scalar fields to take in data.the_well.fields."
                )
        return _names(_attribute(file, "t0_fields", "field_names"))

    def _kind(self, file: h5py.File, axis: str) -> str:
        """What lies beyond the walls of an axis; open, if the file does not say."""
        conditions = _group(file, "boundary_conditions")
        kinds = {
            str(_attribute(conditions, name, "bc_type")).upper()
            for name in conditions
            if axis in _names(_attribute(conditions, name, "associated_dims"))
        } or {"OPEN"}
        if len(kinds) > 1 or not kinds <= set(self._KINDS):
            raise InputError(
                f"{file.filename} has {' and '.join(sorted(kinds))} as boundary of its axis "
                f"{axis}, where one of {', '.join(self._KINDS)} is understood; "
                "data.the_well.boundary can say what it is to be."
            )
        return self._KINDS[kinds.pop()]

    def _scalar(self, file: h5py.File, name: str, count: int) -> np.ndarray:
        """A scalar of each trajectory, [N]."""
        values = np.ravel(_dataset(file, f"scalars/{name}")[()]).astype(real())
        if len(values) not in (1, count) or not np.isfinite(values).all():
            raise InputError(
                f"{file.filename} has the scalar {name} with {len(values)} values; an input is one "
                f"finite number for all trajectories, or one for each of the {count}."
            )
        return np.broadcast_to(values, count)


@dataclass(frozen=True)
class PDEBench:
    """The layout of those sets of PDEBench that have a group for each trajectory.

    Attributes:
      species: names of the channels, which the files leave without.
      boundary: as `Grid` takes it, for rows before columns; the files do not say it.
    """

    species: tuple[str, ...] = ("u", "v")
    boundary: tuple = ("symmetric",)

    def content(self, file: h5py.File) -> Content:
        """See `Layout`."""
        items = tuple(sorted(file))
        if not items:
            raise InputError(f"{file.filename} is empty, where groups 0000, 0001, ... should be.")
        grid = _group(file, f"{items[0]}/grid")
        axes = [axis for axis in "zyx" if axis in grid]
        if not axes:
            raise InputError(f"{grid.file.filename} has no coordinates in {items[0]}/grid.")
        of_item = lambda item: [_regular(file, f"{item}/grid/{name}") for name in ("t", *axes)]
        first = of_item(items[0])
        for item in items:
            _require_shape(file, f"{item}/data", (*map(len, first), len(self.species)))
            if not all(map(np.array_equal, of_item(item), first)):
                raise InputError(
                    f"{file.filename} has other times or coordinates in {item} than in {items[0]}; "
                    "all trajectories must have the same."
                )
        times, *coordinates = first
        boundary = _for_all(self.boundary, len(axes))
        return Content(items, times, tuple(self.species), _grid(file, coordinates, boundary))

    def read(self, file: h5py.File, item: Item, snapshots: slice, cells: Cells = ()) -> np.ndarray:
        """See `Layout`."""
        return file[f"{item}/data"][(snapshots, *cells)]


@contextlib.contextmanager
def opened(path: str) -> Iterator[h5py.File]:
    """An HDF5 file, open for reading.

    Raises:
      InputError: it cannot be opened, or what is done inside cannot be read.
    """
    try:
        with h5py.File(path, "r") as file:
            yield file
    except OSError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"{path} cannot be read as an HDF5 file ({reason}).") from error


def _group(file: h5py.Group, name: str) -> h5py.Group:
    return _entry(file, name, h5py.Group, "group")


def _dataset(file: h5py.Group, name: str) -> h5py.Dataset:
    return _entry(file, name, h5py.Dataset, "dataset")


def _entry(parent: h5py.Group, name: str, kind: type, word: str):
    entry = parent.get(name)
    if not isinstance(entry, kind):
        # The deepest group on the way there tells what is there instead.
        inside = parent
        for part in name.split("/")[:-1]:
            if not isinstance(inside.get(part), h5py.Group):
                break
            inside = inside[part]
        held = ", ".join(list(inside)[:8]) or "nothing"
        raise InputError(
            f"{parent.file.filename} has no {word} {parent.name.rstrip('/')}/{name}, as its layout "
            f"should ({inside.name} holds {held})."
        )
    return entry


def _attribute(file: h5py.Group, name: str, attribute: str):
    group = _group(file, name)
    if attribute not in group.attrs:
        raise InputError(
            f"{file.file.filename} has no attribute {attribute} on its group {group.name}, as its "
            "layout should."
        )
    return group.attrs[attribute]


def _names(attribute) -> tuple[str, ...]:
    """Names in an attribute, which is a text or an array of texts."""
    names = np.atleast_1d(np.asarray(attribute, dtype=object))
    return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)


def _require_shape(file: h5py.File, name: str, shape: tuple[int, ...]) -> None:
    found = _dataset(file, name).shape
    if found != shape or 0 in shape:
        raise InputError(
            f"{file.filename} has {name} in the shape {found}, but its times and coordinates ask "
            f"for {shape} with nothing empty."
        )


def _regular(file: h5py.File, name: str) -> np.ndarray:
    """Times or coordinates that lie equally far apart, but for the rounding to single precision."""
    numbers = np.asarray(_dataset(file, name)[()], np.float64)
    if numbers.ndim != 1 or len(numbers) < 2 or not np.isfinite(numbers).all():
        raise InputError(
            f"{file.filename} has {name} in the shape {numbers.shape}, but it must be a row of two "
            "or more finite numbers."
        )
    steps = np.diff(numbers)
    if (steps <= 0).any():
        at = int(np.argmax(steps <= 0))
        raise InputError(
            f"{file.filename} has {name} that goes from {numbers[at]:g} to {numbers[at + 1]:g} at "
            f"entry {at + 1}, but it must increase."
        )
    step = (numbers[-1] - numbers[0]) / len(steps)
    if np.abs(steps - step).max() > 1e-3 * step + 4 * _SINGLE * np.abs(numbers).max():
        raise InputError(
            f"{file.filename} has {name} in steps from {steps.min():g} to {steps.max():g}, but "
            "they must be equal."
        )
    return numbers[0] + step * np.arange(len(numbers))


def _for_all(boundary: tuple, axes: int) -> tuple:
    """One entry stands for all axes."""
    return boundary * axes if len(boundary) == 1 else boundary


def _grid(file: h5py.File, coordinates: Sequence[np.ndarray], boundary: tuple) -> Grid:
    shape = tuple(map(len, coordinates))
    try:
        # To the digits that single precision bears: axes of one spacing must have one number.
        steps = ((x[-1] - x[0]) / (len(x) - 1) for x in coordinates)
        return Grid(shape, tuple(float(f"{step:.6g}") for step in steps), boundary)
    except InputError as error:
        raise InputError(f"{file.filename} gives no lattice: {error}") from error
