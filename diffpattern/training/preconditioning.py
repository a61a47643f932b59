"""What a rollout's Jacobian says of the parameters, roughly and nearly for free.

A change dp of the parameters of dx/dt = f(x, p) changes the end of a short rollout by

    dx(T) = int_0^T Phi(T, t) (df/dp)(x(t)) dp dt.

The propagator Phi smoothes patterns that hardly have such fine detail, and lets them grow or decay
by some factor e; what tells one parameter from another, by many orders of magnitude, is df/dp. So
rows of T df/dp at some cells of the data make a matrix B for which all eigenvalues of J'J relative
to B'B are of similar size: a metric of the parameters in which conjugate gradients need few
products with J. No rollout is needed for it, and B has few rows.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffpattern.data.windows import Window
from diffpattern.grid.cutting import at
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.models.rda import ReactionDiffusionAdvection
from diffpattern.models.term import no_changes

Parameters = Any
# (parameters, window, key) -> rows of B, [M, P], whose squares sum up to about those of the
# Jacobian of the window's mean squared residual.
Rows = Callable[[Parameters, Window, Array], Array]


def of_right_hand_side(
    rule: Callable[[Window], ReactionDiffusionAdvection],
    grid: Callable[[Window], Grid],
    times: np.ndarray,
    cells: int,
    *,
    elapsed: float,
    acting: Callable[[Parameters, Window], Forcing] = lambda parameters, window: window.forcing,
) -> Rows:
    """Rows of elapsed * df/dp, at cells drawn from one of a window's snapshots, drawn too.

    Args:
      rule: f for the lattice of a window.
      grid: of that lattice, or of the block of it that is here; rows are of the whole.
      times: of the window's snapshots, relative to the first, [L + 1].
      cells: how many, if there are as many.
      elapsed: T, the time over which residuals feel the right-hand side.
      acting: (parameters, window) -> its forcing as the rule meets it, with the derivatives of a
        mask that is learnt.
    """

    def rows(parameters: Parameters, window: Window, key: Array) -> Array:
        place_key, cells_key = jax.random.split(key)
        place = jax.random.randint(place_key, (), 0, len(times))
        x = jnp.moveaxis(window.values[place], -1, 0)
        forcing = acting(parameters, window).later(jnp.asarray(times)[place])
        pair = x, no_changes(x, 1)
        _, slopes = rule(window).with_sensitivities(parameters, pair, forcing)
        # A state of which a part was not seen is none.
        counted = 1.0 if window.known is None else window.known[place].min()
        here = grid(window)
        lattice = math.prod(here.whole.shape)
        count = min(cells, lattice)
        chosen = jax.random.choice(cells_key, lattice, (count,), replace=False)
        at_cells = jnp.concatenate([at(slope, chosen, here).T for slope in slopes])
        return counted * elapsed / math.sqrt(len(at_cells)) * at_cells

    return rows
