"""Several processes that train one run together, each with devices of its own.

All of them run the same program. They find one another through a coordinator, a service in process
0, which keeps small texts for them and tells them when one of them ends. Process 0 alone writes
what is written once; what it decides for all is told by `from_first`, and `gather` lets everyone
know what each has to say. In a single process all of this does nothing.

A process that has to end alone would leave the others waiting for it in some sum. So each has a
thread that looks whether one has ended (`end_all`) or has gone silent, and ends its own process
then.
"""

import contextlib
import ctypes
import dataclasses
import hashlib
import itertools
import json
import logging as std_logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from jax._src import distributed

from diffpattern.errors import MENDABLE, REQUEUE, InputError

# Seconds: within which all processes have to be there; between two looks at the others; after which
# a process that gives no sign of life counts as dead; and for which process 0, whose end is the
# coordinator's, waits for the others to end before it.
JOINING, LOOKING, SILENCE, ENDING = 300, 0.5, 20, 10
# After so many seconds without an answer JAX itself gives a process up, or the coordinator, with a
# stack trace; more than SILENCE and ENDING together, whose sentence is to come first.
_HEARTBEATS = 55
# The coordinator's calls want a limit; whoever is waited for may be simulating for hours.
_NO_LIMIT = 7 * 24 * 3600 * 1000
# Said by what sums over processes, when one of them does not answer.
_LOST = "Gloo", "NCCL", "UNAVAILABLE"
_END, _ALIVE, _ENDED = "diffpattern/end", "diffpattern/alive", "diffpattern/ended"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a process stands among the others.

    Attributes:
      coordinator: HOST:PORT of process 0.
      count: how many processes there are.
      number: of this one, from 0.
    """

    coordinator: str
    count: int
    number: int


def of_flags(coordinator: str | None, processes: int | None, process: int | None) -> Place | None:
    """The place that the flags --coordinator, --processes and --process give; None without them.

    Raises:
      InputError: one is missing or cannot be.
    """
    given = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if missing:
        present = [name for name in given if name not in missing]
        raise InputError(
            f"{' and '.join(present)} came without {' and '.join(missing)}; give all of "
            f"{', '.join(given)}, or none."
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(
            f"--coordinator is {coordinator!r}; give the machine of process 0 and a free port "
            "there, such as localhost:12345."
        )
    if processes < 1:
        raise InputError(f"--processes is {processes}; give how many there are, 1 or more.")
    if not 0 <= process < processes:
        raise InputError(
            f"--process is {process}; the {processes} processes are counted from 0 to "
            f"{processes - 1}."
        )
    return Place(coordinator, processes, process)


def of_environment(environment: Mapping[str, str]) -> Place | str | None:
    """What the environment says of several processes; None for a single one.

    Returns:
      The place that JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID give, the last of
      which a pod of a Kubernetes job has as JOB_COMPLETION_INDEX. Or the name of what knows the
      places itself, and tells JAX: a step of "Slurm", or a "Cloud TPU" of several machines.

    Raises:
      InputError: the variables do not give a place.
    """
    if _whole(environment, "JAX_NUM_PROCESSES") > 1:
        number = environment.get("JAX_PROCESS_ID", environment.get("JOB_COMPLETION_INDEX", ""))
        address = environment.get("JAX_COORDINATOR_ADDRESS")
        if not address or not number.isdecimal():
            raise InputError(
                "JAX_NUM_PROCESSES came without JAX_COORDINATOR_ADDRESS and JAX_PROCESS_ID (or "
                "Kubernetes' JOB_COMPLETION_INDEX); set all three, or none."
            )
        return of_flags(address, int(environment["JAX_NUM_PROCESSES"]), int(number))
    if _whole(environment, "SLURM_STEP_NUM_TASKS") > 1:
        return "Slurm"
    workers = environment.get("TPU_WORKER_HOSTNAMES", "").count(",") + 1
    if workers > 1 or _whole(environment, "MEGASCALE_NUM_SLICES") > 1:
        return "Cloud TPU"
    return None


def join(place: Place | None) -> None:
    """Joins the other processes, before any device is touched.

    Args:
      place: of this process; None: the environment's, where a cluster has started several.

    Raises:
      InputError: the environment does not tell enough.
    """
    place = place or of_environment(os.environ)
    if place is None or isinstance(place, Place) and place.count == 1:
        return
    options: dict[str, Any] = {
        "initialization_timeout": 2 * JOINING,
        "heartbeat_timeout_seconds": _HEARTBEATS,
    }
    told = f"processes of {place}"
    if isinstance(place, Place):
        told = f"{place.count} processes at {place.coordinator}"
        options |= {
            "coordinator_address": place.coordinator,
            "num_processes": place.count,
            "process_id": place.number,
            "cluster_detection_method": "deactivate",
        }

    def late() -> None:
        _say(
            f"Not all of the {told} have come within {JOINING} s; start each with a --process of "
            "its own, where the coordinator's machine and port can be reached."
        )
        os._exit(MENDABLE)

    # Who connects to whom is of no interest; nor would JAX's own end be, which is a stack trace.
    std_logging.getLogger("jax._src.distributed").setLevel(std_logging.WARNING)
    timer = threading.Timer(JOINING, late)
    timer.daemon = True
    timer.start()
    try:
        jax.distributed.initialize(**options)
    except (RuntimeError, ValueError, OSError, KeyError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InputError(
            f"The {told} cannot be joined ({type(error).__name__}: {reason}); --coordinator, "
            "--processes and --process say where they are, which takes a free port of process 0."
        ) from error
    finally:
        timer.cancel()
    if count() > 1:
        _Lookout().start()
        if not is_first():
            _tell_if_the_coordinator_is_gone()


def count() -> int:
    """How many processes there are; touches no device."""
    return distributed.global_state.num_processes if distributed.global_state.client else 1


def number() -> int:
    """Which of them this is, from 0; touches no device."""
    return distributed.global_state.process_id if distributed.global_state.client else 0


def is_first() -> bool:
    """Whether this is the process that writes what is written once."""
    return number() == 0


def gather(text: str) -> list[str]:
    """What each process has to say, by its number. All processes call it, in the same order."""
    if count() == 1:
        return [text]
    name = f"diffpattern/said/{next(_GATHERED)}"
    _client().key_value_set(f"{name}/{number()}", text)
    return [
        _client().blocking_key_value_get(f"{name}/{process}", _NO_LIMIT)
        for process in range(count())
    ]


def from_first(value: Any) -> Any:
    """What process 0 has for `value`, which JSON can hold. All call it, in the same order."""
    if count() == 1:
        return value
    name = f"diffpattern/first/{next(_TOLD)}"
    if is_first():
        _client().key_value_set(name, json.dumps(value))
        return value
    return json.loads(_client().blocking_key_value_get(name, _NO_LIMIT))


def wait_for_all() -> None:
    """Returns when all processes have called it."""
    gather("")


@contextlib.contextmanager
def first_goes_first() -> Iterator[None]:
    """Lets process 0 through the block before the others, who then find what it made."""
    if not is_first():
        from_first(None)
    yield
    if is_first():
        from_first(None)


def require_same(what: str, value: Any, remedy: str) -> None:
    """Refuses a value that is not the same in all processes.

    Args:
      what: it is.
      value: as JSON can hold it.
      remedy: what would do, as an end of the sentence.

    Raises:
      InputError: naming the first process that differs from process 0.
    """
    told = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
    everyone = gather(told)
    for process, other in enumerate(everyone):
        if other != everyone[0]:
            raise InputError(f"Process {process} has another {what} than process 0; {remedy}.")


def cores(own: set[int]) -> int:
    """How many cores this process may count on, since others on its machine have the same ones.

    The least of all processes, so that all make as many devices of theirs.

    Args:
      own: the numbers of the cores that this process may run on.
    """
    here = socket.gethostname()
    everyone = [json.loads(text) for text in gather(json.dumps([here, sorted(own)]))]

    def share(host: str, cores: list[int]) -> int:
        sharing = [other for machine, other in everyone if machine == host]
        overlapping = sum(bool(set(cores) & set(other)) for other in sharing)
        return max(1, len(cores) // overlapping)

    return min(share(*process) for process in everyone)


def end_all(sentence: str, code: int) -> None:
    """Ends this process and all others, telling why: once, by the first that has to."""
    if count() == 1:
        _say(sentence)
        if code == REQUEUE:
            # A signal came in the midst of anything. Python's own end, which takes apart what
            # XLA's threads may still be at, was seen to crash then.
            _end(code)
        sys.exit(code)
    try:
        _client().key_value_set(_END, str(code))
        _say(sentence)
    except jax.errors.JaxRuntimeError:
        # Another one was first, and told the reason for all; or the coordinator is gone.
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            if ended := _found(_END):
                _end(int(ended))
        _say(sentence)
    _end(code)


def end_now(sentence: str, code: int) -> None:
    """`end_all` from any thread, whether the main thread and the coordinator answer or not."""
    _say(sentence)
    if count() > 1:
        timer = threading.Timer(ENDING, os._exit, (code,))
        timer.daemon = True
        timer.start()
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            _client().key_value_set(_END, str(code))
    _end(code)


def end_defective() -> None:
    """Ends all processes after an exception that is being handled, telling it as Python does.

    What comes of the death of another process is told in a sentence.
    """
    error = sys.exception()
    if comes_of_a_loss(error):
        reason = f"{type(error).__name__}: {error}".partition("\n")[0].rstrip(".")
        end_all(
            f"Another process cannot be reached, and has died or lost its network ({reason}); the "
            "same command with the same --workdir goes on from the last checkpoint.",
            REQUEUE,
        )
    end_all(traceback.format_exc(), 1)


def comes_of_a_loss(error: BaseException) -> bool:
    """Whether an error came up because another process has died or cannot be reached."""
    if count() == 1:
        return False
    return any(sign in str(error) for sign in _LOST) or _somebody_is_gone()


def _somebody_is_gone() -> bool:
    """Whether a process gives no signs of life just now, or the coordinator does not answer."""
    try:
        signs = lambda: [_found(f"{_ALIVE}/{process}") for process in range(count())]
        before = signs()
        time.sleep(20 * LOOKING)
        return any(one == other for one, other in zip(before, signs(), strict=True))
    except (jax.errors.JaxRuntimeError, AttributeError):
        return True


def leave() -> None:
    """Parts from the others when all have come here; nothing in common may follow."""
    if count() == 1:
        return
    wait_for_all()
    _LEAVING.set()
    jax.distributed.shutdown()


class _Lookout(threading.Thread):
    """Gives signs of life, and ends this process when another one has ended or has gone silent."""

    def __init__(self):
        super().__init__(daemon=True)
        # Of each process that is looked after: its last sign, and when it was seen to be new.
        watched = range(1, count()) if is_first() else [0]
        self._signs = {process: ("", time.monotonic()) for process in watched}
        # How often the coordinator has answered everything that was asked.
        self._answers = 0

    def run(self) -> None:
        if not is_first():
            threading.Thread(target=self._watch_coordinator, daemon=True).start()
        signs = itertools.count()
        while not _LEAVING.wait(LOOKING):
            try:
                _client().key_value_set(f"{_ALIVE}/{number()}", str(next(signs)), True)
                if ended := _found(_END):
                    if int(ended) == REQUEUE:
                        # Told to stop, all end by themselves, each when it has written its part.
                        _LEAVING.wait(ENDING)
                    _end(int(ended))
                silent = [process for process in self._signs if self._is_silent(process)]
                self._answers += 1
            except (jax.errors.JaxRuntimeError, AttributeError):
                # The coordinator is gone, or this process is leaving; JAX sees to the former.
                continue
            if silent:
                end_all(_silence_of(silent[0]), REQUEUE)

    def _watch_coordinator(self) -> None:
        """Another thread: this one waits as long as a stopped process 0 leaves it without answer.

        It counts its own looks, so that no time counts for which this process itself was stopped.
        """
        answers, unanswered = 0, 0
        while not _LEAVING.wait(LOOKING):
            unanswered = unanswered + 1 if answers == self._answers else 0
            answers = self._answers
            if unanswered * LOOKING > SILENCE:
                end_now(_silence_of(0), REQUEUE)

    def _is_silent(self, process: int) -> bool:
        before, since = self._signs[process]
        sign, now = _found(f"{_ALIVE}/{process}"), time.monotonic()
        if sign != before:
            self._signs[process] = sign, now
            return False
        return now - since > SILENCE


def _tell_if_the_coordinator_is_gone() -> None:
    """Has a sentence told and `REQUEUE` returned where JAX aborts for want of its coordinator.

    It does so in a thread of its own as soon as process 0 dies, and lets nobody have a say but a
    handler of the signal that `abort` raises. Python's own handlers run in the main thread, which
    may be waiting for ever; so this one is C's.
    """
    host, _, port = distributed.global_state.coordinator_address.rpartition(":")

    def aborted(_: int) -> None:
        try:
            socket.create_connection((host.strip("[]"), int(port)), ENDING).close()
        except OSError:
            _say(
                f"Process 0, at {host}, has died or cannot be reached; the same command with the "
                "same --workdir goes on from the last checkpoint."
            )
            sys.stderr.flush()
            os._exit(REQUEUE)
        # Another reason, which has been told; to return is to abort.

    _HANDLERS.append(ctypes.CFUNCTYPE(None, ctypes.c_int)(aborted))
    ctypes.CDLL(None).signal(signal.SIGABRT, _HANDLERS[-1])


def _silence_of(process: int) -> str:
    return (
        f"Process {process} has given no sign of life for {SILENCE} s; the same command with the "
        "same --workdir goes on from the last checkpoint."
    )


# What C may call as long as the process lives.
_HANDLERS: list[Any] = []
_GATHERED, _TOLD = itertools.count(), itertools.count()
_LEAVING = threading.Event()
# Taken by the thread that ends this process and never given back; once more by a signal's handler
# that interrupts that thread to do the same.
_ENDS = threading.RLock()


def _client() -> Any:
    return distributed.global_state.client


def _found(name: str) -> str:
    """What the coordinator keeps under a name, empty if nothing."""
    try:
        return _client().key_value_try_get(name)
    except jax.errors.JaxRuntimeError as error:
        if "NOT_FOUND" in str(error):
            return ""
        raise


def _end(code: int) -> None:
    """Ends this process at once: threads of XLA may be waiting for others who never come.

    Another thread that has to end it too waits here: what is written at a process's end, such as
    the lines that coverage has seen, does not bear two that write.
    """
    _ENDS.acquire()
    if count() > 1:
        _end_after_the_others()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _end_after_the_others() -> None:
    """Tells that this process ends; in process 0, which is the coordinator's, waits for theirs."""
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        _client().key_value_set(f"{_ENDED}/{number()}", "", True)
        if is_first():
            limit = time.monotonic() + ENDING
            for process in range(1, count()):
                left = max(1, round(1000 * (limit - time.monotonic())))
                with contextlib.suppress(jax.errors.JaxRuntimeError):
                    _client().blocking_key_value_get(f"{_ENDED}/{process}", left)
            time.sleep(LOOKING)


def _say(sentence: str) -> None:
    """Tells a sentence; a traceback as it is."""
    told = sentence if sentence.startswith("Traceback") else f"diffpattern: {sentence}"
    print(told, file=sys.stderr, flush=True)


def _whole(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name, "")
    return int(value) if value.isdecimal() else 0
