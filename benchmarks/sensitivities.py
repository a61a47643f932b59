"""The Jacobian of a window, against one tangent for each parameter."""

import jax
import numpy as np

from benchmarks import training
from benchmarks.pairs import Pair, relative_difference
from diffpattern.data.windows import Window
from diffpattern.grid.forcing import UNFORCED
from diffpattern.training import least_squares


def sensitivities(shape: tuple[int, ...] = (64, 64), hidden: int = 16, steps: int = 16) -> Pair:
    """Residuals of one window and their Jacobian by all parameters of a network RDA.

    Args:
      shape: of the lattice, of two species.
      hidden: units of the reaction's one hidden tanh layer.
      steps: Heun steps of unit length.
    """
    sought = training.build(
        {"model.rda.terms": ("network", "diffusion"), "model.rda.network.hidden": (hidden,)},
        species=2,
        shape=shape,
        interval=float(steps),
    )
    times = np.array([0.0, steps])
    parameters = training.random_like(sought.initialise(0), 0.01)
    window, key = Window(training.random_windows(1, shape, 2)[0], UNFORCED), jax.random.key(3)
    ours = jax.jit(sought.linearisation(times))
    theirs = jax.jit(least_squares.by_forward_mode(sought.residuals(times)))

    count = sum(leaf.size for leaf in jax.tree.leaves(parameters))
    return Pair(
        name="sensitivities",
        what=f"Jacobian of a window by {count} parameters: {' x '.join(map(str, shape))}, 2 "
        f"species, {hidden} tanh, {steps} Heun steps",
        other="vmapped jvp",
        ours=lambda: ours(parameters, window, key),
        theirs=lambda: theirs(parameters, window, key),
        difference=lambda: relative_difference(
            ours(parameters, window, key), theirs(parameters, window, key)
        ),
        tolerance=1e-4,
        rounds=9,
    )
