"""How long training stands still for a checkpoint, as a share of a minute.

    python -m benchmarks.checkpoints [--config=FILE] [--saves=N]

Trains with a config (nca_gray_scott, with its pool), saves some checkpoints as a run does, and
prints for each how long the trainer waited, how large it is, and how much slower the train steps
were while it was being written, beside those before it. The score that a checkpoint after a number
of steps gets besides is no part of it.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import jax

from diffpattern import configuration, dataset, problem, train
from diffpattern.data.statistics import summarise
from diffpattern.data.streams import sample
from diffpattern.methods import make_training
from diffpattern.parallel.mesh import make_mesh
from diffpattern.training.checkpoints import Checkpoints
from diffpattern.training.step import compiled, prefers_together

# Steps between two checkpoints.
_STEPS = 8


def main(arguments: Sequence[str]) -> int:
    """Measures as the arguments ask; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checkpoints", description=__doc__)
    parser.add_argument("--config", default="configs/nca_gray_scott.py")
    parser.add_argument("--saves", type=int, default=5)
    flags = parser.parse_args(arguments)

    config = configuration.call(flags.config, "get_config")
    configuration.check(config)
    data = dataset.of_split(dataset.load(config), "train")
    shared = config.training.batch if config.training.starts == "pool" else 0
    mesh = make_mesh(config.mesh.data, shared=shared)
    summary = summarise([sample(one) for one in data], problem.whitened_degrees(config))
    sought, batches = (
        problem.build(config, summary, mesh.size),
        train.make_batches(config, data, mesh),
    )
    initial = sought.initialise(config.seed)
    together = prefers_together(config.training.windows)
    training = make_training(config, sought, initial, mesh, together)
    state = train.first_state(config, training, initial, batches, mesh)
    step = compiled(training.step, mesh)

    def advance(state):
        batch = train.draw_batch(batches, int(state.step), mesh)
        return jax.block_until_ready(step(state, batch)[0])

    def timed(state):
        began = time.perf_counter()
        state = advance(state)
        return state, time.perf_counter() - began

    state = advance(advance(state))
    waits, slowdowns = [], []
    with tempfile.TemporaryDirectory() as folder, Checkpoints(folder) as checkpoints:
        for _ in range(flags.saves):
            seconds = []
            for _ in range(_STEPS):
                state, taken = timed(state)
                seconds.append(taken)
            began = time.perf_counter()
            metadata = {"seconds": 0.0, "batches": batches.state(), "averages": []}
            train.save(checkpoints, state, metadata, None)
            waits.append(time.perf_counter() - began)
            state, taken = timed(state)
            slowdowns.append(taken / statistics.median(seconds))
            checkpoints.wait()
            newest = Path(folder) / str(checkpoints.latest)
            size = sum(path.stat().st_size for path in newest.rglob("*") if path.is_file())
            print(
                f"step {checkpoints.latest}: {size / 1e6:.2f} MB, waited {waits[-1]:.3f} s, next "
                f"step {slowdowns[-1]:.2f} times as long as the {_STEPS} before",
                flush=True,
            )
    print(
        f"Training stands still for {statistics.median(waits):.3f} s (at most {max(waits):.3f} s), "
        f"{max(waits) / 60:.2%} of a minute."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
