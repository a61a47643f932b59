"""Neural cellular automata (NCA)."""

import flax.linen as nn
from jax import Array

from diffpattern.grid.geometry import Grid
from diffpattern.models.networks import PointwiseNetwork
from diffpattern.models.perception import perceive
from diffpattern.parallel.randomness import fire_mask


class NeuralCellularAutomaton(nn.Module):
    """One step of an automaton whose cells fire at random.

        x[n+1] = x[n] + mask * MLP(perception(x[n])),    mask ~ Bernoulli(fire rate) at each cell

    The last layer starts at zero, so that the untrained automaton does nothing.
    Source: Mordvintsev et al., "Growing neural cellular automata", Distill (2020).

    Attributes:
      grid: where x lives.
      kernels: names of the stencils it perceives through.
      hidden: units of the hidden layer.
      activation: name of a flax.linen activation.
      fire_rate: probability that a cell is updated in a step; 1 updates all and draws nothing.
    """

    grid: Grid
    kernels: tuple[str, ...] = ("identity", "gradient", "laplacian")
    hidden: int = 128
    activation: str = "relu"
    fire_rate: float = 0.5

    @nn.compact
    def __call__(self, x: Array, key: Array) -> Array:
        """The lattice [C, *space] one step later; `key` is this step's."""
        perception = perceive(x, self.grid, self.kernels)
        update = PointwiseNetwork((self.hidden,), x.shape[0], self.activation, last_scale=0.0)(
            perception
        )
        if self.fire_rate < 1.0:
            update = update * fire_mask(key, self.fire_rate, x.shape[1:])
        return x + update
