"""Snapshots for a user: a rule's from a start of their own, and those of a known PDE."""

from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from diffpattern import dataset, given_numbers, memory, systems
from diffpattern.api.loading import Run, load
from diffpattern.data import sources
from diffpattern.data.snapshots import Snapshots, check_path, write
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.files import opened_arrays
from diffpattern.precision import real
from diffpattern.systems import SYSTEMS

# More than anybody looks at; a slip of the pen is rather what asks for them.
_MOST_TIMES = 10**7

# What may come with a start in a file.
_GIVEN = "mask", "environment", "inputs"


def predict(
    folder: Path,
    start: str,
    times: np.ndarray,
    output: Path,
    *,
    step: int | None = None,
    seed: int | None = None,
) -> str:
    """Lets the rule of a run go on from a lattice that somebody gives, and writes what it makes.

    Args:
      folder: of the run.
      start: a file: .npy or .npz with a lattice [*space, C] or several [B, *space, C] in the data's
        units, and in the latter maybe a mask, an environment and inputs, as `Run.rollout` takes
        them; or, for a run on images, a picture, a stack or a folder of them, whose last frame is
        the start and is prepared as the run's own data were.
      times: of the snapshots, [T]; the first is that of the start.
      output: where they go, see `data.snapshots.write`.
      step: of the checkpoint; None: the best.
      seed: of what is random in the rule; None: that of the run.

    Returns:
      What was written, in a sentence.

    Raises:
      InputError: naming the file or flag that cannot be used.
    """
    check_path(output)
    run = load(folder, step)
    x0, given = _read(start, run)
    memory.require(
        x0.size * len(times) * np.dtype(real()).itemsize,
        f"The {len(times)} snapshots from {times[0]:g} to {times[-1]:g} that --times asks for",
        "take fewer",
    )
    key = None if seed is None else jax.random.key(seed)
    try:
        values = run.rollout(x0, times, key=key, **given)
    except InputError as error:
        raise InputError(str(error).replace("x0 has", f"--input={start} has")) from error
    if values.ndim == run.statistics.grid.ndim + 2:
        values = values[None]
    return write(output, _snapshots(values, times, run.test[0]))


def simulated(config: ConfigDict, output: Path) -> str:
    """Runs the known PDE of a checked config and writes its trajectories to train on.

    Args:
      config: whose section data says which, see `dataset.simulation`.
      output: where they go, see `data.snapshots.write`.

    Returns:
      What was written, in a sentence.

    Raises:
      InputError: the config's data are not simulated or cannot be, or the path cannot be written.
    """
    check_path(output)
    if not systems.is_system(config.data.name):
        raise InputError(
            f"data.name is {config.data.name!r}, but --mode=simulate takes a system: "
            f"{', '.join(SYSTEMS)}."
        )
    if config.data.further_shapes:
        raise InputError("data.further_shapes asks for lattices of several sizes; leave it empty.")
    (data,) = dataset.load(config)
    made = data["train"]
    return write(output, _snapshots(made.values, made.times, made))


def times_of(written: str) -> np.ndarray:
    """Times as a flag has them: FIRST:LAST:STEP, both ends included, or a list with commas.

    Raises:
      InputError: it is neither, or the times do not increase.
    """
    try:
        if ":" in written:
            first, last, step = map(float, written.split(":"))
            intervals = (last - first) / step
            if not abs(intervals) < _MOST_TIMES:
                raise InputError(
                    f"--times={written} asks for more than {_MOST_TIMES} times; take a longer step."
                )
            count = round(intervals)
            if abs(first + count * step - last) > 1e-6 * abs(step):
                raise InputError(
                    f"--times={written} has a step that does not lead from the first time to the "
                    "last; take one that divides the time between them."
                )
            times = first + step * np.arange(count + 1)
        else:
            times = np.array([float(part) for part in written.split(",")])
    except (ValueError, ZeroDivisionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"--times is {written!r}, but must be FIRST:LAST:STEP, such as 0:1024:16, or times "
            "with commas between them."
        ) from error
    if not np.isfinite(times).all():
        raise InputError(f"--times is {written!r}, but each of them must be a finite number.")
    if len(times) < 2 or not (np.diff(times) > 0).all():
        raise InputError(
            f"--times is {written!r}, but needs two times or more, each later than the one before."
        )
    return times


def _read(start: str, run: Run) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """One lattice or several in the data's units, and what acts on them, by its name."""
    path = Path(start).expanduser()
    if path.suffix.lower() not in (".npy", ".npz"):
        if run.config.data.name != "images":
            raise InputError(
                f"--input={start} is for runs on images, but this one's data.name is "
                f"{run.config.data.name!r}; give a lattice as .npy or .npz."
            )
        frame, mask = sources.last_frame(start, run.config.data.images, run.species)
        return frame, {} if mask is None else {"mask": mask}
    numbers = lambda array: given_numbers.array(array, f"--input={start}", real())
    try:
        with opened_arrays(path) as loaded:
            if isinstance(loaded, np.ndarray):
                return numbers(loaded), {}
            if "values" not in loaded:
                raise InputError(
                    f"--input={start} has {', '.join(loaded.files) or 'nothing'}, but needs an "
                    "array called values: a lattice, or several."
                )
            values = numbers(loaded["values"])
            given = {name: numbers(loaded[name]) for name in _GIVEN if name in loaded}
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"--input={start} cannot be read ({error}).") from error
    # Of trajectories [N, T, *space, C], as this package writes them, the last snapshots.
    return values[:, -1] if values.ndim == run.statistics.grid.ndim + 3 else values, given


def _snapshots(values: np.ndarray, times: np.ndarray, like: Trajectories) -> Snapshots:
    return Snapshots(
        values, times, like.species, like.grid.spacing, like.length_unit, like.time_unit
    )
