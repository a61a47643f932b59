"""Runs whose checkpoints are kept, one of each kind of training state, in tests/runs/format_N.

    PYTHONPATH=tests python tests/kept_checkpoints.py

adds those of today's format, if there are none yet. They are never made anew: what they are for is
that later code restores them.
"""

import os
import shutil
import tempfile
from pathlib import Path

import jax
import numpy as np
import tiny
import tiny_runs

import diffpattern
from diffpattern import train
from diffpattern.files import npz
from diffpattern.run_folder import RunFolder
from diffpattern.training import averaging
from diffpattern.training.checkpoints import FORMAT, Checkpoints
from diffpattern.training.step import TrainState

HERE = Path(__file__).parent / "runs"
_SHORT = {"data.train": 3, "training.steps": 2, "training.batch": 2, "mesh.data": 1}
RUNS = {
    "least_squares": tiny_runs.LEAST_SQUARES | _SHORT,
    "pool": tiny_runs.POOL | _SHORT | {"optimiser.optax.average_decay": 0.5},
}


def training_state(folder: Path) -> tuple[tiny.Run, TrainState]:
    """A run like that in a folder, and the state in which that one ended."""
    loaded = diffpattern.load(folder)
    run = tiny.Run(loaded.config, loaded.test[0], 1)
    begun = averaging.exchanged(run.state)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        found = checkpoints.restore(
            begun.parameters, (begun.step, begun.optimiser, begun.pool), step=loaded.step
        )
    step, optimiser, pool = found.training_state
    return run, averaging.exchanged(TrainState(step, found.parameters, optimiser, pool))


def numbers(tree) -> np.ndarray:
    """All numbers of a tree, in a row."""
    leaves = [np.asarray(leaf, np.float64).reshape(-1) for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves)


def keep(name: str, folder: Path) -> None:
    """Trains one of the runs, and keeps of it what is needed to load it, and what came of it."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["DIFFPATTERN_DATA"] = scratch
        train.train_and_evaluate(tiny.config(**tiny_runs.FIELDS | RUNS[name]), RunFolder(folder))
    for path in folder.iterdir():
        if path.name not in ("config.json", "data", "checkpoints"):
            path.unlink() if path.is_file() else shutil.rmtree(path)
    for step in (folder / "checkpoints").iterdir():
        if step.name != str(RUNS[name]["training.steps"]):
            shutil.rmtree(step)
    run = diffpattern.load(folder)
    starts, times = run.test[0].values[:, 0], run.test[0].times
    expected = {
        "parameters": numbers(run.params),
        "state": numbers(training_state(folder)[1]),
        "predicted": run.rollout(starts, times),
    }
    (folder / "expected.npz").write_bytes(npz(**expected))


if __name__ == "__main__":
    for name in RUNS:
        if not (place := HERE / f"format_{FORMAT}" / name).exists():
            keep(name, place)
