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

# Answers each line of JSON: an order with the process that carries it out; a process with its exit
# code, or null while it runs.
_SERVER = """
import json, os, runpy, sys
# What a run imports while it compiles: every fork has it already.
import tensorflow, clu.metric_writers
from diffpattern import evaluate, start_up, train
from tests import hindered
for line in sys.stdin:
    order = json.loads(line)
    if isinstance(order, int):
        ended, status = os.waitpid(order, os.WNOHANG)
        print(json.dumps(os.waitstatus_to_exitcode(status) if ended else None), flush=True)
        continue
    child = os.fork()
    if child == 0:
        for number, name in ((1, "output"), (2, "errors")):
            os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        os.environ.update(order["environment"])
        sys.argv[1:] = order["arguments"]
        hindered.hinder(**order["hindered"])
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
    """

    def __init__(self, folder: Path):
        ours = ("XLA_FLAGS", "NPROC", "OPENBLAS_NUM_THREADS", "TF_CPP_MIN_LOG_LEVEL")
        plain = {name: value for name, value in os.environ.items() if name not in ours}
        # They take a few steps each: XLA's optimisations would take longer than the steps.
        quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._folder, self._count = folder, 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=plain | quick | {"DIFFPATTERN_DATA": str(folder / "data")},
        )

    def start(
        self, *arguments: Any, devices: int = 1, apart: bool = False, **hindered: Any
    ) -> "Forked":
        """A process with these arguments and so many devices of its CPU.

        Its stdout and stderr are one text, or two `apart`. It is hindered as `hindered.hinder` has
        it.
        """
        self._count += 1
        output = self._folder / f"output-{self._count}"
        errors = self._folder / f"errors-{self._count}" if apart else output
        for path in (output, errors):
            path.touch()
        order = {
            "arguments": [str(argument) for argument in arguments],
            "output": str(output),
            "errors": str(errors),
            "environment": {"XLA_FLAGS": compiling.flags(devices)},
            "hindered": hindered,
        }
        return Forked(self, self.ask(order), output, errors)

    def run(self, *arguments: Any) -> "Forked":
        """A process that has ended, with exit code 0."""
        process = self.start(*arguments)
        assert process.wait() == 0, process.output()
        return process

    def ask(self, order: Any) -> int | None:
        """What the server answers."""
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Ends the server, not what it started."""
        self._process.kill()  # it would take seconds to tidy up after all that it has imported
        self._process.communicate()


class Forked:
    """A process of the command line; what it shares with `subprocess.Popen` is as there."""

    def __init__(self, server: Server, number: int, output: Path, errors: Path):
        self._server, self._number = server, number
        self._output, self._errors = output, errors
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for the signal that ended it; None while it runs."""
        if self.returncode is None:
            self.returncode = self._server.ask(self._number)
        return self.returncode

    def wait(self, timeout: float = 300) -> int:
        """The exit code, once it has ended."""
        wait_until(lambda: self.poll() is not None, timeout, self.output)
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal; one that has ended takes no notice."""
        if self.poll() is None:
            os.kill(self._number, number)

    def output(self) -> str:
        """What it has printed so far, on stdout if that is apart."""
        return self._output.read_text(errors="replace")

    def error_output(self) -> str:
        """What it has printed so far on stderr."""
        return self._errors.read_text(errors="replace")

    def told(self) -> list[str]:
        """The sentences that a person is to read, but for the log."""
        return [
            line for line in self.error_output().splitlines() if line.startswith("diffpattern: ")
        ]

    def wait_for(self, pattern: str, seconds: float = 120) -> None:
        """Returns as soon as it has printed what matches."""
        wait_until(lambda: re.search(pattern, self.output()), seconds, self.output)


def wait_until(condition, seconds: float = 120, tell=lambda: "") -> None:
    """Returns as soon as a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, tell()
        time.sleep(0.01)
