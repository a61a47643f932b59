"""Losses between predicted and true snapshots.

Each is a small pure function of prediction and truth [L, *space, C] (the channels that are data),
of their `Context`, and of its settings where it has any. It gives one number: a weighted mean over
snapshots, channels and the cells that count. docs/losses.md says what each sees and is blind to.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array

from diffpattern import named_numbers, parts
from diffpattern.errors import InputError
from diffpattern.training.losses import (
    multi_scale,
    perceptual,
    pointwise,
    spectral,
    wasserstein,
)
from diffpattern.training.losses.context import Context

__all__ = ["LOSSES", "Context", "Loss", "own_weights", "weighted_sum"]

Loss = Callable[[Array, Array, Context], Array]

# Those with settings take them by name.
LOSSES: dict[str, Callable[..., Array]] = {
    "l2": pointwise.l2,
    "l1": pointwise.l1,
    "euclidean": pointwise.euclidean,
    "sampled_euclidean": pointwise.sampled_euclidean,
    "cosine": pointwise.cosine,
    "spatial_gradient": pointwise.spatial_gradient,
    "multi_scale": multi_scale.multi_scale,
    "spectral": spectral.spectral,
    "spectral_phase": spectral.spectral_phase,
    "colours": wasserstein.colours,
    "patches": wasserstein.patches,
    "vgg_gram": perceptual.vgg_gram,
    "lpips": perceptual.lpips,
}


def own_weights(entries: Sequence[str]) -> dict[str, float]:
    """The weights of losses of the user's own, of `loss.own`.

    Args:
      entries: "module:function=WEIGHT" each.

    Raises:
      InputError: an entry is something else, or there is no such function.
    """
    weights = named_numbers.read_single(
        entries,
        lambda name, weight: parts.is_own(name) and weight > 0,
        field="loss.own",
        form="'module:function=WEIGHT' with a positive weight",
    )
    for name in weights:
        parts.load_function(name, "loss.own")
    return weights


def _own(name: str) -> Loss:
    """A loss of the user's own, made sure to give one number."""
    function = parts.load_function(name, "loss.own")

    def loss(prediction: Array, truth: Array, context: Context) -> Array:
        value = function(prediction, truth, context)
        if jnp.shape(value):
            raise InputError(
                f"The loss {name} gives an array of the shape {jnp.shape(value)}; it must give "
                "one number, such as context.mean(...)."
            )
        return value

    return loss


# These compare what there is, and not where: the truth may have another size.
ANY_SIZE = ("colours", "patches", "vgg_gram")


def weighted_sum(
    weights: Mapping[str, float], settings: Mapping[str, Mapping[str, Any]] | None = None
) -> Loss:
    """The sum of the named losses times their weights; those of weight 0 are not computed.

    Args:
      weights: by the losses' names, those of the user's own among them.
      settings: of those that have any, by name.

    Raises:
      InputError: no loss has one of the names, no weight is positive, or one is negative.
    """
    for name in weights:
        if name not in LOSSES and not parts.is_own(name):
            raise InputError(f"loss has a weight for {name!r}; there are {', '.join(LOSSES)}.")
    used = {name: weight for name, weight in weights.items() if weight}
    if not used or not all(weight > 0 for weight in used.values()):
        raise InputError(
            f"The weights under loss are {dict(weights)}; none may be negative and one must be "
            "positive."
        )
    given = settings or {}
    terms = {
        name: _own(name) if parts.is_own(name) else functools.partial(LOSSES[name], **settings)
        for name, settings in ((name, given.get(name, {})) for name in used)
    }

    def loss(prediction: Array, truth: Array, context: Context) -> Array:
        for name in used:
            if truth.shape != prediction.shape and name not in ANY_SIZE:
                raise InputError(
                    f"loss.{name} compares cell by cell, but a prediction has the shape "
                    f"{prediction.shape} and its truth {truth.shape}; take {', '.join(ANY_SIZE)}."
                )
        return sum(used[name] * terms[name](prediction, truth, context) for name in used)

    return loss
