"""The smallest runs that go all the way: what the tests of training and evaluation share."""

import hashlib
from pathlib import Path
from typing import Any

import tiny

from diffpattern import train
from diffpattern.run_folder import RunFolder

FIELDS = {
    "data.shape": (8, 8),
    "data.interval": 2.0,
    "data.end_time": 8.0,
    "data.train": 2,
    "data.validation": 1,
    "data.test": 3,
    "training.batch": 3,
    "training.steps": 6,
    "training.checkpoint_every": 2,
    "mesh.data": 2,
    # It would take longer than all the rest.
    "evaluation.report": False,
}
LEAST_SQUARES = {"model.rda.polynomial.order": 1, "optimiser.derivative_steps": 2}
NCA = {
    "model.name": "nca",
    "model.nca.channels": 4,
    "model.nca.network.hidden": (8,),
    "model.nca.steps_per_interval": 2,
    "model.nca.fire_rate": 0.5,
    "optimiser.name": "nadam",
    "optimiser.optax.warmup_steps": 2,
    "optimiser.optax.decay_steps": 6,
}
POOL = NCA | {
    "training.starts": "pool",
    "training.pool.slots": 2,
    "training.pool.refresh_every": 2,
    "training.batch": 4,
    "augmentation.noise": 0.01,
}


def run(directory: Path, path: Path, **changes: Any) -> dict[str, Any]:
    """Trains in the folder `path`, on data kept in `directory`; returns the scores."""
    config = tiny.config(**FIELDS | {"data.directory": str(directory)} | changes)
    return train.train_and_evaluate(config, RunFolder(path), config_path="configs/tiny.py")


def listing(path: Path) -> dict[str, str]:
    """Everything below a folder, with a digest of what each file holds."""
    return {
        str(entry.relative_to(path)): (
            hashlib.sha256(entry.read_bytes()).hexdigest() if entry.is_file() else "a folder"
        )
        for entry in sorted(path.rglob("*"))
    }
