"""A train step of a neural cellular automaton, against CAX (see `cax_automaton`)."""

import importlib.metadata

import jax
import numpy as np
from jax import Array

from benchmarks import training
from benchmarks.pairs import Pair, Unavailable, relative_difference
from diffpattern.problem import Problem


def nca(
    steps: int,
    rounds: int,
    batch: int = 8,
    shape: tuple[int, int] = (72, 72),
    channels: int = 16,
    hidden: int = 128,
) -> Pair:
    """Loss and gradient of one batch at a fire rate of 0.5; no alive mask on either side.

    Before, the lattices after all steps are compared at a fire rate of 1.

    Args:
      steps: of the automaton.
      rounds: how often both are timed; CAX takes its time.
      batch: trajectories.
      shape: of the lattice.
      channels: of the lattice, all of them data.
      hidden: units of the hidden layer.

    Raises:
      Unavailable: CAX is not installed.
    """
    try:
        from benchmarks import cax_automaton
    except ImportError as error:
        raise Unavailable(
            f"nca_{steps} compares with CAX, which cannot be imported ({error}); "
            "`pip install '.[bench]'` brings it."
        ) from error

    sought, certain = (build(steps, shape, channels, hidden, rate) for rate in (0.5, 1.0))
    parameters = training.random_like(sought.initialise(0), 0.01)
    windows = training.random_windows(batch, shape, channels)
    ours = training.loss_and_gradient(sought)
    theirs = cax_automaton.Automaton(sought.rule, channels, parameters)

    def difference() -> float:
        reference = cax_automaton.Automaton(certain.rule, channels, parameters)
        return relative_difference(
            last_lattices(certain, parameters, windows[:, 0]),
            reference(windows[:, 0], num_steps=steps),
        )

    return Pair(
        name=f"nca_{steps}",
        what=f"loss and gradient: {batch} trajectories, {shape[0]} x {shape[1]}, {channels} "
        f"channels, {hidden} hidden, fire rate 0.5, {steps} steps",
        other=f"cax {importlib.metadata.version('cax')}",
        ours=lambda: ours(parameters, windows),
        theirs=lambda: cax_automaton.loss_and_gradient(theirs, windows, steps=steps),
        difference=difference,
        tolerance=1e-3,
        rounds=rounds,
        target=20.0,
    )


def last_lattices(sought: Problem, parameters: dict, starts: Array) -> Array:
    """The lattices at the end of an interval, [B, *space, C], at a fire rate of 1."""
    key, times = jax.random.key(0), np.array([0.0, sought.statistics.interval])

    @jax.jit
    def function(parameters, starts):
        return jax.vmap(lambda start: sought.predict(parameters, start, times, key)[-1])(starts)

    return function(parameters, starts)


def build(
    steps: int, shape: tuple[int, int], channels: int, hidden: int, fire_rate: float
) -> Problem:
    """The automaton, all of whose channels are data, with `steps` steps between two snapshots."""
    fields = {
        "model.name": "nca",
        "model.nca.channels": channels,
        "model.nca.network.hidden": (hidden,),
        "model.nca.fire_rate": fire_rate,
        "model.nca.steps_per_interval": steps,
    }
    return training.build(fields, species=channels, shape=shape, interval=1.0)
