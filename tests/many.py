"""Several real processes, as a user starts them on one machine."""

import contextlib
import dataclasses
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

ROOT = Path(__file__).parents[1]


@dataclasses.dataclass
class Ended:
    """How a process ended, and what it wrote."""

    code: int
    output: str
    errors: str


class Started:
    """Python processes that are to find one another.

    Args:
      arguments: of Python, for each process; {port} stands for a port that was free.
      devices: that each process makes of its CPU.
    """

    def __init__(self, arguments: Sequence[Sequence[str]], devices: int = 1):
        environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "NPROC")}
        environment |= {
            "JAX_PLATFORMS": "cpu",
            "NPROC": "16",
            "XLA_FLAGS": compiling.flags(devices),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        }
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        self._open = contextlib.ExitStack()
        file = lambda: self._open.enter_context(tempfile.TemporaryFile("w+"))  # noqa: SIM115
        self._files = [(file(), file()) for _ in arguments]
        self.processes = [
            subprocess.Popen(
                [sys.executable, *(word.replace("{port}", str(port)) for word in words)],
                stdout=output,
                stderr=errors,
                env=environment,
                cwd=ROOT,
            )
            for words, (output, errors) in zip(arguments, self._files, strict=True)
        ]

    def __enter__(self) -> "Started":
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
        self._open.close()

    def ended(self, timeout: float = 300) -> list[Ended]:
        """Waits for all of them."""
        for process in self.processes:
            process.wait(timeout)
        told = []
        for process, files in zip(self.processes, self._files, strict=True):
            for file in files:
                file.seek(0)
            told.append(Ended(process.returncode, *(file.read() for file in files)))
        return told


def of_script(script: str, count: int, *arguments: Any, devices: int = 1) -> list[Ended]:
    """Runs a script in several processes, which have joined: see `joined` for what they know."""
    program = f"import many\nmany.joined()\n{script}"
    words = [
        ["-c", program, "localhost:{port}", str(count), str(number), *map(str, arguments)]
        for number in range(count)
    ]
    with Started(words, devices) as started:
        return started.ended()


def joined() -> None:
    """In a process of `of_script`: joins; leaves the script's own arguments in `sys.argv`."""
    from diffpattern.parallel import processes

    _, coordinator, count, number, *rest = sys.argv
    sys.argv[1:] = rest
    processes.join(processes.Place(coordinator, int(count), int(number)))


def runs(count: int, *flags: str, devices: int = 1, of_one: Sequence[str] = ()) -> Started:
    """Starts `diffpattern.main` in several processes, or alone where `count` is 1.

    Args:
      count: of the processes.
      flags: of all.
      devices: that each process makes of its CPU.
      of_one: further flags of the last process.
    """
    joining = ["--coordinator=localhost:{port}", f"--processes={count}"] if count > 1 else []
    words = []
    for number in range(count):
        own = [*joining, f"--process={number}"] if joining else []
        further = of_one if number == count - 1 else ()
        words.append(["-m", "diffpattern.main", *flags, *own, *further])
    return Started(words, devices)
