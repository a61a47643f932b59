"""Trajectories: what training, scoring and reports know of data, wherever it came from.

They live in memory as plain numpy arrays, and in one file as numpy's `.npz`.
"""

import dataclasses
import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffpattern import given_numbers, intervals
from diffpattern.errors import InputError
from diffpattern.files import npz, write_whole
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.precision import real

_KEYS = ("values", "times", "species", "grid")
# What goes with the trajectories; each may be missing.
_GIVEN = ("mask", "environment", "inputs", "input_times", "known")
# How numbers are turned into those of the data.
_SCALES = ("offset", "scale")
_UNITS = ("length_unit", "time_unit")


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Runs of one system on one lattice, all seen at the same times.

    Attributes:
      values: [N, T, *space, C] float32, the snapshots; finite, and set to zero outside the mask.
      times: [T] float64, when they were taken; increasing.
      species: C different names, one for each channel.
      grid: the lattice, whose shape is `space`.
      mask: where each trajectory has anything at all, [N, *space]; None: everywhere.
      environment: fields that a rule sees and does not change, [N, *space, E]; None: none.
      inputs: numbers that all cells are told alike, [N, I], or a table of them over time,
        [N, S, I]; None: none.
      input_times: increasing times of that table's rows, [S]; None without a table.
      known: 1 where a channel of a snapshot was seen and 0 where it was not, [N, T, C]; None: all
        were. What was not seen is set to zero, and counts in no loss and no score.
      offset: of each species, [C]; `offset + scale * values` are the data in units of their own.
      scale: of each species, [C]; positive.
      length_unit: that of the grid's spacing; empty where nothing is known of it. The name alone
        makes no other data.
      time_unit: that of the times, likewise.

    Raises:
      InputError: for arrays that do not fit together, times that do not increase, and what are no
        finite real numbers.

    Example:
      >>> values = np.zeros((5, 3, 8, 8, 2))
      >>> data = Trajectories(values, [0, 16, 32], ("A", "B"), Grid((8, 8), spacing=0.5))
      >>> data.values.dtype, data.species
      (dtype('float32'), ('A', 'B'))
      >>> Trajectories(values, [0, 16], ("A", "B"), Grid((8, 8)))
      Traceback (most recent call last):
          ...
      diffpattern.errors.InputError: trajectories' values have the shape (5, 3, 8, 8, ...
    """

    values: np.ndarray
    times: np.ndarray
    species: tuple[str, ...]
    grid: Grid
    mask: np.ndarray | None = None
    environment: np.ndarray | None = None
    inputs: np.ndarray | None = None
    input_times: np.ndarray | None = None
    known: np.ndarray | None = None
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    length_unit: str = ""
    time_unit: str = ""

    def __post_init__(self):
        if not isinstance(self.grid, Grid):
            raise InputError(
                f"trajectories' grid is {self.grid!r}, but must be a Grid, such as Grid((8, 8))."
            )
        for name, kind in (("values", real()), ("times", np.float64)):
            numbers = given_numbers.array(getattr(self, name), f"trajectories' {name}", kind)
            object.__setattr__(self, name, numbers)
        object.__setattr__(self, "species", tuple(str(name) for name in self.species))
        shape, channels = self.values.shape, len(self.species)
        expected = (*self.times.shape, *self.grid.shape, channels)
        if self.times.ndim != 1 or shape[1:] != expected or 0 in shape:
            raise InputError(
                f"trajectories' values have the shape {shape}, but these times, lattice and "
                f"species ask for (N, {', '.join(map(str, expected))}) with nothing empty."
            )
        if len(set(self.species)) != channels:
            raise InputError(f"trajectories' species are {self.species}, but must all differ.")
        if (np.diff(self.times) <= 0).any():
            raise InputError("trajectories' times must increase from each to the next.")
        self._check_scales()
        self._check_given()

    def __repr__(self) -> str:
        count, moments, *space, _ = self.values.shape
        cells = " x ".join(map(str, space))
        spacing = " x ".join(f"{distance:g}" for distance in self.grid.spacing)
        given = f", with {', '.join(self._given())}" if self._given() else ""
        return (
            f"<Trajectories: {count} of {', '.join(self.species)} on {cells} cells, spacing "
            f"{spacing}, at {moments} times from {self.times[0]:g} to {self.times[-1]:g}{given}>"
        )

    def _check_scales(self) -> None:
        """Refuses scales that are not as many as the species, or that nothing can be divided by."""
        for name, default in (("offset", 0.0), ("scale", 1.0)):
            given = given_numbers.array(getattr(self, name), f"trajectories' {name}", np.float64)
            numbers = given if given.size else np.full(len(self.species), default)
            if numbers.shape != (len(self.species),):
                raise InputError(
                    f"trajectories' {name} has the shape {numbers.shape}, but must have a number "
                    f"for each of the {len(self.species)} species."
                )
            object.__setattr__(self, name, tuple(numbers.tolist()))
        if min(self.scale) <= 0:
            raise InputError(f"trajectories' scale is {self.scale}, but must be positive.")

    def _check_given(self) -> None:
        """Gives the given arrays their type, and refuses those that do not fit the trajectories."""
        count, space = len(self.values), self.grid.shape
        rows = () if self.input_times is None else np.shape(self.input_times)
        fits = {
            "mask": (count, *space),
            "environment": (count, *space, None),
            "inputs": (count, *rows, None),
            "input_times": rows,
            "known": (count, len(self.times), len(self.species)),
        }
        for name in _GIVEN:
            if (given := getattr(self, name)) is None:
                continue
            array = given_numbers.array(given, f"trajectories' {name}", real())
            object.__setattr__(self, name, array)
            expected = fits[name]
            matches = [
                want in (None, size) for want, size in zip(expected, array.shape, strict=False)
            ]
            if array.ndim != len(expected) or not all(matches) or not array.size:
                wanted = ", ".join("any" if size is None else str(size) for size in expected)
                raise InputError(
                    f"trajectories' {name} has the shape {array.shape}, but {count} trajectories "
                    f"on this lattice ask for ({wanted})."
                )
        if self.mask is not None:
            if not np.isin(self.mask, (0.0, 1.0)).all():
                raise InputError("trajectories' mask must be 1 inside and 0 outside, and no other.")
            object.__setattr__(self, "values", self.values * self.mask[:, None, ..., None])
        if self.known is not None:
            if not np.isin(self.known, (0.0, 1.0)).all():
                raise InputError("trajectories' known must be 1 where data are and 0 elsewhere.")
            space = tuple(range(2, 2 + self.grid.ndim))
            seen = np.expand_dims(self.known, space)
            object.__setattr__(self, "values", self.values * seen)
        table_times = self.input_times
        if table_times is not None and (self.inputs is None or (np.diff(table_times) <= 0).any()):
            raise InputError(
                "trajectories' input_times must increase and come with a table of inputs."
            )

    def forcing(self, which: int | np.ndarray) -> Forcing:
        """What acts on one trajectory, or on several (every array with a leading axis then).

        Example:
          >>> values, mask = np.zeros((2, 3, 8, 8, 1)), np.ones((2, 8, 8))
          >>> data = Trajectories(values, [0, 1, 2], ("u",), Grid((8, 8)), mask=mask)
          >>> data.forcing(1).mask.shape, data.forcing(np.array([0, 1])).mask.shape
          ((8, 8), (2, 8, 8))
        """
        take = lambda array: None if array is None else array[which]
        environment = self.environment
        if environment is not None:
            environment = np.moveaxis(environment, -1, 1)
        times = self.input_times
        if times is not None:
            times = np.broadcast_to(times, (len(self.values), *times.shape))
        first = np.full(len(self.values), self.times[0], real())
        return Forcing(
            time=first[which],
            mask=take(self.mask),
            environment=take(environment),
            inputs=take(self.inputs),
            input_times=take(times),
        )

    def of_cells(self, cells: tuple[slice, ...]) -> "Trajectories":
        """The trajectories on a part of their lattice, a slice along each axis of space.

        Example:
          >>> data = Trajectories(np.zeros((2, 3, 8, 8, 1)), [0, 1, 2], ("u",), Grid((8, 8)))
          >>> data.of_cells((slice(0, 4), slice(None))).values.shape
          (2, 3, 4, 8, 1)
        """
        if (grid := self.grid.of_cells(cells)) == self.grid:
            return self
        cut = lambda array: None if array is None else array[(slice(None), *cells)]
        return dataclasses.replace(
            self,
            values=self.values[(slice(None), slice(None), *cells)],
            grid=grid,
            mask=cut(self.mask),
            environment=cut(self.environment),
        )

    def inside(self, which: int) -> np.ndarray | None:
        """Where a trajectory has anything, truth values [*space]; None: everywhere.

        Example:
          >>> mask = np.array([[0, 1, 1]])
          >>> Trajectories(np.ones((1, 2, 3, 1)), [0, 1], ("u",), Grid(3), mask=mask).inside(0)
          array([False,  True,  True])
        """
        return None if self.mask is None else self.mask[which] > 0

    def seen(self) -> np.ndarray:
        """Which of the numbers were seen, inside of masks: truth values like `values`.

        Example:
          >>> known = np.array([[[1], [0]]])
          >>> data = Trajectories(np.ones((1, 2, 3, 1)), [0, 1], ("u",), Grid(3), known=known)
          >>> data.seen()[0, :, :, 0].tolist()
          [[True, True, True], [False, False, False]]
        """
        where = np.ones(self.values.shape, bool)
        if self.mask is not None:
            where &= self.mask[:, None, ..., None] > 0
        if self.known is not None:
            where &= np.expand_dims(self.known > 0, tuple(range(2, 2 + self.grid.ndim)))
        return where

    def numbers(self, channel: int) -> np.ndarray:
        """All numbers of a species that were seen, inside of masks, in double precision.

        Example:
          >>> mask = np.array([[0, 1, 1]])
          >>> Trajectories(np.ones((1, 2, 3, 1)), [0, 1], ("u",), Grid(3), mask=mask).numbers(0)
          array([1., 1., 1., 1.])
        """
        return self.values[..., channel][self.seen()[..., channel]].astype(np.float64)

    def in_units(self, values: np.ndarray) -> np.ndarray:
        """Numbers [..., C] such as `values` as those of the data, in units of their own.

        Example:
          >>> values = np.full((1, 1, 4, 1), 0.5)
          >>> data = Trajectories(values, [0], ("u",), Grid(4), offset=(10,), scale=(4,))
          >>> data.in_units(data.values)[0, 0, :, 0].tolist()
          [12.0, 12.0, 12.0, 12.0]
        """
        return np.asarray(self.offset, real()) + np.asarray(self.scale, real()) * values

    def from_units(self, values: np.ndarray) -> np.ndarray:
        """The inverse of `in_units`.

        Example:
          >>> values = np.zeros((1, 1, 4, 1))
          >>> data = Trajectories(values, [0], ("u",), Grid(4), offset=(10,), scale=(4,))
          >>> data.from_units(np.array([[10.0], [12.0]])).tolist()
          [[0.0], [0.5]]
        """
        return (values - np.asarray(self.offset, real())) / np.asarray(self.scale, real())

    def regular(self) -> "Trajectories":
        """The same at equal intervals, the longest that reach all times.

        Snapshots that come in between are not known.

        Raises:
          InputError: the times have no such interval, see `intervals.common`.

        Example:
          >>> data = Trajectories(np.ones((1, 3, 4, 1)), [0, 2, 6], ("u",), Grid(4)).regular()
          >>> data.times.tolist(), data.known[0, :, 0].tolist()
          ([0.0, 2.0, 4.0, 6.0], [1.0, 1.0, 0.0, 1.0])
        """
        if intervals.are_equal(self.times):
            return self
        interval, place = intervals.common(self.times)
        count = place[-1]
        known = np.ones((*self.values.shape[:2], len(self.species)), real())
        known = known if self.known is None else self.known

        def spread(array):
            longer = np.zeros((len(array), count + 1, *array.shape[2:]), real())
            longer[:, place] = array
            return longer

        times = self.times[0] + interval * np.arange(count + 1)
        return dataclasses.replace(
            self, values=spread(self.values), times=times, known=spread(known)
        )

    def _given(self) -> dict[str, np.ndarray]:
        return {name: array for name in _GIVEN if (array := getattr(self, name)) is not None}

    def digest(self) -> str:
        """SHA-256 of values, times, species and grid: equal digests mean equal data.

        Example:
          >>> data = Trajectories(np.ones((1, 1, 4, 1)), [0], ("u",), Grid(4))
          >>> data.digest() == Trajectories(np.ones((1, 1, 4, 1)), [0], ("u",), Grid(4)).digest()
          True
        """
        digest = hashlib.sha256()
        description = [self.values.shape, self.species, self.grid.to_dict()]
        if set(self.offset) != {0.0} or set(self.scale) != {1.0}:
            description += [self.offset, self.scale]
        digest.update(json.dumps(description, sort_keys=True).encode())
        digest.update(_bytes(self.times))
        digest.update(_bytes(self.values))
        for name, array in self._given().items():
            digest.update(json.dumps([name, array.shape]).encode())
            digest.update(_bytes(array))
        return digest.hexdigest()

    def save_npz(self, path: str | os.PathLike) -> None:
        """Writes everything to the file `path`, which appears complete or not at all.

        Raises:
          InputError: naming a path that cannot be written.

        Example:
          >>> Trajectories(np.ones((1, 1, 4, 1)), [0], ("u",), Grid(4)).save_npz("mine.npz")
          >>> np.load("mine.npz")["values"].shape
          (1, 1, 4, 1)
        """
        content = npz(
            values=self.values,
            times=self.times,
            species=np.array(self.species),
            grid=np.array(json.dumps(self.grid.to_dict())),
            offset=np.array(self.offset),
            scale=np.array(self.scale),
            **{name: np.array(getattr(self, name)) for name in _UNITS},
            **self._given(),
        )
        write_whole(path, content)

    @classmethod
    def load_npz(cls, path: str | os.PathLike) -> "Trajectories":
        """Reads what `save_npz` wrote.

        Raises:
          InputError: naming a path that is missing, damaged or no file of trajectories.

        Example:
          >>> Trajectories(np.ones((1, 1, 4, 1)), [0], ("u",), Grid(4)).save_npz("mine.npz")
          >>> Trajectories.load_npz("mine.npz").values.shape
          (1, 1, 4, 1)
          >>> Trajectories.load_npz("none.npz")
          Traceback (most recent call last):
              ...
          diffpattern.errors.InputError: none.npz cannot be read: No such file or directory.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                content = {key: stored[key] for key in _KEYS}
                given = {key: stored[key] for key in (*_GIVEN, *_SCALES) if key in stored}
                given |= {key: str(stored[key]) for key in _UNITS if key in stored}
            grid = Grid.from_dict(json.loads(str(content["grid"])))
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
        except (
            KeyError,
            TypeError,
            ValueError,
            EOFError,
            AttributeError,
            zipfile.BadZipFile,
        ) as error:
            raise InputError(f"{path} is damaged or holds no trajectories ({error}).") from error
        try:
            species = tuple(content["species"])
            return cls(content["values"], content["times"], species, grid, **given)
        except InputError as error:
            raise InputError(f"{path} cannot be used: {error}") from error


def _bytes(array: np.ndarray) -> memoryview:
    """The numbers as they are, but little-endian, whatever the machine that asks."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data


def digest(lattices: Sequence[Trajectories]) -> str:
    """That of trajectories on lattices of several sizes; of one size, their own.

    Example:
      >>> data = Trajectories(np.ones((1, 1, 4, 1)), [0], ("u",), Grid(4))
      >>> digest([data]) == data.digest()
      True
    """
    first, *others = (one.digest() for one in lattices)
    return hashlib.sha256("".join([first, *others]).encode()).hexdigest() if others else first
