"""Trajectories: what training, scoring and reports know of data, wherever it came from.

They live in memory as plain numpy arrays, and in one file as numpy's `.npz`.
"""

import hashlib
import json
import os
import zipfile
from dataclasses import dataclass

import numpy as np

from diffpattern.errors import InputError
from diffpattern.files import npz, write_whole
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Grid

_KEYS = ("values", "times", "species", "grid")
# What acts on the trajectories from outside; each may be missing.
_GIVEN = ("mask", "environment", "inputs", "input_times")


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

    Raises:
      InputError: for arrays that do not fit together, times that do not increase, and values that
        are not finite.
    """

    values: np.ndarray
    times: np.ndarray
    species: tuple[str, ...]
    grid: Grid
    mask: np.ndarray | None = None
    environment: np.ndarray | None = None
    inputs: np.ndarray | None = None
    input_times: np.ndarray | None = None

    def __post_init__(self):
        object.__setattr__(self, "values", np.asarray(self.values, dtype=np.float32))
        object.__setattr__(self, "times", np.asarray(self.times, dtype=np.float64))
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
        if not np.isfinite(self.times).all() or (np.diff(self.times) <= 0).any():
            raise InputError(
                "trajectories' times must be finite and increase from each to the next."
            )
        if not np.isfinite(self.values).all():
            raise InputError("trajectories' values must be finite, but some are infinite or NaN.")
        self._check_forcing()

    def _check_forcing(self) -> None:
        """Gives the given arrays their type, and refuses those that do not fit the trajectories."""
        count, space = len(self.values), self.grid.shape
        rows = () if self.input_times is None else np.shape(self.input_times)
        fits = {
            "mask": (count, *space),
            "environment": (count, *space, None),
            "inputs": (count, *rows, None),
            "input_times": rows,
        }
        for name in _GIVEN:
            if (given := getattr(self, name)) is None:
                continue
            array = np.asarray(given, dtype=np.float32)
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
            if not np.isfinite(array).all():
                raise InputError(f"trajectories' {name} must be finite, but is not everywhere.")
        if self.mask is not None:
            if not np.isin(self.mask, (0.0, 1.0)).all():
                raise InputError("trajectories' mask must be 1 inside and 0 outside, and no other.")
            object.__setattr__(self, "values", self.values * self.mask[:, None, ..., None])
        table_times = self.input_times
        if table_times is not None and (self.inputs is None or (np.diff(table_times) <= 0).any()):
            raise InputError(
                "trajectories' input_times must increase and come with a table of inputs."
            )

    def forcing(self, which: int | np.ndarray) -> Forcing:
        """What acts on one trajectory, or on several (every array with a leading axis then)."""
        take = lambda array: None if array is None else array[which]
        environment = self.environment
        if environment is not None:
            environment = np.moveaxis(environment, -1, 1)
        times = self.input_times
        if times is not None:
            times = np.broadcast_to(times, (len(self.values), *times.shape))
        first = np.full(len(self.values), self.times[0], np.float32)
        return Forcing(
            take(first), take(self.mask), take(environment), take(self.inputs), take(times)
        )

    def _given(self) -> dict[str, np.ndarray]:
        return {name: array for name in _GIVEN if (array := getattr(self, name)) is not None}

    def digest(self) -> str:
        """SHA-256 of values, times, species and grid: equal digests mean equal data."""
        digest = hashlib.sha256()
        description = [self.values.shape, self.species, self.grid.to_dict()]
        digest.update(json.dumps(description, sort_keys=True).encode())
        # Little-endian, whatever the machine that asks.
        digest.update(np.ascontiguousarray(self.times, dtype="<f8").data)
        digest.update(np.ascontiguousarray(self.values, dtype="<f4").data)
        for name, array in self._given().items():
            digest.update(json.dumps([name, array.shape]).encode())
            digest.update(np.ascontiguousarray(array, dtype="<f4").data)
        return digest.hexdigest()

    def save_npz(self, path: str | os.PathLike) -> None:
        """Writes everything to the file `path`, which appears complete or not at all.

        Raises:
          InputError: naming a path that cannot be written.
        """
        content = npz(
            values=self.values,
            times=self.times,
            species=np.array(self.species),
            grid=np.array(json.dumps(self.grid.to_dict())),
            **self._given(),
        )
        write_whole(path, content)

    @classmethod
    def load_npz(cls, path: str | os.PathLike) -> "Trajectories":
        """Reads what `save_npz` wrote.

        Raises:
          InputError: naming a path that is missing, damaged or no file of trajectories.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                content = {key: stored[key] for key in _KEYS}
                given = {key: stored[key] for key in _GIVEN if key in stored}
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
