"""The convolutions of VGG16, of which perceptual losses take the features.

Source: Simonyan and Zisserman (2015), "Very deep convolutional networks for large-scale image
recognition", configuration D.
"""

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffpattern.errors import InputError

# How many convolutions each block has; between blocks the picture is halved.
BLOCKS = (2, 2, 3, 3, 3)
HALVINGS = len(BLOCKS) - 1

# Of the pictures that the published weights were trained on.
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


def _layers() -> dict[str, str]:
    """Name of each feature ("3_1" is the first of the third block) -> PyTorch's of its layer."""
    names, index = {}, 0
    for block, count in enumerate(BLOCKS, 1):
        for layer in range(1, count + 1):
            names[f"{block}_{layer}"] = f"features.{index}"
            index += 2  # a convolution and its rectification
        index += 1  # the halving
    return names


LAYERS = _layers()


class Features(nn.Module):
    """3 x 3 convolutions with rectification, in blocks between which maxima are taken.

    Attributes:
      wanted: names of the features to give, in the order of `LAYERS`.
      widths: how many channels each of the 13 layers gives.
    """

    wanted: Sequence[str]
    widths: Sequence[int]

    @nn.compact
    def __call__(self, pictures: Array) -> list[Array]:
        """Features of pictures [L, H, W, 3] of red, green and blue from 0 to 1, as in PyTorch.

        Each is [L, H / 2^k, W / 2^k, channels] in block k, rounded down.
        """
        x, features = (pictures - _MEAN) / _DEVIATION, []
        for (name, layer), width in zip(LAYERS.items(), self.widths, strict=True):
            if name.endswith("_1") and not name.startswith("1"):
                x = nn.max_pool(x, (2, 2), (2, 2))
            x = nn.relu(nn.Conv(width, (3, 3), padding=1, name=layer.replace(".", "_"))(x))
            if name in self.wanted:
                features.append(x)
            if len(features) == len(self.wanted):
                break
        return features


def from_state_dict(
    arrays: Mapping[str, np.ndarray], wanted: Sequence[str], files: str
) -> tuple[Features, dict]:
    """The network with the weights of a PyTorch state dict, whatever its layers' widths.

    Args:
      arrays: by PyTorch's names, `features.0.weight` [out, in, 3, 3] and `features.0.bias`.
      wanted: see `Features`.
      files: where they come from, for what is raised.

    Returns:
      The module and its parameters.

    Raises:
      InputError: an array is missing or does not fit.
    """
    parameters, widths, before = {}, [], 3
    for layer in LAYERS.values():
        kernel = required(arrays, f"{layer}.weight", (None, before, 3, 3), files)
        before = len(kernel)
        bias = required(arrays, f"{layer}.bias", (before,), files)
        parameters[layer.replace(".", "_")] = {
            "kernel": jnp.asarray(np.transpose(kernel, (2, 3, 1, 0))),
            "bias": jnp.asarray(bias),
        }
        widths.append(before)
    return Features(tuple(wanted), tuple(widths)), {"params": parameters}


def required(
    arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int | None, ...], files: str
) -> np.ndarray:
    """The array of this name.

    Args:
      arrays: by name.
      name: of the one.
      shape: that it must have; None stands for any size.
      files: where they come from, for what is raised.

    Raises:
      InputError: there is none, it has another shape, or it has numbers that are not finite.
    """
    if name not in arrays:
        raise InputError(
            f"loss.settings.perceptual.files is {files}, where there is no {name}; docs/losses.md "
            "says which files have it."
        )
    array = arrays[name]
    fits = array.ndim == len(shape) and all(
        want in (None, size) for want, size in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise InputError(
            f"loss.settings.perceptual.files is {files}, where {name} has the shape "
            f"{array.shape}, but VGG16 asks for ({wanted})."
        )
    if not np.isfinite(array).all():
        raise InputError(
            f"loss.settings.perceptual.files is {files}, where {name} has numbers that are not "
            "finite."
        )
    return array
