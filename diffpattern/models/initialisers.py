"""First weights of a pointwise layer, by name.

A weight matrix is [inputs, outputs], as `PointwiseDense` has it. A last layer that starts at zero,
so that a rule starts by doing nothing, is any of these under `last_scale = 0`.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from diffpattern.errors import InputError

Initialiser = Callable[..., Array]

# Copies of a unit would learn the same for ever; so much noise, as a share of what an entry of a
# random matrix would have, tells them apart.
_NOISE = 0.1


def diagonal(key: Array, shape: tuple[int, int], dtype=float) -> Array:
    """Each output is its own input, and a little of all others: near the identity.

    Where there are more outputs than inputs the inputs come round again; where there are fewer, an
    output has several, over the root of their number, which keeps unit variance at one.
    """
    inputs, outputs = shape
    rows, columns = jnp.arange(inputs)[:, None], jnp.arange(outputs)
    fewer = min(inputs, outputs)
    matches = (rows % fewer == columns % fewer).astype(dtype)
    identity = matches / jnp.sqrt(matches.sum(0))
    return identity + _NOISE * inputs**-0.5 * jax.random.normal(key, shape, dtype)


def permuted(key: Array, shape: tuple[int, int], dtype=float) -> Array:
    """As `diagonal`, with the outputs in a random order: each takes another channel's place."""
    order_key, value_key = jax.random.split(key)
    order = jax.random.permutation(order_key, shape[1])
    return diagonal(value_key, shape, dtype)[:, order]


def normal(key: Array, shape: tuple[int, int], dtype=float) -> Array:
    """Independent normal numbers, of standard deviation 0.1 whatever the layer's width."""
    return 0.1 * jax.random.normal(key, shape, dtype)


INITIALISERS = {
    "lecun_normal": nn.initializers.lecun_normal(),
    "orthogonal": nn.initializers.orthogonal(),
    "normal": normal,
    "diagonal": diagonal,
    "permuted": permuted,
}


def named(name: str) -> Initialiser:
    """The initialiser (key, [inputs, outputs], dtype) -> weights of this name.

    Raises:
      InputError: there is none of this name.
    """
    if name not in INITIALISERS:
        raise InputError(f"initialiser is {name!r}, but must be one of {', '.join(INITIALISERS)}.")
    return INITIALISERS[name]
