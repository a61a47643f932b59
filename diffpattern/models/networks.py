"""Pointwise networks: the same small multi-layer perceptron at every cell, species first."""

from collections.abc import Callable

import flax.linen as nn
from jax import Array

from diffpattern.errors import InputError


def activation(name: str) -> Callable[[Array], Array]:
    """An activation function of flax.linen by its name.

    Raises:
      InputError: flax.linen has none of this name.
    """
    known = (
        "celu",
        "elu",
        "gelu",
        "hard_sigmoid",
        "hard_swish",
        "hard_tanh",
        "leaky_relu",
        "relu",
        "relu6",
        "selu",
        "sigmoid",
        "silu",
        "soft_sign",
        "softplus",
        "swish",
        "tanh",
    )
    if name not in known:
        raise InputError(f"The activation {name!r} is not known; take one of {', '.join(known)}.")
    return getattr(nn, name)


class PointwiseDense(nn.Module):
    """y = W^T x + b at every cell: a dense layer over the first axis.

    flax.linen.Dense contracts the last axis; species-first lattices want the first one.
    """

    features: int
    kernel_init: Callable = nn.initializers.lecun_normal()
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps [C, ...] to [features, ...]."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[0], self.features))
        # All cells on one axis: over several, XLA's CPU backend does not see the gradient of the
        # kernel as the matrix product that it is, and a train step takes twice as long.
        y = kernel.T @ x.reshape(x.shape[0], -1)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros_init(), (self.features,))[:, None]
        return y.reshape((self.features,) + x.shape[1:])


class PointwiseNetwork(nn.Module):
    """A multi-layer perceptron at every cell.

    Attributes:
      hidden: units of each hidden layer.
      features: outputs.
      activation: name of a flax.linen activation.
      last_scale: factor on the last layer's first weights; 0 starts from the zero function.
    """

    hidden: tuple[int, ...]
    features: int
    activation: str = "tanh"
    last_scale: float = 1.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps [C, ...] to [features, ...]."""
        function = activation(self.activation)
        for units in self.hidden:
            x = function(PointwiseDense(units)(x))
        lecun = nn.initializers.lecun_normal()
        return PointwiseDense(
            self.features, kernel_init=lambda *args: self.last_scale * lecun(*args)
        )(x)
