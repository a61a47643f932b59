"""What a run tells while it trains: event files, a log of scalars, and its progress.

CLU averages the metrics between two lines of log and writes them for TensorBoard. Its writers
import TensorFlow, which takes seconds, so a thread does that while the first step compiles.
"""

import json
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from absl import logging
from clu import metrics as clu_metrics
from tqdm import tqdm


class Averages:
    """Means of the metrics of several steps, by CLU's collections."""

    def __init__(self):
        self._collection = None

    def add(self, values: Mapping[str, jax.Array]) -> None:
        """Adds the metrics of one step."""
        kinds = {name: clu_metrics.Average.from_output(name) for name in values}
        new = clu_metrics.Collection.create(**kinds).single_from_model_output(**values)
        self._collection = new if self._collection is None else self._collection.merge(new)

    def take(self) -> dict[str, float]:
        """The means since the last call."""
        values = self._collection.compute()
        self._collection = None
        return {name: float(value) for name, value in values.items()}


class Writer:
    """Writes scalars to event files and to a file with one JSON record a line.

    Args:
      folder: of the event files.
      scalars: the file of records; those after `step` are dropped, since the run goes on there.
      step: where the run starts.
      config: hyperparameters to show beside the curves.
    """

    def __init__(self, folder: Path, scalars: Path, step: int, config: Mapping[str, Any]):
        self._folder, self._scalars, self._config = folder, scalars, config
        folder.mkdir(parents=True, exist_ok=True)
        kept = [row for row in read_scalars(scalars) if row["step"] <= step]
        beside = scalars.with_suffix(".part")
        beside.write_text("".join(json.dumps(row) + "\n" for row in kept))
        beside.replace(scalars)
        self._events: Any = None
        self._import = threading.Thread(target=_import_event_writer, daemon=True)
        self._import.start()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the scalars of a step."""
        with self._scalars.open("a") as file:
            file.write(json.dumps({"step": step} | dict(values)) + "\n")
        self._open_events().write_scalars(step, values)

    def close(self) -> None:
        """Waits until everything is on disk."""
        if self._events is not None:
            self._events.close()

    def _open_events(self) -> Any:
        if self._events is None:
            self._import.join()
            from clu import metric_writers

            self._events = metric_writers.SummaryWriter(str(self._folder))
            self._events.write_hparams(dict(self._config))
        return self._events


def read_scalars(path: Path) -> list[dict[str, float]]:
    """The records that a `Writer` wrote; a last line that a killed run left torn is dropped."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


class Progress:
    """How far training is: a bar on a terminal, lines of log elsewhere.

    Args:
      first: step at which this process starts.
      last: step at which it will end.
    """

    def __init__(self, first: int, last: int):
        self._first, self._last = first, last
        self._start = self._told = time.monotonic()
        shown = sys.stderr.isatty()
        self._bar = tqdm(total=last, initial=first, unit="step") if shown else None

    def tell(self, step: int, values: Mapping[str, float]) -> None:
        """Tells that `step` is done; lines of log come ten seconds apart, and at the end."""
        text = "  ".join(f"{name} {value:.3g}" for name, value in values.items())
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(step - self._bar.n)
            return
        now = time.monotonic()
        if step < self._last and now - self._told < 10 and step > self._first + 1:
            return
        self._told = now
        rate = (step - self._first) / (now - self._start)
        left = (self._last - step) / rate
        logging.info(
            "step %d of %d  %s  %.3g steps/s  %s left", step, self._last, text, rate, _clock(left)
        )

    def close(self) -> None:
        """Ends the bar's line."""
        if self._bar is not None:
            self._bar.close()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"


def _import_event_writer() -> None:
    import tensorflow as tf

    # TensorFlow only writes files here; left alone it would take all of an accelerator's memory.
    tf.config.set_visible_devices([], "GPU")
    from clu import metric_writers  # noqa: F401
