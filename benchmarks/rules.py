"""A train step of each rule for automata, against the plain automaton's times its work.

What a rule may cost is told by XLA's count of the floating-point operations of one step with its
gradient: a ratio of 1 is a rule that is as fast as the plain one by operation, one below 1 a rule
that waits for memory, or for functions that XLA does not count, where the plain one computes.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks import training
from benchmarks.pairs import Pair
from diffpattern.grid.forcing import UNFORCED, Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.models.finishing import Alive, Bounded
from diffpattern.models.nca import NeuralCellularAutomaton
from diffpattern.models.perception import ISOTROPIC, Learnt, MultiScale, Steerable, Stencils
from diffpattern.models.updates import Attention, Gated, KolmogorovArnold
from diffpattern.problem import Problem
from diffpattern.rollout import Stepped

# What makes each rule another than the plain one.
RULES: dict[str, dict[str, Any]] = {
    "gated": {"update": Gated()},
    "bounded": {"finishing": (Bounded(observed=4),)},
    "alive": {"finishing": (Alive(),)},
    "higher_order": {"perception": Stencils(order=2)},
    "multi_scale": {"perception": MultiScale()},
    "learnt": {"perception": Learnt()},
    "isotropic": {"perception": ISOTROPIC},
    "steerable": {"perception": Steerable()},
    "attention": {"update": Attention()},
    "kan": {"update": KolmogorovArnold()},
    "conditional": {},
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
    plain = NeuralCellularAutomaton(Grid(shape))
    other = plain.clone(**RULES[name])
    forcing = Forcing(inputs=jnp.ones(_INPUTS[name])) if name in _INPUTS else UNFORCED
    windows = training.random_windows(batch, shape, channels)
    ours, work = _train_step(other, forcing, windows, steps)
    theirs, plain_work = _train_step(plain, UNFORCED, windows, steps)
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
    automaton: NeuralCellularAutomaton, forcing: Forcing, windows: Array, steps: int
) -> tuple[Callable[[], Any], float]:
    """A train step on the windows [B, 2, *space, C], and the operations of one step of the rule."""
    shape, channels = windows.shape[2:-1], windows.shape[-1]
    lattice = jnp.zeros((channels, *shape))
    key = jax.random.key(0)

    def initialise(seed: int):
        first = jax.random.key(seed)
        return jax.jit(automaton.init)(first, lattice, first, forcing)["params"]

    def step(parameters, x, key):
        return automaton.apply({"params": parameters}, x, key, forcing)

    parameters = training.random_like(initialise(0), 0.01)
    sought = Problem(
        rule=automaton,
        initialise=initialise,
        dynamics=Stepped(step, 1 / steps),
        with_sensitivities=None,
        channels=channels,
        statistics=training.unit_statistics(channels, shape, interval=1.0),
    )
    function = training.loss_and_gradient(sought)
    one = jax.value_and_grad(lambda p, x: jnp.sum(step(p, x, key) ** 2), argnums=(0, 1))
    work = jax.jit(one).lower(parameters, lattice).cost_analysis()["flops"]
    return lambda: function(parameters, windows), work
