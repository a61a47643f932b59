"""A trace of some train steps: what the device and the host did, and for how long.

JAX's profiler writes it below the run's folder, as TensorBoard's profile plugin (XProf) reads it,
and as a `.trace.json.gz` that Perfetto opens.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from absl import logging

# The first steps of a session are passed over: they compile, and fill caches.
_BEFORE = 3


class Profile(contextlib.AbstractContextManager):
    """Traces the first steps of a session that are like those to come.

    Args:
      folder: for the trace.
      steps: how many are traced; 0: none, and nothing is written.
    """

    def __init__(self, folder: Path, steps: int):
        self._folder, self._steps = folder, steps
        self._seen = 0
        self._tracing = contextlib.ExitStack()

    def __exit__(self, *exception: object) -> None:
        # Training has ended, or failed, before all were seen.
        self._tracing.close()

    @contextlib.contextmanager
    def step(self, step: int) -> Iterator[list[Any]]:
        """Surrounds a step; what is put into the list is waited for, if the step is traced."""
        self._seen += 1
        place, results = self._seen - _BEFORE, []
        if not 1 <= place <= self._steps:
            yield results
            return
        if place == 1:
            self._tracing.enter_context(jax.profiler.trace(self._folder))
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            yield results
            jax.block_until_ready(results)
        if place == self._steps:
            self._tracing.close()
            logging.info("Traced %d steps up to step %d into %s", self._steps, step, self._folder)
