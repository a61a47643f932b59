"""What a run tells while it trains: event files, a log of scalars, its progress, and when it fails.

Of several processes that train together the first tells. Names of scalars are paths: what stands
under a group, as in "gradient_norm/output", TensorBoard shows together and the terminal leaves out.
"""

import contextlib
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from numpy.typing import ArrayLike
from tqdm import tqdm

from diffpattern.errors import TrainingError
from diffpattern.files import write_whole
from diffpattern.parallel import processes
from diffpattern.training.events import EventFiles

Metrics = Mapping[str, jax.Array]


class Averages:
    """Means of the metrics of several steps, which are fetched when they are asked for."""

    def __init__(self):
        self._steps: list[Metrics] = []

    def add(self, metrics: Metrics) -> None:
        """Adds the metrics of one step; does not wait for them."""
        self._steps.append(metrics)

    def take(self) -> dict[str, float]:
        """The means since the last call."""
        steps, self._steps = jax.device_get(self._steps), []
        return {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}

    def state(self) -> list[dict[str, tuple[str, float]]]:
        """What was added since the last call of `take`, type and value of each, for `restore`."""
        self._steps = jax.device_get(self._steps)
        return [
            {name: (str(value.dtype), float(value)) for name, value in step.items()}
            for step in self._steps
        ]

    def restore(self, state: list[dict[str, tuple[str, float]]]) -> None:
        """Goes on from a `state`, which may have been JSON meanwhile."""
        self._steps = [
            {name: np.asarray(value, dtype) for name, (dtype, value) in step.items()}
            for step in state
        ]


class Watch:
    """Ends a run in which too many steps in a row came to nothing.

    It looks at a step's metrics when the next step is on its way, so that an accelerator never
    waits for it; `settle` looks at once.

    Args:
      is_lost: metrics of a step -> whether it came to nothing.
      patience: how many such steps in a row are passed over.
      in_a_row: how many there were just before this process.
      explain: (step, how many in a row) -> the sentence that the error tells.
    """

    def __init__(
        self,
        is_lost: Callable[[Metrics], bool],
        patience: int,
        in_a_row: int,
        explain: Callable[[int, int], str],
    ):
        self._is_lost, self._patience, self._explain = is_lost, patience, explain
        self._in_a_row = in_a_row
        self._pending: tuple[int, Metrics] | None = None

    def add(self, step: int, metrics: Metrics) -> None:
        """Looks at the step before this one.

        Raises:
          TrainingError: that one was lost, and one too many in a row.
        """
        self.settle()
        self._pending = step, metrics

    def settle(self) -> None:
        """Looks at the last step; raises TrainingError likewise."""
        if self._pending is None:
            return
        (step, metrics), self._pending = self._pending, None
        self._in_a_row = self._in_a_row + 1 if self._is_lost(metrics) else 0
        if self._in_a_row > self._patience:
            raise TrainingError(self._explain(step, self._in_a_row))


class Writer(contextlib.AbstractContextManager):
    """Writes scalars to event files and to a file with one JSON record a line.

    Args:
      folder: of the event files.
      scalars: the file of records; those after `step` are dropped, since the run goes on there.
      step: where the run starts.
      config: hyperparameters to show beside the curves.

    Raises:
      InputError: the file cannot be written.
    """

    def __init__(self, folder: Path, scalars: Path, step: int, config: Mapping[str, Any]):
        self._scalars = scalars
        self._events: EventFiles | None = None
        if not processes.is_first():
            return
        kept = [row for row in read_scalars(scalars) if row["step"] <= step]
        write_whole(scalars, "".join(json.dumps(row) + "\n" for row in kept))
        self._events = EventFiles(folder, config)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the scalars of a step; event files follow as soon as TensorFlow is there.

        Raises:
          TrainingError: these, or event files before, could not be written.
        """
        if self._events is None:
            return
        self._events.write(step, values)
        # JSON has no word for what is not finite.
        plain = {key: value if math.isfinite(value) else None for key, value in values.items()}
        try:
            with self._scalars.open("a") as file:
                file.write(json.dumps({"step": step} | plain) + "\n")
        except OSError as error:
            raise TrainingError(f"{self._scalars} cannot be written: {error.strerror}.") from error

    def show(
        self, step: int, histograms: Mapping[str, ArrayLike], pictures: Mapping[str, bytes]
    ) -> None:
        """Adds to the event files what is no scalar; see `events.EventFiles.write`."""
        if self._events is not None:
            self._events.write(step, histograms=histograms, pictures=pictures)

    def __exit__(self, *exception: object) -> None:
        """Waits until everything is on disk; TrainingError if event files could not be written."""
        if self._events is not None:
            self._events.__exit__(*exception)


def add_scalars(folder: Path, step: int, values: Mapping[str, float]) -> None:
    """Adds scalars to the event files in a folder, and to nothing else.

    Raises:
      TrainingError: they cannot be written.
    """
    if processes.is_first():
        with EventFiles(folder) as events:
            events.write(step, values)


def read_scalars(path: Path) -> list[dict[str, float | None]]:
    """The records that a `Writer` wrote; a last line that a killed run left torn is dropped."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            row = json.loads(line)
            rows.append(row | {"step": int(row["step"])})
        except (ValueError, TypeError, KeyError):
            break
    return rows


class Progress(contextlib.AbstractContextManager):
    """How far training is: a bar on a terminal, lines of log elsewhere.

    The pace is taken from the first step on that is told, so that compilation is left out of it.

    Args:
      first: step at which this process starts.
      last: step at which it will end.
    """

    _SECONDS_BETWEEN_LINES = 10

    def __init__(self, first: int, last: int):
        self._last = last
        self._start = time.monotonic()
        self._first_told: tuple[int, float] | None = None
        self._told = self._start
        self._bar = None
        if sys.stderr.isatty() and processes.is_first():
            # On a terminal that does not tell its size, tqdm by itself shows nothing.
            columns, rows = shutil.get_terminal_size()
            self._bar = tqdm(total=last, initial=first, unit="step", ncols=columns - 1, nrows=rows)

    def tell(self, step: int, values: Mapping[str, float]) -> None:
        """Tells that `step` is done; lines of log come ten seconds apart, and at the end."""
        tell = lambda names: "  ".join(f"{name} {values[name]:.3g}" for name in names)
        first = [name for name in ("loss", "validation") if name in values]
        now = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str(tell(first), refresh=False)
            self._bar.update(step - self._bar.n)
            return
        rest = (name for name in values if name not in first and "/" not in name)
        text = tell([*first, *rest])
        if self._first_told is None:
            pace = f"{now - self._start:.1f} s with compilation"
            logging.info("step %d of %d  %s  %s", step, self._last, text, pace)
        elif step == self._last or now - self._told >= self._SECONDS_BETWEEN_LINES:
            start, since = self._first_told
            rate = (step - start) / max(now - since, 1e-9)
            left = _clock((self._last - step) / rate)
            pace = f"{rate:.3g} steps/s  {left} left"
            logging.info("step %d of %d  %s  %s", step, self._last, text, pace)
        else:
            return
        self._told = now
        self._first_told = self._first_told or (step, now)

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
