"""Small runs to compare, without any training: what the tests of the comparison share."""

import json
from typing import Any

import numpy as np
import tiny

from diffpattern import configuration, scores
from diffpattern.data.trajectories import Trajectories
from diffpattern.grid.geometry import Grid
from diffpattern.report.comparison import ComparedRun
from diffpattern.run_folder import RunFolder


def scored(error: float, species=("A", "B"), snapshots: int = 5, known=None) -> dict[str, Any]:
    """Scores of a prediction that is off by `error` everywhere, at times 16 apart."""
    values = np.random.default_rng(0).normal(size=(3, snapshots, 6, 6, len(species)))
    truth = Trajectories(values, 16.0 * np.arange(snapshots), species, Grid((6, 6)), known=known)
    zeros = np.zeros(len(species))
    return scores.summarise(
        [truth.values + error], [truth], training_mean=zeros, floor=zeros + 0.05, threshold=0.2
    )


def curves(steps: int, loss: float, seconds: float = 2.0) -> list[dict[str, float]]:
    """A loss that halves over the steps; a validation score at every other one."""
    rows = []
    for step in range(1, steps + 1):
        row = {"step": step, "loss": loss * 0.5 ** (step / steps), "seconds": seconds * step}
        rows.append(row if step % 2 else row | {"validation": 10 * row["loss"]})
    return rows


def run(name: str, fields: dict[str, Any], rows=(), summary=None, report="") -> ComparedRun:
    """A run with some fields of its config changed."""
    config = dict(configuration.leaves(tiny.config(**fields)))
    return ComparedRun(name, config, rows, summary, report)


def keep(folder: RunFolder, fields: dict[str, Any], rows=(), summary=None) -> None:
    """Writes such a run as training would."""
    folder.record(tiny.config(**fields), "configs/tiny.py", {})
    if rows:
        folder.write("metrics/scalars.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    if summary is not None:
        folder.write("eval/scores.json", json.dumps(summary))
        folder.write("report.html", "<html>")
