"""What a cell of an automaton does with what it sees.

An update is a linen module, `update(features, channels, inputs) -> [C, *space]`: the change of each
of the lattice's C channels, out of the features [F, *space] of the cell itself and of the inputs
[I] that all cells are told alike (or None), which enter the first layer's bias. Last layers start
at zero, so that an untrained automaton does nothing. What is between is sown as "hidden".

Example:
  >>> update = Network(hidden=(8,))
  >>> variables = update.init(jax.random.key(0), jnp.ones((6, 4, 4)), 2, None)
  >>> update.apply(variables, jnp.ones((6, 4, 4)), 2, None).shape
  (2, 4, 4)
"""

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from diffpattern.errors import InputError
from diffpattern.models.networks import PointwiseDense, PointwiseNetwork, activation

# What `in_blocks` takes of a lattice at a time; a thousand more or fewer make little difference.
CELLS_OF_A_BLOCK = 2048


class Network(nn.Module):
    """A multi-layer perceptron.

    Source: Mordvintsev et al., "Growing neural cellular automata", Distill (2020).

    Attributes:
      hidden: units of each hidden layer; with none, the change is linear in the features.
      activation: name of a flax.linen activation.

    Example:
      >>> update = Network(hidden=(8,))
      >>> change, variables = update.init_with_output(jax.random.key(0), jnp.ones((6, 4, 4)), 2)
      >>> change.shape, float(change.max())
      ((2, 4, 4), 0.0)
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

    Example:
      >>> update = Gated(hidden=(8,))
      >>> change, variables = update.init_with_output(jax.random.key(0), jnp.ones((6, 4, 4)), 2)
      >>> change.shape
      (2, 4, 4)
    """

    hidden: tuple[int, ...] = (128,)
    activation: str = "relu"

    @nn.compact
    def __call__(self, features: Array, channels: int, inputs: Array | None = None) -> Array:
        """See the module's docstring."""
        network = PointwiseNetwork(self.hidden, 2 * channels, self.activation, 0.0, name="network")
        return nn.glu(network(features, inputs), axis=0)


class Attention(nn.Module):
    """Multi-head attention of a cell to views that it takes of what it sees.

    Linear maps of the features give each cell, for each head, a query q, and for each of its tokens
    a key k and a value v, all of length d. Within a head and a cell,

        attended = sum over tokens s of softmax_s(q . k[s] / sqrt(d)) v[s],

    and the change is linear in what the heads attend to. Nothing but the perception reaches beyond
    the cell, so the rule is as local as any other; "Attention-based neural cellular automata" of
    Tesfaldet et al. (2022) attend to the neighbours' tokens instead.

    Source: Vaswani et al., "Attention is all you need" (2017).

    Attributes:
      heads: how many, each with maps of its own.
      tokens: views among which a head chooses.
      length: of a query, a key and a value.

    Example:
      >>> update = Attention(heads=2, tokens=3, length=4)
      >>> change, variables = update.init_with_output(jax.random.key(0), jnp.ones((6, 4, 4)), 2)
      >>> change.shape, sorted(variables["params"])
      ((2, 4, 4), ['key', 'output', 'query', 'value'])
    """

    heads: int = 4
    tokens: int = 4
    length: int = 16

    @nn.compact
    def __call__(self, features: Array, channels: int, inputs: Array | None = None) -> Array:
        """See the module's docstring."""
        width = self.heads * self.length

        def tokens(name: str, count: int) -> Sequence[Array]:
            rows = PointwiseDense(count * width, name=name)(features, inputs)
            return lax.split(rows.reshape(count * width, -1), (width,) * count)

        (query,), keys, values = (
            tokens("query", 1),
            *(tokens(name, self.tokens) for name in ("key", "value")),
        )
        # Sums over a head's coordinates, and weights for all of them, are matrix products: XLA's
        # CPU backend takes other sums over an axis in front cell by cell, several times slower.
        heads = jnp.repeat(jnp.eye(self.heads, dtype=query.dtype), self.length, axis=1)
        query = query * self.length**-0.5
        scores = [heads @ (query * key) for key in keys]  # each [heads, cells]
        highest = lax.stop_gradient(functools.reduce(jnp.maximum, scores))
        weights = [jnp.exp(score - highest) for score in scores]
        scale = 1 / functools.reduce(operator.add, weights)
        chosen = [
            (heads.T @ (weight * scale)) * value
            for weight, value in zip(weights, values, strict=True)
        ]
        attended = functools.reduce(operator.add, chosen).reshape((-1,) + features.shape[1:])
        self.sow("intermediates", "hidden", attended)
        last = PointwiseDense(channels, nn.initializers.zeros_init(), name="output")
        return last(attended)


class KolmogorovArnold(nn.Module):
    """Layers of learnt functions of one variable, sums of radial bases; then a linear one.

        y_j = sum_i ( sum_g w_jig phi_g(x_i) + v_ji base(x_i) ) + b_j
        phi_g(x) = max(0, 1 - ((x - c_g) / 2h)^2)^4,    centres c_g, h apart, over [-reach, reach]

    Beyond that range the base branch alone goes on. The last layer, from the hidden one to the
    channels, has straight lines for functions: few outputs would not repay the bases' evaluation.

    Source: Liu et al., "KAN: Kolmogorov-Arnold networks" (2024), with radial bases as Li,
    "Kolmogorov-Arnold networks are radial basis function networks" (2024) has them; instead of his
    Gaussians exp(-((x - c_g) / h)^2), bumps much like them (within 0.08) that end, and cost a few
    products.

    Attributes:
      hidden: units of each hidden layer.
      bases: how many centres.
      reach: of the centres, in units of the features and of the hidden layer.
      activation: the base branch, by its name in flax.linen.

    Raises:
      InputError: when called, for fewer than two bases or a reach that is not positive.

    Example:
      >>> update = KolmogorovArnold(hidden=(8,), bases=4)
      >>> change, variables = update.init_with_output(jax.random.key(0), jnp.ones((6, 4, 4)), 2)
      >>> change.shape, sorted(variables["params"])
      ((2, 4, 4), ['hidden_0', 'output'])
    """

    hidden: tuple[int, ...] = (128,)
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

        def of_bases(layer: Callable[..., Any], x: Array, inputs: Array | None) -> Array:
            bases = radial_bases(x, self.bases, self.reach)
            return layer(jnp.concatenate([base(x), *bases]), inputs)

        x = features
        for index, units in enumerate(self.hidden):
            layer = PointwiseDense(units, name=f"hidden_{index}")
            x, inputs = in_blocks(of_bases, layer, x, inputs), None
            self.sow("intermediates", "hidden", x)
        last = PointwiseDense(channels, nn.initializers.zeros_init(), name="output")
        return last(x, inputs)


def in_blocks(
    function: Callable[[Callable[..., Any], Array, Array | None], Array],
    layer: PointwiseDense,
    x: Array,
    inputs: Array | None,
) -> Array:
    """`function(layer, x, inputs)` of x [C, *space]; on a CPU, for some cells after the others.

    For a function of each cell alone whose intermediates are many times x: they stay in the cache,
    and are computed again when gradients are pulled back (1.3 times faster for radial bases).

    Example:
      >>> layer = PointwiseDense(3, parent=None)
      >>> variables = layer.init(jax.random.key(0), jnp.ones((2, 4, 4)))
      >>> tripled = lambda layer, x, inputs: layer(3 * x, inputs)
      >>> in_blocks(tripled, layer.bind(variables), jnp.ones((2, 4, 4)), None).shape
      (3, 4, 4)
    """
    space = x.shape[1:]
    cells = math.prod(space)
    blocks = -(-cells // CELLS_OF_A_BLOCK)
    if blocks == 1 or jax.default_backend() != "cpu" or layer.is_initializing():
        return function(layer, x, inputs)
    size = -(-cells // blocks)
    padded = jnp.pad(x.reshape(-1, cells), ((0, 0), (0, blocks * size - cells)))
    # Free of the module that it is in, which a loop of JAX may not reach into.
    free = layer.clone(parent=None)
    bound = functools.partial(free.apply, {"params": layer.variables["params"]})

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def one(block):
        return function(bound, block, inputs)

    y = lax.map(one, padded.reshape(-1, blocks, size).swapaxes(0, 1)).swapaxes(0, 1)
    return y.reshape(-1, blocks * size)[:, :cells].reshape(-1, *space)


def radial_bases(x: Array, count: int, reach: float) -> list[Array]:
    """Bumps of x at `count` centres from -reach to reach, two distances to either side.

    A list, and not an array with an axis more, so that their gradient is a written-out sum: over
    an axis in front, XLA's CPU backend sums cell by cell (7 times slower).

    Example:
      >>> [round(float(bump), 3) for bump in radial_bases(jnp.array(0.0), 3, 2.0)]
      [0.316, 1.0, 0.316]
    """
    distance = 2 * reach / (count - 1)
    # In half widths; a product, where a quotient takes many times longer.
    place = x * (0.5 / distance)
    centres = [(index - (count - 1) / 2) / 2 for index in range(count)]
    squares = [jnp.maximum(1 - (place - centre) ** 2, 0.0) ** 2 for centre in centres]
    return [square * square for square in squares]
