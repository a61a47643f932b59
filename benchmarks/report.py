"""How long the report of a run takes, and how large it is.

    python -m benchmarks.report [--run=RUN] [--json=FILE]

Without a run, one is made: an automaton of 16 channels, hardly trained, with 16 test trajectories
of 64 snapshots on 64 x 64 cells. Measured are what evaluation computes for the report alone (all
channels of one prediction, and a damage test) and the drawing, of page and videos, from the folder:
seconds of the clock, and those for which processors were busy.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from diffpattern import configuration, drawing, restored, train
from diffpattern.experiments import Experiments
from diffpattern.parallel.mesh import widest_mesh
from diffpattern.run_folder import RunFolder
from diffpattern.training.step import prefers_together

# What a report of that run may take.
_MOST_SECONDS, _MOST_BYTES = 60, 10_000_000


def small_run(folder: RunFolder) -> None:
    """Makes a run whose report is as large as reports are."""
    config: ConfigDict = configuration.call("configs/nca_gray_scott.py", "get_config")
    config.model.nca.channels = 16
    # Fewer steps than a good automaton makes, which drawing does not see.
    config.model.nca.steps_per_interval = 8
    config.data.train, config.data.validation, config.data.test = 2, 1, 16
    config.data.end_time = 63 * config.data.interval
    config.training.batch, config.training.steps, config.training.checkpoint_every = 2, 20, 20
    configuration.check(config)
    train.train_and_evaluate(config, folder, config_path="configs/nca_gray_scott.py")


def experiment(folder: RunFolder) -> None:
    """What evaluation does for the report alone."""
    rule = restored.restore(folder)
    report = drawing.read(folder)
    trajectory = report.shown[0].number
    experiments = Experiments(
        rule.problem,
        rule.checkpoint.parameters,
        rule.truth[0],
        trajectory,
        widest_mesh(rule.config.mesh.rows, rule.config.mesh.columns, rule.problem.running),
        seed=rule.config.seed,
        together=prefers_together(rule.config.training.windows),
    )
    floor = np.array([report.scores["floor"][name] for name in report.species])
    experiments.damage(experiments.states(), floor)


def main(arguments: Sequence[str]) -> int:
    """Measures as the arguments ask; returns the exit code, 1 for more than a report may take."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--run", type=Path, metavar="RUN", help="folder of an evaluated run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the rows")
    flags = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = RunFolder(flags.run or Path(scratch) / "run")
        if flags.run is None:
            small_run(folder)
        rows = [
            _row(folder, name, do)
            for name, do in (("evaluation", experiment), ("drawing", drawing.draw))
        ]
        size = folder.report.stat().st_size
        videos = sum(path.stat().st_size for path in folder.videos.iterdir())
    seconds = sum(row["ours_seconds"] for row in rows)
    rows.append(
        {"name": "report", "ours_seconds": seconds, "bytes": size, "bytes_of_videos": videos}
    )
    for row in rows:
        print(
            f"{row['name']:12}{row['ours_seconds']:8.1f} s, {row.get('processor_seconds', 0):.1f} s"
        )
    print(f"{'page':12}{size / 1e6:8.2f} MB, at most 10\n{'videos':12}{videos / 1e6:8.2f} MB")
    if flags.json:
        flags.json.write_text(json.dumps(rows, indent=2) + "\n")
    return int(seconds > _MOST_SECONDS or size > _MOST_BYTES)


def _row(folder: RunFolder, name: str, do) -> dict[str, float | str]:
    began, busy = time.perf_counter(), time.process_time()
    do(folder)
    return {
        "name": name,
        "ours_seconds": time.perf_counter() - began,
        "processor_seconds": time.process_time() - busy,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
