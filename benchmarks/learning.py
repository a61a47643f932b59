"""What every rule learns on one small task, as a table and a picture.

    python -m benchmarks.learning [--only=NAME] [--picture=FILE]

The task is Gray-Scott on 16 x 16 cells from blobs to t = 32, a snapshot every 4 units of time, with
8 trajectories to train on (`TASK`). An automaton has 800 steps of nadam; a PDE 60 of the derivative
fit and 30 of least squares. What it learnt is scored on 4 unseen starts, and shown on a lattice 16
times as large: a local rule does not know how large its lattice is.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
from ml_collections import ConfigDict

from diffpattern import configuration, problem, scores, train
from diffpattern.configs import default, rules
from diffpattern.data.simulation import Simulation, simulate
from diffpattern.data.statistics import summarise
from diffpattern.data.trajectories import Trajectories
from diffpattern.methods import make_training
from diffpattern.parallel.mesh import make_mesh
from diffpattern.prediction import make_predictor
from diffpattern.problem import Problem
from diffpattern.training.step import compiled

TASK = Simulation(
    shape=(16, 16), laplacian="oono_puri", interval=4.0, end_time=32.0, train=8, test=4
)
LARGE = dataclasses.replace(TASK, shape=(64, 64), train=1, validation=1, test=1)
# A rule is told what differs between trajectories wherever its data have inputs: "conditional" is
# the plain rule, on data of two feeds.
NAMES = (*rules.NAMES, "conditional")
_FEEDS = (TASK.system, dataclasses.replace(TASK.system, alpha=0.03))
PICTURE = "docs/images/rules.png"
_COLUMNS = 7


def data_of(name: str, settings: Simulation = TASK) -> dict[str, Trajectories]:
    """What a rule learns from, by split."""
    if name != "conditional":
        return simulate(settings)
    kinds = [simulate(dataclasses.replace(settings, system=system)) for system in _FEEDS]
    return {
        split: dataclasses.replace(
            kinds[0][split],
            values=np.concatenate([kind[split].values for kind in kinds]),
            inputs=np.repeat(np.eye(len(kinds)), len(kinds[0][split].values), axis=0),
        )
        for split in kinds[0]
    }


def config_of(name: str) -> ConfigDict:
    """The config of a rule for the task: few units, few steps."""
    name = "plain" if name == "conditional" else name
    config = rules.get_config(name)
    config.optimiser.derivative_steps = 0
    config.training.batch = 8
    if name in rules.AUTOMATA:
        nca, optax = config.model.nca, config.optimiser.optax
        nca.channels, nca.steps_per_interval = 4, 6
        if nca.change in ("network", "gated"):
            nca[nca.change].hidden = (32,)
        elif nca.change == "kan":
            nca.kan.hidden = (12,)
        config.training.window, config.training.steps = 4, 800
        optax.learning_rate, optax.warmup_steps, optax.decay_steps = 5e-3, 10, 800
        return config
    config.optimiser, config.loss = default.get_config().optimiser, default.get_config().loss
    config.optimiser.derivative_steps, config.training.steps = 60, 30
    config.training.batch = 16
    return config


def learn(config: ConfigDict, data: Trajectories, devices: int) -> Iterator[tuple[Problem, Any]]:
    """The problem of a config and its parameters after each tenth of training, without a folder."""
    configuration.check(config)
    mesh = make_mesh(devices)
    sought = problem.build(config, summarise([data], problem.whitened_degrees(config)))
    initial = sought.initialise(config.seed)
    training = make_training(config, sought, initial, mesh, together=False)
    batches = train.make_batches(config, [data], mesh)
    state = train.first_state(config, training, initial, batches, mesh)
    state = train.fit_derivatives(config, sought, state, [data], mesh, together=False)
    step = compiled(training.step, mesh)
    for part in np.array_split(np.arange(config.training.steps), 10):
        for index in part:
            state, _ = step(state, train.draw_batch(batches, int(index), mesh))
        yield sought, jax.device_get(state.parameters)


def scorer(sought: Problem, unseen: Trajectories) -> Callable[[Any], dict[str, float]]:
    """What tells the errors of parameters on unseen trajectories.

    They are NRMSE at the last time of the worst species, medians over trajectories, of the "rule"
    and of "persistence".
    """
    predict = make_predictor(sought, unseen, make_mesh(1), key=jax.random.key(0), together=False)
    floor = 0.05 * np.asarray(sought.statistics.fluctuation)

    def worst(prediction):
        return float(np.median(scores.nrmse(prediction, unseen.values, floor), axis=0)[-1].max())

    persistence = worst(scores.persistence(unseen.values))
    return lambda parameters: {"rule": worst(predict(parameters)), "persistence": persistence}


def on_a_larger_lattice(sought: Problem, parameters: Any, truth: Trajectories) -> np.ndarray:
    """B at the end from an unseen start on a larger lattice, [*space]."""
    predict = make_predictor(sought, truth, make_mesh(1), key=jax.random.key(0), together=False)
    return predict(parameters)[0, -1, ..., 1]


def draw(panels: dict[str, np.ndarray], path: str) -> None:
    """A contact sheet of lattices, the truth first."""
    rows = -(-len(panels) // _COLUMNS)
    figure, axes = plt.subplots(
        rows, _COLUMNS, figsize=(1.55 * _COLUMNS, 1.8 * rows), layout="constrained"
    )
    highest = panels["truth"].max()
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (name, lattice) in zip(axes.flat, panels.items(), strict=False):
        axis.imshow(lattice, cmap="viridis", vmin=0, vmax=highest)
        axis.set_title(name.replace("_", " "), fontsize=8)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str]) -> None:
    """Trains the rules that the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__)
    parser.add_argument("--only", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--picture", metavar="FILE", help=f"contact sheet, such as {PICTURE}")
    flags = parser.parse_args(arguments)
    panels = {"truth": data_of("plain", LARGE)["test"].values[0, -1, ..., 1]}
    print(f"{'rule':26}{'NRMSE':>8}{'persistence':>13}{'seconds':>9}")
    for name in [flags.only] if flags.only else NAMES:
        config, data, began = config_of(name), data_of(name), time.monotonic()
        *_, (sought, parameters) = learn(config, data["train"], jax.device_count())
        found = scorer(sought, data["test"])(parameters)
        spent = time.monotonic() - began
        print(f"{name:26}{found['rule']:8.2g}{found['persistence']:13.2g}{spent:9.1f}", flush=True)
        if flags.picture:
            truth = data_of(name, LARGE)["test"]
            panels[name] = on_a_larger_lattice(sought, parameters, truth)
    if flags.picture:
        draw(panels, flags.picture)


if __name__ == "__main__":
    main(sys.argv[1:])
