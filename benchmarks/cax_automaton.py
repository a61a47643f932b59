"""The automaton that `benchmarks.nca` times, in CAX: needs the extra `bench`.

Made of CAX's own parts, as its examples put them together: `ComplexSystem` and its jitted scan,
`ConvPerceive` with fixed stencils, `ResidualUpdate` with cell dropout, and gradients by the
update's parameters alone.

With our parameters mapped into it, it computes what ours does:

* Stencils. Identity and gradient are the same: CAX's Sobel kernels, divided by the sum of their
  absolute values, have the weights of our derivative. CAX's Laplacian has 5 points divided by 8,
  which no weights of a network make our 9-point one, so its convolution is given our weights: as
  many numbers, and the same work.
* Order of what is perceived. CAX has the stencils of one channel side by side; ours has all
  channels of the identity, then for each channel the two components of its gradient, then all
  channels of the Laplacian. The rows of the first layer are reordered accordingly.
* Fire mask. CAX's dropout divides the updates that it keeps by their probability; its last layer
  is therefore given ours times the fire rate. The masks come from different generators, so below
  a fire rate of 1 the two agree in distribution alone.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from cax.core.cs import ComplexSystem
from cax.core.perceive import ConvPerceive
from cax.core.perceive.kernels import grad_kernel, identity_kernel
from cax.core.update import ResidualUpdate
from flax import nnx
from jax import Array

from diffpattern.grid.geometry import Grid
from diffpattern.models.nca import NeuralCellularAutomaton
from diffpattern.models.perception import views

_STENCILS = 4  # identity, two components of the gradient, Laplacian
_TRAINED = nnx.All(nnx.Param, nnx.PathContains("update"))


class Automaton(ComplexSystem):
    """Our automaton on a torus of two axes, with the default stencils, in CAX.

    Args:
      rule: ours.
      channels: of the lattice.
      parameters: of ours, mapped as the module's docstring says.
    """

    def __init__(self, rule: NeuralCellularAutomaton, channels: int, parameters: dict):
        rngs = nnx.Rngs(0)
        perceived = _STENCILS * channels
        self.perceive = ConvPerceive(
            channels,
            perceived,
            kernel_size=(3, 3),
            padding="CIRCULAR",
            feature_group_count=channels,
            rngs=rngs,
        )
        self.update = ResidualUpdate(
            2,
            channels,
            perceived,
            rule.update.hidden,
            cell_dropout_rate=1.0 - rule.fire_rate,
            rngs=rngs,
        )
        of_channel = jnp.concatenate(
            [identity_kernel(2), grad_kernel(2), _laplacian_weights()], axis=-1
        )
        self.perceive.conv.kernel = nnx.Param(jnp.tile(of_channel, channels)[:, :, None])
        for layer, (kernel, bias) in zip(
            self.update.layers, mapped(parameters, channels, rule.fire_rate), strict=True
        ):
            layer.kernel[...] = kernel[None, None]
            layer.bias[...] = bias

    def _step(self, state, input=None, *, sow=False):
        return self.update(state, self.perceive(state), input)


@functools.partial(nnx.jit, static_argnames="steps")
def loss_and_gradient(automaton: Automaton, windows: Array, steps: int) -> tuple[Array, nnx.State]:
    """Mean squared error after `steps`, and its gradient, for windows [B, 2, H, W, C]."""

    def loss(automaton):
        predicted = automaton(windows[:, 0], num_steps=steps)
        return jnp.mean((predicted - windows[:, 1]) ** 2)

    return nnx.value_and_grad(loss, argnums=nnx.DiffState(0, _TRAINED))(automaton)


def _laplacian_weights() -> Array:
    """The weights of our Laplacian, [3, 3, 1]: what it answers to a single cell, mirrored."""
    grid = Grid((5, 5))
    impulse = jnp.zeros(grid.shape).at[2, 2].set(1.0)
    response = views(impulse[None], grid, ["laplacian"])[0][0]
    return jnp.flip(response[1:4, 1:4])[..., None]


def mapped(parameters: dict, channels: int, fire_rate: float) -> list[tuple[Array, Array]]:
    """Kernel and bias of both layers, for CAX."""
    layers = parameters["update"]["network"]
    first, last = layers["hidden_0"], layers["output"]
    channel = np.arange(channels)
    ours = [channel, channels + 2 * channel, channels + 2 * channel + 1, 3 * channels + channel]
    return [
        (first["kernel"][np.stack(ours, axis=1).reshape(-1)], first["bias"]),
        jax.tree.map(lambda x: fire_rate * x, (last["kernel"], last["bias"])),
    ]
