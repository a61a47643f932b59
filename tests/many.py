"""Several real processes on one machine, which find one another."""

import atexit
import dataclasses
import functools
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import compiling
from forked import Forked, Server

ROOT = Path(__file__).parents[1]


@dataclasses.dataclass
class Ended:
    """How a process ended, and what it wrote."""

    code: int
    output: str
    errors: str


class Started:
    """Processes that are to find one another; those left at the end of the block are killed."""

    def __init__(self, processes: Sequence["Python | Forked"]):
        self.processes = processes

    def __enter__(self) -> "Started":
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
        for process in self.processes:
            process.wait()

    def ended(self, timeout: float = 300) -> list[Ended]:
        """Waits for all of them."""
        return [
            Ended(process.wait(timeout), process.output(), process.error_output())
            for process in self.processes
        ]


class Python(subprocess.Popen):
    """A Python process with a script of a test's own."""

    def __init__(self, arguments: Sequence[str], devices: int):
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "NPROC": "16",
            "XLA_FLAGS": compiling.flags(devices),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        }
        self._output, self._errors = (tempfile.NamedTemporaryFile() for _ in range(2))  # noqa: SIM115
        super().__init__(
            [sys.executable, *arguments],
            stdout=self._output,
            stderr=self._errors,
            env=environment,
            cwd=ROOT,
        )

    def output(self) -> str:
        """What it has printed so far on stdout."""
        return Path(self._output.name).read_text()

    def error_output(self) -> str:
        """What it has printed so far on stderr."""
        return Path(self._errors.name).read_text()


def free_port() -> int:
    """A port that nobody listens to."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def of_script(script: str, count: int, *arguments: Any, devices: int = 1) -> list[Ended]:
    """Runs a script in several processes, which have joined: see `joined` for what they know."""
    program, coordinator = f"import many\nmany.joined()\n{script}", f"localhost:{free_port()}"
    words = [coordinator, str(count), *map(str, arguments)]
    processes = [Python(["-c", program, str(number), *words], devices) for number in range(count)]
    with Started(processes) as started:
        return started.ended()


def joined() -> None:
    """In a process of `of_script`: joins; leaves the script's own arguments in `sys.argv`."""
    from diffpattern.parallel import processes

    _, number, coordinator, count, *rest = sys.argv
    sys.argv[1:] = rest
    processes.join(processes.Place(coordinator, int(count), int(number)))


def runs(count: int, *flags: str, devices: int = 1, of_one: Sequence[str] = ()) -> Started:
    """Starts `diffpattern.main` in several processes, or alone where `count` is 1.

    They are forked off one that has imported it, which saves each the seconds that imports take.

    Args:
      count: of the processes.
      flags: of all.
      devices: that each process makes of its CPU.
      of_one: further flags of the last process.
    """
    joining = []
    if count > 1:
        joining = [f"--coordinator=localhost:{free_port()}", f"--processes={count}"]
    processes = []
    for number in range(count):
        own = [*joining, f"--process={number}"] if joining else []
        further = of_one if number == count - 1 else ()
        processes.append(_server().start(*flags, *own, *further, devices=devices, apart=True))
    return Started(processes)


@functools.cache
def _server() -> Server:
    """For all runs of the tests in this process."""
    folder = tempfile.TemporaryDirectory()
    server = Server(Path(folder.name))
    atexit.register(folder.cleanup)
    atexit.register(server.close)
    return server
