"""Losses that compare Fourier modes: how strong each wave is, and where its crests lie.

With the modes P and T of prediction and truth, normalised so that sums of |P|^2 over modes are sums
of p^2 over cells (Parseval),

    |P - T|^2 = (|P| - |T|)^2 + 2 (|P| |T| - Re P T*)

The first part is `spectral`, the second `spectral_phase`: with equal weights they are l2, and with
a smaller weight on the phase a pattern may lie elsewhere, as long as it is of the same kind.
Lattices count as periodic; between walls, where they are not, prediction and truth have the jump
at the wall in common.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffpattern.precision import real
from diffpattern.training.losses.context import Context, seen_whole


@seen_whole
def spectral(prediction: Array, truth: Array, context: Context) -> Array:
    """Mean squared error of the amplitudes, mean (|P| - |T|)^2.

    It is blind to phases, and so to a shifted or mirrored pattern; it sees wavelengths and
    strengths.
    """
    difference = jnp.abs(_modes(prediction, context)) - jnp.abs(_modes(truth, context))
    return _mean(difference**2, context)


@seen_whole
def spectral_phase(prediction: Array, truth: Array, context: Context) -> Array:
    """What the phases add to the mean squared error, mean 2 (|P| |T| - Re P T*).

    A mode counts 2 |P| |T| (1 - cos of its phase error). It is blind to a positive factor on each
    mode, and so to waves that the prediction lacks; it sees how far the others are shifted.
    """
    p, t = _modes(prediction, context), _modes(truth, context)
    return _mean(2.0 * (jnp.abs(p) * jnp.abs(t) - jnp.real(p * jnp.conj(t))), context)


def _modes(x: Array, context: Context) -> Array:
    """Modes of the fields [L, *space, C], [L, C, *modes], half of those along the last axis."""
    fields = jnp.moveaxis(context.inside(x), -1, 1)
    return jnp.fft.rfftn(fields, axes=tuple(range(2, fields.ndim)), norm="ortho")


def _mean(x: Array, context: Context) -> Array:
    """The mean over all modes (of the cells that count), channels and snapshots."""
    last = context.grid.shape[-1]
    # A mode and its conjugate are stored once, but for those that are their own.
    waves = np.arange(x.shape[-1])
    multiplicity = np.where((waves == 0) | (2 * waves == last), 1.0, 2.0).astype(real())
    cells = float(np.prod(context.grid.shape))
    if context.mask is not None:
        cells = jnp.maximum(jnp.sum(context.mask), 1.0)
    return context.over_fields(jnp.sum(multiplicity * x, tuple(range(2, x.ndim))) / cells)
