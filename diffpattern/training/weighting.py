"""How much each channel of each snapshot of a window counts in what training minimises."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffpattern.data.windows import Window
from diffpattern.errors import InputError
from diffpattern.precision import real


def field_weights(
    window: Window, channels: Sequence[float] = (), times: Sequence[float] = ()
) -> Array | None:
    """The weights of a window's snapshots after the first.

    Weights by channel and by time are multiplied, each divided by its own mean, so that they move
    attention and not the size of the loss; what was not seen has weight 0, so that every number
    that was seen counts as it would if all had been.

    Args:
      window: with L + 1 snapshots of C channels; `known` [L + 1, C] says which were seen.
      channels: C weights, none negative and one positive; empty: all alike.
      times: likewise for successive snapshots, L or more, of which the first L are taken.

    Returns:
      [L, C]; None, where everything counts alike.

    Raises:
      InputError: there are not as many as there are channels, or fewer than snapshots.
    """
    length, count = window.values.shape[0] - 1, window.values.shape[-1]
    if channels and len(channels) != count:
        raise InputError(
            f"loss.channel_weights is {tuple(channels)}, but the data have {count} channels; give "
            "one for each, or none."
        )
    if times and len(times) < length:
        raise InputError(
            f"loss.time_weights is {tuple(times)}, but a window has {length} snapshots after its "
            "first; give one for each, or none."
        )
    weights = None
    if channels or times:
        by_time = _normalised(times or (1.0,) * length)[:length]
        by_channel = _normalised(channels or (1.0,) * count)
        weights = jnp.asarray(np.outer(by_time, by_channel))
    if window.known is None:
        return weights
    known = window.known[1:]
    return known if weights is None else known * weights


def _normalised(weights: Sequence[float]) -> np.ndarray:
    weights = np.asarray(weights, real())
    return weights / weights.mean()
