"""The command line in processes that are forked off one that has imported it, to be stopped."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import compiling

ROOT = Path(__file__).parents[1]

# Answers each line of JSON: a list of arguments and a path with the process that runs them, whose
# output goes there; a process with its exit code, once it has ended.
_SERVER = """
import json, os, runpy, signal, sys
# What a run imports while it compiles: every fork has it already.
import tensorflow, clu.metric_writers
from diffpattern import evaluate, start_up, train
for line in sys.stdin:
    order = json.loads(line)
    if isinstance(order, int):
        print(os.waitstatus_to_exitcode(os.waitpid(order, 0)[1]), flush=True)
        continue
    arguments, path = order
    child = os.fork()
    if child == 0:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.argv[1:] = arguments
        try:
            runpy.run_module("diffpattern.main", run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as error:
            code = error.code or 0
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(child, flush=True)
"""


class Server:
    """Starts processes of the command line.

    Args:
      folder: for what they print, and for their data.
      devices: virtual ones of each.
    """

    def __init__(self, folder: Path, devices: int = 1):
        ours = ("XLA_FLAGS", "NPROC", "OPENBLAS_NUM_THREADS", "TF_CPP_MIN_LOG_LEVEL")
        plain = {name: value for name, value in os.environ.items() if name not in ours}
        self._folder, self._count = folder, 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=plain
            | {
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "XLA_FLAGS": compiling.flags(devices),
                "DIFFPATTERN_DATA": str(folder / "data"),
            },
        )

    def start(self, *arguments: Any) -> "Forked":
        """A process with these arguments."""
        self._count += 1
        path = self._folder / f"output-{self._count}"
        path.touch()
        return Forked(self, self.ask([[str(argument) for argument in arguments], str(path)]), path)

    def run(self, *arguments: Any) -> "Forked":
        """A process that has ended, with exit code 0."""
        process = self.start(*arguments)
        assert process.wait() == 0, process.output()
        return process

    def ask(self, order: Any) -> int:
        """What the server answers."""
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """Ends the server, not what it started."""
        self._process.stdin.close()
        self._process.wait()


class Forked:
    """A process of the command line."""

    def __init__(self, server: Server, number: int, path: Path):
        self._server, self._number, self._path = server, number, path
        self._code: int | None = None

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; one that has ended takes no notice."""
        if self._code is None:
            os.kill(self._number, number)

    def output(self) -> str:
        """What it has printed so far."""
        return self._path.read_text(errors="replace")

    def told(self) -> list[str]:
        """The sentences that a person is to read, but for the log."""
        return [line for line in self.output().splitlines() if line.startswith("diffpattern: ")]

    def wait(self) -> int:
        """The exit code, negative for the signal that ended it."""
        if self._code is None:
            self._code = self._server.ask(self._number)
        return self._code

    def wait_for(self, pattern: str, seconds: float = 120) -> None:
        """Returns as soon as it has printed what matches."""
        wait_until(lambda: re.search(pattern, self.output()), seconds, self.output)


def wait_until(condition, seconds: float = 120, tell=lambda: "") -> None:
    """Returns as soon as a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, tell()
        time.sleep(0.01)
