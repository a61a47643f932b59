"""What SIGTERM does to a run: it ends soon, with nothing lost that was trained.

Between two train steps a run saves a checkpoint and ends; anywhere else it has nothing to lose, and
ends at once. Either way the exit code asks for the same command again (`errors.REQUEUE`).

The signal is read by a thread, from a pipe that Python's own C handler writes to, since the main
thread may be deep in XLA, where no handler written in Python can run.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.experimental import multihost_utils

from diffpattern.errors import REQUEUE, StopSignal
from diffpattern.parallel import processes

# Seconds within which the main thread has to end where there is nothing to save.
GRACE = 10
# In the pipe, where signals are bytes of their numbers.
_SWALLOWED = b"\0"
_AGAIN = "the same command with the same --workdir goes on from the last checkpoint."


class Interruption(contextlib.AbstractContextManager):
    """Listens to SIGTERM; to be entered in the main thread, once the processes have joined.

    The first signal raises `StopSignal` in the main thread or, within `steps`, makes `reached`
    true. The second one ends the process.

    With several processes `jax.distributed` listens to SIGTERM, and Python would hear nothing of
    it. So the signal is taken back, and handed on to where JAX would have got it: then all
    processes find, by `reached`, the same step to stop at, whichever of them was told.
    """

    def __init__(self):
        self._told = threading.Event()
        # Whether train steps are going on, and how many of them are done.
        self._stepping, self._done = False, 0
        self._hand_on: Callable[[int], None] = lambda number: None

    def __enter__(self) -> "Interruption":
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._hand_on = _other_handler()
        self._before = signal.signal(signal.SIGTERM, self._handle)
        self._pipe_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._hook_before, sys.unraisablehook = sys.unraisablehook, self._note_swallowed
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGTERM, self._before)
        signal.set_wakeup_fd(self._pipe_before)
        sys.unraisablehook = self._hook_before
        os.close(self._writer)  # which ends the thread
        self._thread.join()
        os.close(self._reader)

    @contextlib.contextmanager
    def steps(self) -> Iterator[None]:
        """Where train steps go on, after each of which `reached` is asked.

        Raises:
          StopSignal: on leaving it, if the signal came since `reached` was last asked.
        """
        self._stepping = True
        try:
            yield
        finally:
            self._stepping = False
        if self._told.is_set():
            raise StopSignal(f"Told to stop; {_AGAIN}")

    def reached(self) -> bool:
        """Whether to save and stop after the step that is just done; the same in all processes."""
        self._done += 1
        if not jax.distributed.is_initialized():
            return self._told.is_set()
        # Steps are counted from the start of the process: JAX takes the largest count among the
        # processes, where those that have not asked yet count 0, and adds one.
        return multihost_utils.reached_preemption_sync_point(self._done)

    @property
    def _can_wait(self) -> bool:
        """Whether the next call of `reached` is to be waited for.

        Until the first step is compiled and done there is nothing to save. But the other processes
        would wait in vain for one that ends by itself.
        """
        return self._stepping and (self._done > 0 or jax.distributed.is_initialized())

    def _handle(self, number: int, frame: object) -> None:
        """Python's handler, in the main thread, whenever that comes back to Python."""
        self._told.set()
        if not self._can_wait:
            raise StopSignal(f"Told to stop; {_AGAIN}")

    def _note_swallowed(self, unraisable: Any) -> None:
        """Has the signal sent again that came in a callback, which no exception gets out of."""
        if isinstance(unraisable.exc_value, StopSignal):
            os.write(self._writer, _SWALLOWED)
        else:
            self._hook_before(unraisable)

    def _listen(self) -> None:
        """The thread: told at once."""
        heard, repeated, end = False, 0, None
        while True:
            left = None if end is None else max(end - time.monotonic(), 0)
            ready, _, _ = select.select([self._reader], [], [], left)
            if not ready:
                processes.end_now(f"Told to stop; {_AGAIN}", REQUEUE)
            signals = os.read(self._reader, 64)
            if not signals:
                return
            for number in signals:
                if number == _SWALLOWED[0]:
                    time.sleep(0.01)  # until the callback is over
                    repeated += 1
                    signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
                elif number == signal.SIGTERM and repeated:
                    repeated -= 1
                elif number == signal.SIGTERM:
                    if heard:
                        processes.end_now(f"Told to stop a second time; {_AGAIN}", REQUEUE)
                    heard = True
                    self._told.set()
                    self._hand_on(number)
                    end = None if self._can_wait else time.monotonic() + GRACE


def _other_handler() -> Callable[[int], None]:
    """What hands a SIGTERM on to the handler of `jax.distributed`; nothing, where that has none.

    JAX sets it below Python, which goes on showing its own. It only notes that the signal came, for
    a thread that looks once a second, so that it may be called from anywhere.
    """
    if not jax.distributed.is_initialized():
        return lambda number: None
    library = ctypes.CDLL(None)
    library.signal.restype = ctypes.c_void_p
    library.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    theirs = library.signal(signal.SIGTERM, None)
    python = signal.signal(signal.SIGTERM, lambda number, frame: None)
    ours = library.signal(signal.SIGTERM, None)
    signal.signal(signal.SIGTERM, python)
    if theirs in (None, 1, ours):  # the default, ignored, or Python's own
        return lambda number: None
    return ctypes.CFUNCTYPE(None, ctypes.c_int)(theirs)
