"""Runs that are stopped, and what tells that they went on as if they had never been."""

import json
import re
from pathlib import Path

import jax
import numpy as np

from diffpattern.training.checkpoints import Checkpoints
from diffpattern.training.metrics import read_scalars

STEPS, CHECKPOINT_EVERY = 200, 10
# An automaton with a pool, fire masks and averaged weights: everything that a run has to remember.
# Lines of log do not divide the steps between checkpoints.
AUTOMATON = [
    "--config=configs/nca_gray_scott.py",
    "--config.data.shape=(8, 8)",
    "--config.data.interval=2",
    "--config.data.end_time=8",
    "--config.data.train=2",
    "--config.data.validation=1",
    "--config.data.test=1",
    "--config.model.nca.channels=4",
    "--config.model.nca.network.hidden=(8,)",
    "--config.model.nca.steps_per_interval=2",
    "--config.optimiser.optax.warmup_steps=2",
    "--config.optimiser.optax.decay_steps=300",
    "--config.training.batch=4",
    f"--config.training.steps={STEPS}",
    f"--config.training.checkpoint_every={CHECKPOINT_EVERY}",
    "--config.training.log_every=4",
    "--config.evaluation.report=False",
]


def steps(run: Path) -> list[int]:
    """The checkpoints of a run by name, those that are complete."""
    names = [path.name for path in (run / "checkpoints").glob("*")]
    return sorted(int(name) for name in names if re.fullmatch(r"\d+", name))


def rows(run: Path) -> list[dict[str, float | None]]:
    """What a run logged, but for the time it took."""
    return [row | {"seconds": 0} for row in read_scalars(run / "metrics" / "scalars.jsonl")]


def described_leaves(run: Path, step: int) -> dict[str, dict[str, dict[str, str]]]:
    """Of each array of a checkpoint, by item and path: its type, shape and digest."""
    return json.loads((run / "checkpoints" / str(step) / "metadata" / "metadata").read_text())[
        "leaves"
    ]


def assert_same_end(run: Path, whole: Path, step: int = STEPS) -> None:
    """Asserts that a run has the last checkpoint of another, bit for bit, and logged the same.

    What training needs beside the parameters, optimiser and pool, is compared by its digests.
    """
    ends = []
    for path in (run, whole):
        with Checkpoints(path / "checkpoints") as checkpoints:
            ends.append(checkpoints.restore(step=step).parameters)
    leaves = [jax.tree_util.tree_leaves_with_path(end) for end in ends]
    for (path, one), (other_path, other) in zip(*leaves, strict=True):
        assert path == other_path
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes(), path
    described = [described_leaves(path, step) for path in (run, whole)]
    assert described[0] == described[1]
    assert len(described[0]["training_state"]) > 1
    assert rows(run) == rows(whole)
    assert not [path for path in run.rglob(".*") if path.is_file()]
