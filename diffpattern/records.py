"""What evaluation keeps of one trajectory, so that it can be looked at again without the rule.

Each record is a frozen dataclass of arrays, and one .npz file whose names are those of its fields.
Values are in the rule's units, in half precision where that is fine enough for pictures.
"""

import contextlib
import dataclasses
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from diffpattern.errors import InputError
from diffpattern.files import npz

# The largest error of half precision that no picture shows, as a share of a channel's range.
_INVISIBLE = 2e-3


@dataclass(frozen=True, eq=False)
class States:
    """All channels of what the rule made of one start.

    Attributes:
      trajectory: which of the test data's trajectories it starts from.
      times: [T], those of the data and maybe others in between.
      values: [T, *space, channels], the species first and then what is hidden.
    """

    trajectory: int
    times: NDArray
    values: NDArray


@dataclass(frozen=True, eq=False)
class Damage:
    """How the rule goes on from a state of which a part was erased, beside that state as it was.

    Attributes:
      trajectory: which of the test data's trajectories the state lies on.
      times: [T], the first one that of the damage.
      erased: which cells were, [*space].
      filling: what was put there, [channels].
      undamaged: the species of what comes of the state as it was, [T, *space, C].
      damaged: of the damaged one likewise, by the same draws of chance.
      nrmse: how far the second is from the first, [T, C]; see `scores.nrmse`.
    """

    trajectory: int
    times: NDArray
    erased: NDArray
    filling: NDArray
    undamaged: NDArray
    damaged: NDArray
    nrmse: NDArray

    def summary(self, species: Sequence[str]) -> dict[str, Any]:
        """What `eval/scores.json` says of it; numbers that are not finite are None.

        Args:
          species: names of the channels.
        """
        finite = np.where(np.isfinite(self.nrmse), self.nrmse.astype(object), None)
        return {
            "trajectory": self.trajectory,
            "times": self.times.tolist(),
            "erased": float(np.mean(self.erased)),
            "nrmse": dict(zip(species, finite.T.tolist(), strict=True)),
        }


Record = TypeVar("Record", States, Damage)


def to_npz(record: States | Damage) -> bytes:
    """A record as the content of its file."""
    return npz(**{name: _compact(np.asarray(value)) for name, value in vars(record).items()})


def read(kind: type[Record], path: str | os.PathLike) -> Record:
    """Reads what `to_npz` made.

    Args:
      kind: of the record.
      path: of the file.

    Raises:
      InputError: the file cannot be read, or is damaged.
    """
    names = [field.name for field in dataclasses.fields(kind)]
    with opened(path) as stored:
        content = {name: stored[name] for name in names}
        return kind(**content | {"trajectory": int(content["trajectory"])})


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[Mapping[str, NDArray]]:
    """The arrays of a file that evaluation has written.

    Raises:
      InputError: the file cannot be read, or what is read of it in the block shows that it is
        damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            yield stored
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror or error}); --mode=eval writes it again."
        ) from error
    except (KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {error}); --mode=eval writes it again."
        ) from error


def _compact(array: NDArray) -> NDArray:
    """Lattices of numbers in half precision, where no channel loses what a picture would show."""
    if array.ndim < 3 or array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        half = array.astype(np.float16)
        cells = tuple(range(array.ndim - 1))
        finite = np.isfinite(array)
        error = np.abs(half.astype(np.float32) - array).max(cells, where=finite, initial=0)
        highest = array.max(cells, where=finite, initial=-np.inf)
        lowest = array.min(cells, where=finite, initial=np.inf)
        fine = error <= _INVISIBLE * np.maximum(highest - lowest, 0)
    return half if fine.all() else array
