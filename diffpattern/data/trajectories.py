"""Trajectories: what training, scoring and reports know of data, wherever it came from.

They live in memory as plain numpy arrays, and in one file as numpy's `.npz`.
"""

import dataclasses
import hashlib
import io
import json
import os
import zipfile
from dataclasses import dataclass

import numpy as np

from diffpattern.errors import InputError
from diffpattern.files import write_whole
from diffpattern.grid.geometry import Boundary, Grid

_KEYS = ("values", "times", "species", "grid")


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Runs of one system on one lattice, all seen at the same times.

    Attributes:
      values: [N, T, *space, C] float32, the snapshots; finite.
      times: [T] float64, when they were taken; increasing.
      species: C different names, one for each channel.
      grid: the lattice, whose shape is `space`.

    Raises:
      InputError: for arrays that do not fit together, times that do not increase, and values that
        are not finite.
    """

    values: np.ndarray
    times: np.ndarray
    species: tuple[str, ...]
    grid: Grid

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

    def digest(self) -> str:
        """SHA-256 of values, times, species and grid: equal digests mean equal data."""
        digest = hashlib.sha256()
        description = [self.values.shape, self.species, dataclasses.asdict(self.grid)]
        digest.update(json.dumps(description, sort_keys=True).encode())
        # Little-endian, whatever the machine that asks.
        digest.update(np.ascontiguousarray(self.times, dtype="<f8").data)
        digest.update(np.ascontiguousarray(self.values, dtype="<f4").data)
        return digest.hexdigest()

    def save_npz(self, path: str | os.PathLike) -> None:
        """Writes everything to the file `path`, which appears complete or not at all.

        Raises:
          InputError: naming a path that cannot be written.
        """
        file = io.BytesIO()
        np.savez(
            file,
            values=self.values,
            times=self.times,
            species=np.array(self.species),
            grid=np.array(json.dumps(dataclasses.asdict(self.grid))),
        )
        write_whole(path, file.getvalue())

    @classmethod
    def load_npz(cls, path: str | os.PathLike) -> "Trajectories":
        """Reads what `save_npz` wrote.

        Raises:
          InputError: naming a path that is missing, damaged or no file of trajectories.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                content = {key: stored[key] for key in _KEYS}
            description = json.loads(str(content["grid"]))
            boundary = tuple(Boundary(**wall) for wall in description.pop("boundary"))
            grid = Grid(tuple(description["shape"]), tuple(description["spacing"]), boundary)
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
            return cls(content["values"], content["times"], tuple(content["species"]), grid)
        except InputError as error:
            raise InputError(f"{path} cannot be used: {error}") from error
