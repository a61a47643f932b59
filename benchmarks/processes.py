"""How much faster two processes train than one, each with a core of its own.

    python -m benchmarks.processes [--config=configs/nca_gray_scott.py] [--blocks] [--cells=512]
        [--exchange_every=4] [--rounds=9] [--json=FILE]

A process on one core and two processes on one core each (`taskset`) prepare the same run and then
make some of its train steps in turn: one alone, the two together, one alone ... Each round gives
one ratio of the times for a step, since a machine's speed changes from minute to minute. Losses are
compared first. The two share out trajectories, or with --blocks each lattice, half to each.

Borders cost a message each, however small the lattice: blocks are for those that are large. So
--cells makes 4 of as many cells an axis, over 2 snapshots, in place of the config's.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

# Of trajectories, and of blocks.
TARGETS = {False: 1.6, True: 1.5}
_WORKER = "--worker"


class Team:
    """Processes that make train steps together when they are asked to.

    Args:
      run: what they train, as the flags say it.
      cores: on which they run, one process each.
    """

    def __init__(self, run: argparse.Namespace, cores: Sequence[int]):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            coordinator = f"localhost:{free.getsockname()[1]}"
        environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "NPROC")}
        self._workers = [
            subprocess.Popen(
                ["taskset", "-c", str(core), sys.executable, "-m", "benchmarks.processes", _WORKER]
                + [coordinator, str(len(cores)), str(number), json.dumps(vars(run))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment | {"JAX_PLATFORMS": "cpu"},
            )
            for number, core in enumerate(cores)
        ]

    def make(self, steps: int) -> tuple[float, float]:
        """Makes some steps; returns the seconds that each took, and the last one's loss."""
        for worker in self._workers:
            worker.stdin.write(f"{steps}\n")
            worker.stdin.flush()
        answers = [json.loads(worker.stdout.readline()) for worker in self._workers]
        return max(answer["seconds"] for answer in answers) / steps, answers[0]["loss"]

    def close(self) -> None:
        """Ends them."""
        for worker in self._workers:
            worker.stdin.close()
        for worker in self._workers:
            worker.wait(60)


def work(coordinator: str, count: int, number: int, run: argparse.Namespace) -> None:
    """One process of a team: makes as many steps as each line that it reads says."""
    # Whatever is told on the way, also by Gloo, must not be taken for an answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    import jax

    from diffpattern import configuration, dataset, problem, train
    from diffpattern.data import statistics as data_statistics
    from diffpattern.methods import make_training
    from diffpattern.parallel import processes
    from diffpattern.parallel.mesh import make_mesh
    from diffpattern.start_up import start_up
    from diffpattern.training.step import compiled, prefers_together

    processes.join(processes.of_flags(coordinator, count, number))
    spec = importlib.util.spec_from_file_location("config", run.config)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    config.mesh.exchange_every = run.exchange_every
    if run.cells:
        config.data.shape = (run.cells, run.cells)
        config.data.train, config.data.validation, config.data.test = 4, 1, 1
        config.data.end_time = config.data.interval
        config.training.batch = 4
    configuration.check(config)
    start_up(config)
    # Before the data, for which all wait until the first one has them: devices take everybody.
    mesh = make_mesh(1, rows=count) if run.blocks else make_mesh()
    lattices = dataset.of_split(dataset.load(config), "train")
    degrees = problem.whitened_degrees(config)
    sought = problem.build(config, data_statistics.summarise(lattices, degrees), mesh.size)
    initial = sought.initialise(config.seed)
    together = prefers_together(config.training.windows)
    training = make_training(config, sought, initial, mesh, together)
    batches = train.make_batches(config, lattices, mesh)
    state = train.first_state(config, training, initial, batches, mesh)
    step_over = compiled(training.step, mesh)
    made = 0
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            state, metrics = step_over(state, train.draw_batch(batches, made, mesh))
            made += 1
        loss = float(jax.device_get(metrics["loss"]))
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "loss": loss}), file=answers, flush=True)
    processes.leave()


@contextlib.contextmanager
def teams(run: argparse.Namespace) -> Iterator[tuple[Team, Team]]:
    """One process on a core, and two on two."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("Two cores are needed, and this process may run on one.")
    both = tuple(Team(run, cores[:count]) for count in (1, 2))
    try:
        yield both
    finally:
        for team in both:
            team.close()


def main(arguments: Sequence[str]) -> int:
    """Measures and prints; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.processes", description=__doc__)
    parser.add_argument("--config", default="configs/nca_gray_scott.py")
    parser.add_argument("--blocks", action="store_true", help="share out lattices")
    parser.add_argument("--cells", type=int, default=0, help="an axis; 0: the config's lattices")
    parser.add_argument("--exchange_every", type=int, default=1, help="as of the mesh")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=2, help="of each side in a round")
    parser.add_argument("--json", metavar="FILE", help="file for the row")
    flags = parser.parse_args(arguments)
    target, kind = TARGETS[flags.blocks], "_blocks" if flags.blocks else ""
    with teams(flags) as (one, two):
        for step in range(2):
            (_, alone), (_, together) = one.make(1), two.make(1)
            # The second comes after an update, which for least squares magnifies rounding.
            if not abs(alone - together) <= 1e-5 * 10**step * abs(alone):
                print(f"Losses differ at step {step + 1}: {alone!r} and {together!r}.")
                return 1
        rounds = [(two.make(flags.steps)[0], one.make(flags.steps)[0]) for _ in range(flags.rounds)]
    ours, theirs = zip(*rounds, strict=True)
    ratios = [other / own for own, other in rounds]
    row = {
        "name": f"processes_{Path(flags.config).stem}{kind}",
        "ours_seconds": statistics.median(ours),
        "other": "one process on one core",
        "other_seconds": statistics.median(theirs),
        "ratio": statistics.median(ratios),
        "spread": [min(ratios), max(ratios)],
        "target": target,
        "rounds": flags.rounds,
        "what": f"train steps of {flags.config} by two processes on one core each",
    }
    print(
        f"{row['name']}: {row['ours_seconds']:.3f} s a step by two, {row['other_seconds']:.3f} s "
        f"by one; {row['ratio']:.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f}, "
        f"{flags.rounds} rounds; target {target})"
    )
    if flags.json:
        Path(flags.json).write_text(json.dumps([row], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == [_WORKER]:
        coordinator, count, number, run = sys.argv[2:]
        work(coordinator, int(count), int(number), argparse.Namespace(**json.loads(run)))
    else:
        sys.exit(main(sys.argv[1:]))
