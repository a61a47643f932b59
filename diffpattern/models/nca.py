"""Neural cellular automata (NCA), put together of parts.

A rule is a perception (`perception`), an update (`updates`) and finishings (`finishing`), each of
which can be exchanged for another; docs/automata.md tells which makes what.
"""

from collections.abc import Callable

import flax.linen as nn
from jax import Array

from diffpattern.errors import InputError
from diffpattern.grid.forcing import UNFORCED, Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.grid.randomness import fire_mask
from diffpattern.models.finishing import Bounded
from diffpattern.models.perception import Steerable, Stencils
from diffpattern.models.updates import Network

Finishing = Callable[[Array, Array, Grid], Array]


class NeuralCellularAutomaton(nn.Module):
    """One step of an automaton whose cells fire at random.

        x[n+1] = finish(x[n] + h * mask * update(perception(x[n], environment), inputs)),
        mask ~ Bernoulli(fire rate) at each cell

    The update's last layer starts at zero, so that the untrained automaton does nothing but finish.
    At a fire rate of 1 it is the Euler step of length h of a PDE, dx/dt = update(perception(x)):
    trained on one grid and one h, it can run on a grid of another spacing with another h, by
    `rule.clone(grid=..., step_size=...)`, since its fixed stencils are in units of length. An
    explicit step that holds diffusion back must shrink as the spacing squared.

    Source: Mordvintsev et al., "Growing neural cellular automata", Distill (2020); as a PDE,
    Pajouheshgar et al., "NoiseNCA" (2024).

    Attributes:
      grid: where x lives.
      perception: what a cell sees.
      update: what it does about it.
      finishing: what is done to the new lattice, one after the other; a mask of the forcing comes
        before them.
      fire_rate: probability that a cell is updated in a step; 1 updates all and draws nothing.
      step_size: h.

    Example:
      >>> rule = NeuralCellularAutomaton(Grid((8, 8)), fire_rate=1.0)
      >>> x = jnp.ones((4, 8, 8))
      >>> variables = rule.init(jax.random.key(0), x, jax.random.key(1))
      >>> after = rule.apply(variables, x, jax.random.key(2))
      >>> after.shape, bool((after == x).all())  # untrained it does nothing
      ((4, 8, 8), True)
    """

    grid: Grid
    perception: nn.Module = Stencils()
    update: nn.Module = Network()
    finishing: tuple[Finishing, ...] = ()
    fire_rate: float = 0.5
    step_size: float = 1.0

    def __call__(self, x: Array, key: Array, forcing: Forcing = UNFORCED) -> Array:
        """The lattice [C, *space] one step later; `key` is this step's.

        What is perceived is sown as "perceived", the update's activations as "hidden".

        Raises:
          InputError: a part does not know one of its names, or does not fit the lattice.
        """
        grid = self.grid.under(forcing)
        if isinstance(self.perception, Steerable) and any(
            isinstance(part, Bounded) for part in self.finishing
        ):
            raise InputError(
                "Bounded channels leave a steerable cell no full turn of its angle; take one of "
                "the two."
            )
        features = self.perception(x, grid, forcing.environment)
        self.sow("intermediates", "perceived", features)
        change = self.update(features, len(x), forcing.inputs_now())
        if self.fire_rate < 1.0:
            change = change * fire_mask(key, self.fire_rate, grid)
        after = x + self.step_size * change
        if forcing.mask is not None:
            after = after * forcing.mask
        for finish in self.finishing:
            after = finish(x, after, grid)
        return after
