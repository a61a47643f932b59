"""Trajectories that stay in HDF5 files, of which parts are read when they are asked for.

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
import dataclasses
import functools
import glob
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import h5py
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from diffpattern.data import environment, windows
from diffpattern.data.simulation import SPLITS
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Grid

_ENDINGS = (".h5", ".hdf5")
# What is read at once, where everything is gone through.
_PORTION_BYTES = 2**26
_SINGLE = float(np.finfo(np.float32).eps)

# Which part of a file a trajectory is: its number, or the name of its group.
Item = int | str


@dataclass(frozen=True, eq=False)
class Content:
    """What one file holds; the attributes are those of `StoredTrajectories`."""

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

    def read(self, file: h5py.File, item: Item, snapshots: slice) -> np.ndarray:
        """Some snapshots of a trajectory, [S, *space, C]."""


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
        return Content(
            tuple(range(count)), times, species, _grid(file, coordinates[::-1], boundary), inputs
        )

    def read(self, file: h5py.File, item: Item, snapshots: slice) -> np.ndarray:
        """See `Layout`."""
        species = self.fields or self._all_fields(file)
        values = np.stack([file[f"t0_fields/{name}"][item, snapshots] for name in species], axis=-1)
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
        values = np.ravel(_dataset(file, f"scalars/{name}")[()]).astype(np.float32)
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

    def read(self, file: h5py.File, item: Item, snapshots: slice) -> np.ndarray:
        """See `Layout`."""
        return file[f"{item}/data"][snapshots]


@dataclass(frozen=True, eq=False)
class StoredTrajectories:
    """Trajectories in files, all of one kind: what is known of them, and reading of parts.

    A file is open only while something is read from it.

    Attributes:
      layout: of the files.
      places: of each of the N trajectories, the file and which part of it.
      times: [T] float64, equally far apart.
      species: names of the C channels.
      grid: the lattice.
      inputs: numbers that all cells of a trajectory are told alike, [N, I]; None: none.
      environment: fields that a rule sees in every trajectory, [*space, E]; None: none.
      every: of the files' snapshots every how many-th counts; `times` are of those.
      sampled: from how many windows statistics are taken.
    """

    layout: Layout
    places: tuple[tuple[str, Item], ...]
    times: np.ndarray
    species: tuple[str, ...]
    grid: Grid
    inputs: np.ndarray | None = None
    environment: np.ndarray | None = None
    every: int = 1
    sampled: int = 64

    def __len__(self) -> int:
        return len(self.places)

    def snapshots(self, which: int, first: int, count: int) -> np.ndarray:
        """Successive snapshots of a trajectory, [count, *space, C] float32.

        Raises:
          InputError: the file cannot be read, or holds numbers there that are not finite.
        """
        path, item = self.places[which]
        last = first + count - 1
        part = slice(first * self.every, last * self.every + 1, self.every)
        with opened(path) as file:
            values = np.ascontiguousarray(self.layout.read(file, item, part), np.float32)
        finite = np.isfinite(values).reshape(count, -1).all(axis=1)
        if not finite.all():
            time = self.times[first + int(np.argmin(finite))]
            raise InputError(
                f"{path} has NaN or infinite values in trajectory {item} at t = {time:g}, but all "
                "must be finite."
            )
        return values

    def forcing(self, which: np.ndarray, first: np.ndarray) -> Forcing:
        """What acts on some trajectories from given snapshots on; every array with a first axis."""
        seen = self._environment(len(which))
        return Forcing(
            time=self.times[first].astype(np.float32),
            environment=None if seen is None else np.moveaxis(seen, -1, 1),
            inputs=None if self.inputs is None else self.inputs[which],
        )

    def read(self, snapshots: int = 0) -> Trajectories:
        """All trajectories in memory, with so many of the first snapshots (0: all)."""
        count = min(snapshots or len(self.times), len(self.times))
        values = [self.snapshots(which, 0, count) for which in range(len(self))]
        return self._in_memory(values, self.times[:count], np.arange(len(self)))

    @functools.cached_property
    def sample(self) -> Trajectories:
        """Pairs of successive snapshots, stratified over time and trajectories, always the same."""
        which, first = windows.places(
            len(self),
            len(self.times),
            step=0,
            seed=0,
            count=self.sampled,
            window=1,
            sampling="uniform",
        )
        values = [self.snapshots(*place, 2) for place in zip(which, first, strict=True)]
        return self._in_memory(values, self.times[:2], which)

    def digest(self) -> str:
        """SHA-256 of how many trajectories there are, of their times and of the sample's numbers.

        Not of every number: what is too large for memory is also too large to be read each time.
        """
        described = [len(self), self.times.tolist(), self.sample.digest()]
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()

    def scan(self) -> None:
        """Reads everything once.

        Raises:
          InputError: something cannot be read, or is not finite.
        """
        snapshot = 4 * math.prod(self.grid.shape) * len(self.species)
        gigabytes = snapshot * len(self.times) * len(self) / 1e9
        logging.info("Looking through %d trajectories (%.1f GB)", len(self), gigabytes)
        count = max(1, _PORTION_BYTES // snapshot)
        for which in range(len(self)):
            for first in range(0, len(self.times), count):
                self.snapshots(which, first, min(count, len(self.times) - first))

    def seeing(self, names: Sequence[str]) -> "StoredTrajectories":
        """The trajectories with the named fields of `data.environment` to be seen.

        Raises:
          InputError: a field needs masks, which these files have not.
        """
        if not names:
            return self
        one = environment.added(self.chosen(np.arange(1)).read(1), names)
        return dataclasses.replace(self, environment=one.environment[0])

    def _environment(self, count: int) -> np.ndarray | None:
        """The environment of so many trajectories, [count, *space, E]."""
        seen = self.environment
        return None if seen is None else np.broadcast_to(seen, (count, *seen.shape))

    def _in_memory(
        self, values: Sequence[np.ndarray], times: np.ndarray, which: np.ndarray
    ) -> Trajectories:
        return Trajectories(
            np.stack(values),
            times,
            self.species,
            self.grid,
            environment=self._environment(len(which)),
            inputs=None if self.inputs is None else self.inputs[which],
        )

    def chosen(self, which: np.ndarray) -> "StoredTrajectories":
        """Some of the trajectories, by their numbers."""
        inputs = None if self.inputs is None else self.inputs[which]
        places = tuple(self.places[number] for number in which)
        return dataclasses.replace(self, places=places, inputs=inputs)


def index(
    paths: Sequence[str], layout: Layout, *, every: int = 1, sampled: int = 64
) -> StoredTrajectories:
    """The trajectories in some files, of which only the description is read.

    Args:
      paths: of the files, in the order in which their trajectories are counted.
      layout: of all of them.
      every: see `StoredTrajectories`.
      sampled: see `StoredTrajectories`.

    Raises:
      InputError: naming a file that cannot be read, is not in this layout, or does not fit the
        first one.
    """
    contents = []
    for path in paths:
        with opened(path) as file:
            contents.append(layout.content(file))
        first, last = contents[0], contents[-1]
        for what in ("times", "species", "grid"):
            if not np.array_equal(getattr(first, what), getattr(last, what)):
                raise InputError(
                    f"{path} has another {what} than {paths[0]}, but all files of a set must agree."
                )
    times = first.times[::every]
    if len(times) < 2:
        raise InputError(
            f"{paths[0]} has {len(first.times)} snapshots, of which every {every}th leaves "
            f"{len(times)}; 2 or more are needed."
        )
    places = tuple(
        (path, item)
        for path, content in zip(paths, contents, strict=True)
        for item in content.items
    )
    inputs = None
    if first.inputs is not None:
        inputs = np.concatenate([content.inputs for content in contents])
    return StoredTrajectories(
        layout, places, times, first.species, first.grid, inputs, every=every, sampled=sampled
    )


def load_the_well(fields: ConfigDict) -> dict[str, StoredTrajectories | Trajectories]:
    """The data of the config's section data.the_well by split; see `_load`."""
    layout = TheWell(tuple(fields.fields), tuple(fields.inputs), tuple(fields.boundary))
    return _load(fields, layout, "data.the_well")


def load_pdebench(fields: ConfigDict) -> dict[str, StoredTrajectories | Trajectories]:
    """The data of the config's section data.pdebench by split; see `_load`."""
    layout = PDEBench(tuple(fields.species), tuple(fields.boundary))
    return _load(fields, layout, "data.pdebench")


def _load(
    fields: ConfigDict, layout: Layout, section: str
) -> dict[str, StoredTrajectories | Trajectories]:
    """Data by split: those to train on stay in their files, unless the config wants them read.

    A split without files of its own takes trajectories out of the training files, evenly among
    them, which are then not trained on; a single trajectory serves all three.

    Raises:
      InputError: naming the file or field that cannot be used.
    """

    def stored(split):
        field = f"{section}.{split}"
        return index(
            find(fields[split], field),
            layout,
            every=fields.every,
            sampled=fields.statistics_windows,
        )

    train, others = stored("train"), {}
    for split in SPLITS[1:]:
        source = stored(split) if fields[split] else train
        count = fields[f"{split}_trajectories"]
        evenly = ((np.arange(count) + 0.5) * len(source) / count).astype(int)
        others[split] = source.chosen(np.unique(evenly))
        if fields[split]:
            _require_alike(others[split], train)
        elif len(train) > count:
            train = train.chosen(np.setdiff1d(np.arange(len(train)), evenly))
        elif len(train) > 1:
            raise InputError(
                f"{section}.{split}_trajectories is {count}, but there are {len(train)} to take "
                f"them from; take fewer, or name files in {section}.{split}."
            )
    if fields.stream and fields.scan:
        train.scan()
    loaded = {split: others[split].read(fields.snapshots) for split in SPLITS[1:]}
    return {"train": train if fields.stream else train.read()} | loaded


def find(pattern: str, field: str) -> list[str]:
    """The HDF5 files that a config field names: one, a folder's, or those that fit a pattern.

    Raises:
      InputError: there are none.
    """
    path = Path(pattern).expanduser()
    if path.is_dir():
        found = [str(entry) for entry in path.iterdir() if entry.suffix in _ENDINGS]
    else:
        found = [str(path)] if path.is_file() else glob.glob(str(path), recursive=True)
    if not pattern or not found:
        raise InputError(
            f"{field} is {pattern!r}, where there is no HDF5 file; it takes a file, a folder with "
            f"files that end in {' or '.join(_ENDINGS)}, or a pattern such as 'data/train/*.hdf5'."
        )
    return sorted(found)


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


def _require_alike(one: StoredTrajectories, train: StoredTrajectories) -> None:
    """Refuses trajectories that a rule learnt from the training data cannot predict."""
    for what in ("species", "grid"):
        if getattr(one, what) != getattr(train, what):
            raise InputError(
                f"{one.places[0][0]} has another {what} than {train.places[0][0]}, but all splits "
                "must agree."
            )
    steps = [stored.times[1] - stored.times[0] for stored in (one, train)]
    if not math.isclose(*steps, rel_tol=1e-6):
        raise InputError(
            f"{one.places[0][0]} has snapshots {steps[0]:g} apart, but those of "
            f"{train.places[0][0]} are {steps[1]:g} apart, and all splits must agree."
        )


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
