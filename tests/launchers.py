"""A checkout's launchers, as the tests call them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import compiling
import pytest

ROOT = Path(__file__).parents[1]
# The second combination fails as it starts, for it has no snapshots for such a window.
CONFIG = """
from diffpattern import sweeps
from diffpattern.configs import pde

def get_config():
    config = pde.get_config()
    config.data.shape = (8, 8)
    config.data.interval = 2.0
    config.data.end_time = 8.0
    config.data.train = config.data.test = 2
    config.data.validation = 1
    config.model.rda.polynomial.order = 1
    config.optimiser.derivative_steps = 0
    config.training.batch = 2
    config.training.steps = 2
    config.evaluation.report = False
    return config

def get_sweep():
    return sweeps.zipped({"seed": [5, 6, 7], "training.window": [1, 99, 2]})
"""
# Enough steps for a run to be stopped among them.
STEPS = 1000
LONG = [f"--config.training.{field}" for field in (f"steps={STEPS}", "log_every=10")]
LONG.append("--config.training.checkpoint_every=500")


def make_place(factory: pytest.TempPathFactory) -> Path:
    """A folder with the config and a checkout, which has the tests' interpreter."""
    place = factory.mktemp("place")
    (place / "tiny.py").write_text(CONFIG)
    shutil.copytree(ROOT / "launch", place / "checkout" / "launch")
    python = place / "checkout" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    # That the package is installed, which takes seconds to find out, need not be asked each time.
    python.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] || PYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"\n'
    )
    python.chmod(0o755)
    return place


def environment(place: Path) -> Mapping[str, str]:
    """For processes that train, with a device each and data below `place`."""
    return os.environ | {
        "XLA_FLAGS": compiling.flags(1),
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
