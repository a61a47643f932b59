"""A train step of each rule for automata, against the plain automaton's times its work.

What a rule may cost is told by XLA's count of the floating-point operations of one step with its
gradient: a ratio of 1 is a rule that is as fast as the plain one by operation, one below 1 a rule
that waits for memory, or for functions that XLA does not count, where the plain one computes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks import training
from benchmarks.pairs import Pair
from diffpattern.configs import rules
from diffpattern.grid.forcing import Forcing
from diffpattern.problem import Problem

# What makes each rule another than the plain one; "conditional" has inputs.
RULES = {name: changes for name, changes in rules.AUTOMATA.items() if name != "plain"} | {
    "conditional": {}
}
_INPUTS = {"conditional": 4}
# A rule may take 1.3 times what its work says; alive masking adds less than 15%, work or not.
_SLOWEST = 1.3
_SLOWEST_ALIVE = 1.15


def rule(
    name: str,
    rounds: int = 9,
    batch: int = 8,
    shape: tuple[int, int] = (72, 72),
    channels: int = 16,
    steps: int = 16,
) -> Pair:
    """Loss and gradient of one batch of a rule and of the plain one, both at a fire rate of 0.5.

    Before, the rule's gradient is checked to be finite and nowhere all zero.

    Args:
      name: out of `RULES`.
      rounds: how often both are timed.
      batch: trajectories.
      shape: of the lattice, a torus.
      channels: of the lattice.
      steps: of the automaton.
    """
    windows = training.random_windows(batch, shape, channels)
    ours, work = _train_step(RULES[name], _INPUTS.get(name, 0), windows, steps)
    theirs, plain_work = _train_step({}, 0, windows, steps)
    ratio = 1.0 if name == "alive" else work / plain_work

    def broken() -> float:
        gradient = jax.tree.leaves(ours()[1])
        fine = all(np.isfinite(leaf).all() and np.any(leaf) for leaf in gradient)
        return 0.0 if fine else float("nan")

    return Pair(
        name=f"rule_{name}",
        what=f"loss and gradient: {batch} trajectories, {shape[0]} x {shape[1]}, {channels} "
        f"channels, fire rate 0.5, {steps} steps; {work / plain_work:.2f} times the operations",
        other="the plain automaton, times the operations"
        if ratio != 1.0
        else "the plain automaton",
        ours=ours,
        theirs=theirs,
        difference=broken,
        tolerance=0.0,
        rounds=rounds,
        target=1 / (_SLOWEST_ALIVE if name == "alive" else _SLOWEST),
        work=ratio,
    )


def _train_step(
    changes: Mapping[str, Any], inputs: int, windows: Array, steps: int
) -> tuple[Callable[[], Any], float]:
    """A train step on the windows [B, 2, *space, C], and the operations of one step of the rule.

    Args:
      changes: of `config.model.nca`.
      inputs: how many inputs cells are told.
      windows: random numbers.
      steps: of the automaton.
    """
    shape, channels = windows.shape[2:-1], windows.shape[-1]
    fields = {"channels": channels, "steps_per_interval": steps, **changes}

    def on(shape: tuple[int, ...]) -> Problem:
        return training.build(
            {"model.name": "nca"} | {f"model.nca.{name}": value for name, value in fields.items()},
            species=channels,
            shape=shape,
            interval=1.0,
            inputs=inputs,
        )

    sought = on(shape)
    parameters = training.random_like(sought.initialise(0), 0.01)
    function = training.loss_and_gradient(sought)
    forcing = Forcing(time=0.0, inputs=jnp.ones(inputs) if inputs else None)
    key = jax.random.key(0)

    # Counted on few cells, which no rule takes in blocks: of a loop, XLA counts one round.
    few = (24,) * len(shape)
    small = on(few)

    def squares(parameters, x):
        return jnp.sum(small.dynamics.step(parameters, x, key, forcing) ** 2)

    one = jax.jit(jax.value_and_grad(squares, argnums=(0, 1)))
    work = one.lower(parameters, jnp.zeros((channels, *few))).cost_analysis()["flops"]
    return lambda: function(parameters, windows), work
