"""What a cell of an automaton does with what it sees.

An update is a linen module, `update(features, channels, inputs) -> [C, *space]`: the change of each
of the lattice's C channels, out of the features [F, *space] of the cell itself and of the inputs
[I] that all cells are told alike (or None), which enter the first layer's bias. Last layers start
at zero, so that an untrained automaton does nothing. What is between is sown as "hidden".
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from diffpattern.errors import InputError
from diffpattern.models.networks import PointwiseDense, PointwiseNetwork, activation


class Network(nn.Module):
    """A multi-layer perceptron.

    Source: Mordvintsev et al., "Growing neural cellular automata", Distill (2020).

    Attributes:
      hidden: units of each hidden layer; with none, the change is linear in the features.
      activation: name of a flax.linen activation.
    """

    hidden: tuple[int, ...] = (128,)
    activation: str = "relu"

    @nn.compact
    def __call__(self, features: Array, channels: int, inputs: Array | None = None) -> Array:
        """See the module's docstring."""
        network = PointwiseNetwork(self.hidden, channels, self.activation, 0.0, name="network")
        return network(features, inputs)


class Gated(nn.Module):
    """A perceptron whose last layer says for each channel how to change, and whether.

        change = a * sigmoid(b),    (a, b) = MLP(features) with 2 C outputs

    Source: the gated linear unit of Dauphin et al., "Language modeling with gated convolutional
    networks" (2017).

    Attributes:
      hidden, activation: as of `Network`.
    """

    hidden: tuple[int, ...] = (128,)
    activation: str = "relu"

    @nn.compact
    def __call__(self, features: Array, channels: int, inputs: Array | None = None) -> Array:
        """See the module's docstring."""
        network = PointwiseNetwork(self.hidden, 2 * channels, self.activation, 0.0, name="network")
        return nn.glu(network(features, inputs), axis=0)


class Attention(nn.Module):
    """Multi-head attention among the views that a cell takes of what it sees.

    Linear maps of the features give each cell, for each head, as many queries q, keys k and values
    v of length d as there are tokens T. Within a head and a cell,

        attended[t] = sum over s of softmax_s(q[t] . k[s] / sqrt(d)) v[s],

    and the change is linear in all that is attended. Nothing but the perception reaches beyond the
    cell, so the rule is as local as any other; "Attention-based neural cellular automata" of
    Tesfaldet et al. (2022) attend to the neighbours' tokens instead.

    Source: Vaswani et al., "Attention is all you need" (2017).

    Attributes:
      heads: how many, each with maps of its own.
      tokens: views that a head takes.
      length: of a query, a key and a value.
    """

    heads: int = 4
    tokens: int = 4
    length: int = 8

    @nn.compact
    def __call__(self, features: Array, channels: int, inputs: Array | None = None) -> Array:
        """See the module's docstring."""
        shape = (3, self.heads, self.tokens, self.length)
        projected = PointwiseDense(math.prod(shape), name="projections")(features, inputs)
        query, key, value = projected.reshape(shape + (-1,))  # each [heads, T, d, cells]
        attended = attend(query / math.sqrt(self.length), key, value)
        attended = attended.reshape((-1,) + features.shape[1:])
        self.sow("intermediates", "hidden", attended)
        last = PointwiseDense(channels, nn.initializers.zeros_init(), name="output")
        return last(attended)


def attend(query: Array, key: Array, value: Array) -> Array:
    """softmax(q k^T) v for each head and cell; all are [heads, T, d, cells]."""
    scores = jnp.sum(query[:, :, None] * key[:, None], axis=3)  # [heads, T, T, cells]
    weights = jax.nn.softmax(scores, axis=2)
    return jnp.sum(weights[:, :, :, None] * value[:, None], axis=2)


class KolmogorovArnold(nn.Module):
    """Layers of learnt functions of one variable, sums of radial bases.

        y_j = sum_i ( sum_g w_jig phi_g(x_i) + v_ji base(x_i) ) + b_j
        phi_g(x) = exp(-((x - c_g) / h)^2),    centres c_g a distance h apart over [-reach, reach]

    Beyond that range the base branch alone goes on.

    Source: Liu et al., "KAN: Kolmogorov-Arnold networks" (2024), with the bases of Li,
    "Kolmogorov-Arnold networks are radial basis function networks" (2024).

    Attributes:
      hidden: units of each hidden layer.
      bases: how many centres.
      reach: of the centres, in units of the features and of the hidden layer.
      activation: the base branch, by its name in flax.linen.
    """

    hidden: tuple[int, ...] = (32,)
    bases: int = 8
    reach: float = 2.0
    activation: str = "silu"

    @nn.compact
    def __call__(self, features: Array, channels: int, inputs: Array | None = None) -> Array:
        """See the module's docstring."""
        if self.bases < 2 or not self.reach > 0:
            raise InputError(
                f"Radial bases are {self.bases} over a reach of {self.reach:g}, but must be 2 or "
                "more over a positive one."
            )
        base = activation(self.activation)

        def expanded(x: Array) -> Array:
            return jnp.concatenate(
                [base(x), radial_bases(x, self.bases, self.reach).reshape((-1,) + x.shape[1:])]
            )

        x = features
        for index, units in enumerate(self.hidden):
            layer = PointwiseDense(units, name=f"hidden_{index}")
            x, inputs = layer(expanded(x), inputs), None
            self.sow("intermediates", "hidden", x)
        last = PointwiseDense(channels, nn.initializers.zeros_init(), name="output")
        return last(expanded(x), inputs)


def radial_bases(x: Array, count: int, reach: float) -> Array:
    """Gaussians of x at `count` centres from -reach to reach, one distance wide: [count, ...]."""
    distance = 2 * reach / (count - 1)
    centres = jnp.linspace(-reach, reach, count, dtype=x.dtype).reshape((-1,) + (1,) * x.ndim)
    return jnp.exp(-(((x - centres) / distance) ** 2))
