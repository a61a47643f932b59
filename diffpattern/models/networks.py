"""Pointwise networks: the same small multi-layer perceptron at every cell, species first."""

from collections.abc import Callable

import flax.linen as nn
from jax import Array

from diffpattern.errors import InputError
from diffpattern.models import initialisers

# Functions of flax.linen.activation whose value at a cell is not one of that cell alone: they
# normalise, sum or halve an axis, or count into a new one.
_NOT_POINTWISE = (
    "glu",
    "log_softmax",
    "logsumexp",
    "normalize",
    "one_hot",
    "softmax",
    "standardize",
)
# What that module takes from JAX; PReLU, its own, is a module with a parameter.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    name: function
    for name, function in sorted(vars(nn.activation).items())
    if callable(function)
    and getattr(function, "__module__", "").startswith("jax")
    and name not in _NOT_POINTWISE
}


def activation(name: str) -> Callable[[Array], Array]:
    """An activation function of flax.linen by its name.

    Raises:
      InputError: flax.linen has none of this name.
    """
    if name not in ACTIVATIONS:
        raise InputError(
            f"The activation {name!r} is not known; take one of {', '.join(ACTIVATIONS)}."
        )
    return ACTIVATIONS[name]


class PointwiseDense(nn.Module):
    """y = W^T x + b + V^T inputs at every cell: a dense layer over the first axis.

    flax.linen.Dense contracts the last axis; species-first lattices want the first one.
    """

    features: int
    kernel_init: Callable = nn.initializers.lecun_normal()
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Array, inputs: Array | None = None) -> Array:
        """Maps [C, ...] to [features, ...].

        Args:
          x: what each cell has.
          inputs: what all cells are told alike, [I], or None. It is a part of the bias, and never
            written out as a lattice.
        """
        kernel = self.param("kernel", self.kernel_init, (x.shape[0], self.features))
        # All cells on one axis: over several, XLA's CPU backend does not see the gradient of the
        # kernel as the matrix product that it is, and a train step takes twice as long.
        y = kernel.T @ x.reshape(x.shape[0], -1)
        bias = None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        if inputs is not None:
            shape = (inputs.shape[0], self.features)
            told = inputs.astype(x.dtype) @ self.param(
                "inputs", nn.initializers.lecun_normal(), shape
            )
            bias = told if bias is None else bias + told
        if bias is not None:
            y = y + bias[:, None]
        return y.reshape((self.features,) + x.shape[1:])


class PointwiseNetwork(nn.Module):
    """A multi-layer perceptron at every cell.

    The activations of its hidden layers are sown as "hidden".

    Attributes:
      hidden: units of each hidden layer.
      features: outputs.
      activation: name of a flax.linen activation.
      last_scale: factor on the last layer's first weights; 0 starts from the zero function.
      initialiser: name of the layers' first weights (see `initialisers`).
      last_bias: whether the outputs have biases; not where a constant would have no effect.
    """

    hidden: tuple[int, ...]
    features: int
    activation: str = "tanh"
    last_scale: float = 1.0
    initialiser: str = "lecun_normal"
    last_bias: bool = True

    @nn.compact
    def __call__(self, x: Array, inputs: Array | None = None) -> Array:
        """Maps [C, ...] to [features, ...]; `inputs` [I] are told to the first layer."""
        function = activation(self.activation)
        first = initialisers.named(self.initialiser)
        for index, units in enumerate(self.hidden):
            layer = PointwiseDense(units, kernel_init=first, name=f"hidden_{index}")
            x, inputs = function(layer(x, inputs)), None
            self.sow("intermediates", "hidden", x)
        return PointwiseDense(
            self.features,
            kernel_init=lambda *args: self.last_scale * first(*args),
            use_bias=self.last_bias,
            name="output",
        )(x, inputs)
