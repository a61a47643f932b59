"""Losses between the features that a trained network sees in two pictures.

The weights are the user's, see `weight_files`; nothing is downloaded. Lattices must have two axes.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffpattern.errors import InputError
from diffpattern.training.losses import vgg, weight_files
from diffpattern.training.losses.context import Context, seen_whole

# Of the first convolution of each block, as textures are taken from.
GRAM_LAYERS = ("1_1", "2_1", "3_1", "4_1", "5_1")
# Of the last one, as LPIPS was fitted with.
LPIPS_LAYERS = ("1_2", "2_2", "3_3", "4_3", "5_3")
# Four halvings leave one cell of it.
SMALLEST = 2**vgg.HALVINGS
_TINY = 1e-10


@dataclasses.dataclass(frozen=True)
class Network:
    """VGG16 with its weights.

    Attributes:
      features: the module.
      parameters: of the module.
      linear: of LPIPS, how much each channel of each feature counts; empty without LPIPS.
    """

    features: vgg.Features
    parameters: Any
    linear: tuple[Array, ...] = ()

    def __call__(self, pictures: Array) -> list[Array]:
        """See `vgg.Features`."""
        return self.features.apply(self.parameters, pictures)


def load(files: Sequence[str], loss: str) -> Network:
    """The network of `vgg_gram` or of `lpips`, out of files of weights.

    Args:
      files: PyTorch state dicts, see `weight_files`, which together have VGG16's convolutions
        under torchvision's names, and for `lpips` also `lin0.model.1.weight` [1, channels, 1, 1]
        to `lin4.model.1.weight`.
      loss: "vgg_gram" or "lpips".

    Raises:
      InputError: no file is named, one cannot be read, or they lack something.
    """
    if not files:
        raise InputError(
            f"loss.{loss} takes the weights of a trained network, but loss.settings.perceptual."
            "files is empty; name a file of weights there, as docs/losses.md says."
        )
    arrays = {name: array for path in files for name, array in weight_files.read(path).items()}
    told = ", ".join(map(str, files))
    layers = LPIPS_LAYERS if loss == "lpips" else GRAM_LAYERS
    features, parameters = vgg.from_state_dict(arrays, layers, told)
    if loss != "lpips":
        return Network(features, parameters)
    linear = []
    for index, layer in enumerate(LPIPS_LAYERS):
        width = features.widths[list(vgg.LAYERS).index(layer)]
        name = f"lin{index}.model.1.weight"
        weights = vgg.required(arrays, name, (1, width, 1, 1), told)
        linear.append(jnp.asarray(weights.reshape(-1)))
    return Network(features, parameters, tuple(linear))


@seen_whole
def vgg_gram(
    prediction: Array,
    truth: Array,
    context: Context,
    *,
    network: Network,
    red_green_blue: tuple[int, int, int],
) -> Array:
    """Mean squared difference of Gram matrices of VGG16's features, summed over five layers.

        G_ij = mean over cells of f_i f_j

    It is blind to where features lie, and so to where a texture does; it sees which features occur
    together. Prediction and truth may be of different sizes.

    Source: Gatys, Ecker and Bethge (2015), "Texture synthesis using convolutional neural networks".

    Args:
      prediction: [L, H, W, C].
      truth: [L, its H, its W, C].
      context: of the prediction.
      network: from `load`.
      red_green_blue: which channels are shown to the network, from 0 to 1.
    """

    def grams(x, mask):
        features = network(_pictures(x, context, mask, red_green_blue))
        flat = [f.reshape(f.shape[0], -1, f.shape[-1]) for f in features]
        return [jnp.einsum("lni,lnj->lij", f, f) / f.shape[1] for f in flat]

    truth_mask = context.mask if truth.shape == prediction.shape else None
    pairs = zip(grams(prediction, context.mask), grams(truth, truth_mask), strict=True)
    distances = sum(jnp.mean((ours - theirs) ** 2, (1, 2)) for ours, theirs in pairs)
    return _over_snapshots(distances, context, red_green_blue)


@seen_whole
def lpips(
    prediction: Array,
    truth: Array,
    context: Context,
    *,
    network: Network,
    red_green_blue: tuple[int, int, int],
) -> Array:
    """Learned perceptual image patch similarity, with the features of VGG16.

        sum over layers of  mean over cells of  sum over c of  w_c (f_c / |f| - g_c / |g|)^2

    It is nearly blind to what people hardly notice, such as small shifts and fine noise; it sees
    edges, textures and where they are.

    Source: Zhang, Isola, Efros, Shechtman and Wang (2018), "The unreasonable effectiveness of deep
    features as a perceptual metric".

    Args:
      prediction: [L, H, W, C].
      truth: likewise.
      context: of both.
      network: from `load`, with linear weights.
      red_green_blue: which channels are shown to the network, from 0 to 1.
    """
    features = lambda x: network(_pictures(x, context, context.mask, red_green_blue))
    distances = 0.0
    for ours, theirs, weights in zip(
        features(prediction), features(truth), network.linear, strict=True
    ):
        squares = (_directions(ours) - _directions(theirs)) ** 2
        distances = distances + jnp.mean(squares @ weights, (1, 2))
    return _over_snapshots(distances, context, red_green_blue)


def _directions(features: Array) -> Array:
    """Each cell's features over their length; the constant under the root bounds gradients."""
    return features / (jnp.sqrt(jnp.sum(features**2, -1, keepdims=True) + _TINY**2) + _TINY)


def _pictures(
    x: Array,
    context: Context,
    mask: Array | None,
    red_green_blue: tuple[int, int, int],
) -> Array:
    """Three channels of the snapshots; black where nothing counts or is known."""
    if context.grid.ndim != 2 or min(x.shape[1:-1]) < SMALLEST:
        cells = " x ".join(map(str, x.shape[1:-1]))
        raise InputError(
            f"loss.vgg_gram and loss.lpips look at pictures of {SMALLEST} x {SMALLEST} cells or "
            f"more, but the lattice has {cells}."
        )
    if len(red_green_blue) != 3 or not set(red_green_blue) <= set(range(x.shape[-1])):
        raise InputError(
            f"loss.settings.perceptual.red_green_blue is {red_green_blue}, but must be the indices "
            f"of three channels out of {x.shape[-1]} (the same one thrice shows it in grey)."
        )
    pictures = x[..., np.array(red_green_blue)]
    if mask is not None:
        pictures = pictures * mask[..., None]
    if context.weight is not None:
        known = context.weight[:, np.array(red_green_blue)] > 0
        pictures = pictures * known[:, None, None]
    return pictures


def _over_snapshots(
    distances: Array, context: Context, red_green_blue: tuple[int, int, int]
) -> Array:
    """The weighted mean of distances [L]; a snapshot counts as the channels that are shown do."""
    if context.weight is None:
        return jnp.mean(distances)
    return jnp.mean(distances * jnp.mean(context.weight[:, np.array(red_green_blue)], 1))
