"""Trajectories that stay in their files, of which windows are read when they are drawn.

So a set may be larger than memory. `hdf5` knows how the files are laid out; a file is open only
while something is read from it.
"""

import dataclasses
import functools
import glob
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from diffpattern.data import environment, windows
from diffpattern.data.hdf5 import Cells, Item, Layout, PDEBench, TheWell, opened
from diffpattern.data.simulation import SPLITS
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.parallel import processes
from diffpattern.precision import real

_ENDINGS = (".h5", ".hdf5")
# What is read at once, where everything is gone through.
_PORTION_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class StoredTrajectories:
    """Trajectories in files, all of one kind: what is known of them, and reading of parts.

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
      cells: which of the files' lattice is read, a slice along each axis; (): all of it.
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
    cells: Cells = ()

    def __len__(self) -> int:
        return len(self.places)

    @property
    def bytes(self) -> int:
        """What all of them take in memory."""
        return len(self) * len(self.times) * self._snapshot_bytes

    @property
    def _snapshot_bytes(self) -> int:
        return real().itemsize * math.prod(self.grid.shape) * len(self.species)

    def snapshots(self, which: int, first: int, count: int) -> np.ndarray:
        """Successive snapshots of a trajectory, [count, *space, C] float32.

        Raises:
          InputError: the file cannot be read, or holds numbers there that are not finite.
        """
        path, item = self.places[which]
        last = first + count - 1
        part = slice(first * self.every, last * self.every + 1, self.every)
        with opened(path) as file:
            values = self.layout.read(file, item, part, self.cells)
            values = np.ascontiguousarray(values, real())
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
            time=self.times[first].astype(real()),
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
        """Reads everything once; several processes share the trajectories out among them.

        Raises:
          InputError: something cannot be read, or is not finite.
        """
        logging.info("Looking through %d trajectories (%.1f GB)", len(self), self.bytes / 1e9)
        count = max(1, _PORTION_BYTES // self._snapshot_bytes)
        for which in range(processes.number(), len(self), processes.count()):
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

    def of_cells(self, cells: Cells) -> "StoredTrajectories":
        """The trajectories on a part of their whole lattice, of which alone windows are read."""
        seen = self.environment
        return dataclasses.replace(
            self,
            grid=self.grid.of_cells(cells),
            environment=None if seen is None else seen[cells],
            cells=cells,
        )

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
