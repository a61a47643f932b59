"""A checkout's launchers, as the tests call them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]


def checkout(place: Path) -> Path:
    """Puts the launchers into `place`, with the interpreter of the tests as their environment."""
    shutil.copytree(ROOT / "launch", place / "checkout" / "launch")
    python = place / "checkout" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    # That the package is installed, which takes seconds to find out, need not be asked each time.
    python.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] || PYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"\n'
    )
    python.chmod(0o755)
    return place / "checkout"


def environment(place: Path) -> Mapping[str, str]:
    """For processes that train, with a device each and data below `place`."""
    return os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
        "DIFFPATTERN_DATA": str(place / "data"),
    }


def launch(script: str, place: Path, *arguments: str) -> tuple[int, str, str]:
    """Runs a launcher of the checkout in `place`; returns its exit code, stdout and stderr."""
    done = subprocess.run(
        ["bash", place / "checkout" / "launch" / script, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(place),
    )
    return done.returncode, done.stdout, done.stderr
