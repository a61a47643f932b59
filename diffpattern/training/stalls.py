"""A watch that ends a run whose train step stalls, since nobody looks at a run for days.

A device that hangs, a disk that does not answer, another process that never comes to a common sum:
each leaves the main thread waiting for ever, in the middle of something that cannot be interrupted.
So a thread looks at the clock, and ends the process.
"""

import collections
import contextlib
import statistics
import threading
import time
from collections.abc import Iterator

from diffpattern.errors import UNAVAILABLE
from diffpattern.parallel import processes

# Steps before there is a median to compare with, and over how many of the last ones it is taken.
_FEWEST, _MOST = 3, 101


class Stalls(contextlib.AbstractContextManager):
    """Ends the process, with exit code `UNAVAILABLE`, when a step takes much longer than others.

    A step is what happens within `step`. The trainer waits there for the results of the step
    before, so that its steps, which run in the background, last as long there as on the device.
    Time for which the process itself was stopped (Ctrl-Z, a debugger) does not count.

    Args:
      factor: times the median step that a step may take; 0 watches nothing.
      least: seconds that any step may take.
    """

    def __init__(self, factor: float, least: float):
        self._factor, self._least = factor, least
        # Seconds between two looks at the clock.
        self._tick = min(1.0, least / 10)
        self._taken: collections.deque[float] = collections.deque(maxlen=_MOST)
        self._kinds: set[object] = set()
        # The step that goes on, and the seconds that it may take.
        self._going: tuple[int, float, float] | None = None
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Stalls":
        if self._factor:
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._leaving.set()
        if self._factor:
            self._thread.join()

    @contextlib.contextmanager
    def step(self, step: int, kind: object = None) -> Iterator[None]:
        """Watches a step.

        Args:
          step: its number.
          kind: steps of one kind take equally long, but for the first, which is compiled and not
            watched.
        """
        if kind not in self._kinds:
            self._kinds.add(kind)
            self._taken.clear()
            yield
            return
        if len(self._taken) >= _FEWEST:
            median = statistics.median(self._taken)
            self._going = step, max(self._factor * median, self._least), median
        began = time.monotonic()
        try:
            yield
        finally:
            self._going = None
        self._taken.append(time.monotonic() - began)

    def _look(self) -> None:
        """The thread."""
        seen, waited, last = None, 0.0, time.monotonic()
        while not self._leaving.wait(self._tick):
            going, now = self._going, time.monotonic()
            # A longer pause between two looks is one of the whole process.
            waited = waited + min(now - last, 2 * self._tick) if going is seen else 0.0
            seen, last = going, now
            if going is not None and waited > going[1]:
                self._end(going[0], waited, going[2])

    def _end(self, step: int, seconds: float, median: float) -> None:
        """Tells what happened and ends the process, whatever its other threads wait for."""
        fields = f"training.stall_factor is {self._factor:g}, .stall_seconds {self._least:g}"
        processes.end_now(
            f"Step {step} has been going on for {seconds:.3g} s, where the median one took "
            f"{median:.2g} s, so something does not answer ({fields}); the same command with the "
            "same --workdir goes on from the last checkpoint.",
            UNAVAILABLE,
        )
