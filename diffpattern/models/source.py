"""Sources: what comes in from outside, by place and time and not by the state."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffpattern.errors import InputError
from diffpattern.grid.cutting import part_along
from diffpattern.grid.forcing import UNFORCED, Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.models.networks import PointwiseNetwork
from diffpattern.models.term import Channels, Term, chosen, onto


class Source(Term):
    """s_c(t, position) = MLP(sines and cosines of time and place).

    Place enters by the longest wave that the lattice has on each axis (a whole one on a torus, half
    a one between walls), time by a wave of a given period; the MLP makes the shorter ones. A
    source with the shape of given fields is `PolynomialReaction(order=0, position=True)`.

    Attributes:
      grid: where x lives.
      position: whether it depends on place.
      period: after which it repeats itself, in units of time; None: it does not depend on time. For
        one that does not repeat itself take twice the time that the data span, or more.
      hidden: units of each hidden layer.
      activation: name of a flax.linen activation.
      last_scale: factor on the last layer's first weights.
      initialiser: name of the layers' first weights.
      channels: those that the source feeds; None: all.

    Example:
      >>> source = Source(Grid((8, 8)), period=24.0, hidden=(8,))
      >>> rate, variables = source.init_with_output(jax.random.key(0), jnp.zeros((2, 8, 8)))
      >>> rate.shape
      (2, 8, 8)
    """

    grid: Grid
    position: bool = True
    period: float | None = None
    hidden: tuple[int, ...] = (16,)
    activation: str = "tanh"
    last_scale: float = 0.01
    initialiser: str = "lecun_normal"
    channels: Channels = None

    @nn.compact
    def __call__(self, x: Array, forcing: Forcing = UNFORCED) -> Array:
        """See `Term`."""
        count = len(chosen(self.channels, len(x)))
        network = PointwiseNetwork(
            self.hidden, count, self.activation, self.last_scale, self.initialiser, name="network"
        )
        rates = network(self._waves(x, forcing))
        return onto(jnp.broadcast_to(rates, (count,) + x.shape[1:]), self.channels, len(x))

    def _waves(self, x: Array, forcing: Forcing) -> Array:
        """Sines and cosines [F, *space], or [F, 1 ...] where they are alike in all places.

        Raises:
          InputError: the source depends on nothing, or its period is not positive.
        """
        if not self.position and self.period is None:
            raise InputError(
                "A source depends on position, on time by its period, or on both; a constant one "
                "is a polynomial reaction of order 0."
            )
        if self.period is not None and not self.period > 0:
            raise InputError(f"period is {self.period!r}, but must be positive, or None.")
        space = self.grid.shape if self.position else (1,) * self.grid.ndim
        phases = []
        if self.position:
            for axis, boundary in enumerate(self.grid.boundary):
                cells = self.grid.whole.shape[axis]
                whole = 2 * np.pi if boundary.kind == "circular" else np.pi
                phase = jnp.asarray(whole * (np.arange(cells) + 0.5) / cells, x.dtype)
                along = tuple(-1 if other == axis else 1 for other in range(self.grid.ndim))
                phases.append(part_along(phase, self.grid, axis).reshape(along))
        if self.period is not None:
            turns = jnp.asarray(forcing.time, x.dtype) / self.period
            phases.append(jnp.reshape(2 * jnp.pi * (turns - jnp.floor(turns)), (1,) * len(space)))
        waves = [wave(phase) for phase in phases for wave in (jnp.sin, jnp.cos)]
        return jnp.stack([jnp.broadcast_to(wave, space) for wave in waves])
