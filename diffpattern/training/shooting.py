"""Multiple shooting: windows whose starts are unknowns, tied to the snapshots that measured them.

A window that starts from a noisy snapshot carries its noise on, and a fit takes a part of what
becomes of it for the rule's. Here every window has a start s = X_0 + q of its own, and

    min_{p, q}  |x(X_0 + q; p) - X|^2 + w |q|^2,

so that a long noisy trajectory is learnt from as many short windows, each free to start a little
beside its snapshot. As these are linear in q to first order, (w + Phi'Phi) q = Phi'(X - x(X_0)) for
given parameters, where Phi = dx/ds is never formed: the system is as good as solved after a few
conjugate gradients, since what diffuses is mostly forgotten and most singular values of Phi are
near zero. `matrix_free` then moves parameters and starts together.

Source: H. G. Bock, "Recent advances in parameter identification techniques for ODE" (1983).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from diffpattern.data.windows import Window

Parameters = Any

_ROUNDS, _ITERATIONS = 2, 10


def tied(
    residuals: Callable[[Parameters, Window, Array], Array], weight: float
) -> Callable[[Parameters, Array, Window, Array], Array]:
    """Residuals of a window from a start beside its snapshot, and those of the start itself.

    Args:
      residuals: of (parameters, window, key); they begin with `window.start` where there is one.
      weight: w, of the tie between a start and its snapshot; 1 if all snapshots are equally noisy.
        A channel that was not seen there is not tied.

    Returns:
      A function of (parameters, q, window, key), with q a flat array: [M + N], or with w = 0, where
      starts are as measured and q is empty, [M].
    """
    if not weight:
        return lambda parameters, shift, window, key: residuals(parameters, window, key)

    def function(parameters: Parameters, shift: Array, window: Window, key: Array) -> Array:
        first = window.values[0]
        moved = dataclasses.replace(window, start=first + shift.reshape(first.shape))
        measured = 1.0 if window.known is None else window.known[0]
        tie = (weight**0.5 * measured * shift.reshape(first.shape)).reshape(-1)
        return jnp.concatenate([residuals(parameters, moved, key), tie])

    return function


def settled(
    function: Callable[[Parameters, Array, Window, Array], Array],
    parameters: Parameters,
    shift: Array,
    window: Window,
    key: Array,
    axes: Sequence[str] = (),
) -> Array:
    """The shift that suits given parameters best, by two rounds of Gauss-Newton if they help.

    Args:
      function: from `tied`.
      parameters: of the rule.
      shift: where to begin, [N].
      window, key: whose start it is.
      axes: of the mesh, over which the blocks of its lattice lie.
    """
    of_shift = lambda shift: function(parameters, shift, window, key)
    total = lambda array: jax.lax.psum(jnp.sum(array), axes) if axes else jnp.sum(array)
    for _ in range(_ROUNDS if shift.size else 0):
        r, pull = jax.vjp(of_shift, shift)

        def operator(v: Array, shift: Array = shift, pull: Callable = pull) -> Array:
            return pull(jax.jvp(of_shift, (shift,), (v,))[1])[0]

        new = shift + _solved(operator, -pull(r)[0], total)
        # Under a rule that is still wrong, what is linear may not reach as far as the solution.
        better = total(of_shift(new) ** 2) < total(r**2)
        shift = jnp.where(better, new, shift)
    return shift


def _solved(
    operator: Callable[[Array], Array], target: Array, total: Callable[[Array], Array]
) -> Array:
    """A solution x of operator(x) = target, as far as some conjugate gradients lead.

    Args:
      operator: symmetric and positive.
      target: [N].
      total: the sum of all numbers of such an array.
    """

    def better(state, _):
        x, residual, direction, square = state
        image = operator(direction)
        length = square / jnp.maximum(total(direction * image), jnp.finfo(x.dtype).tiny)
        x, residual = x + length * direction, residual - length * image
        new = total(residual**2)
        grown = new / jnp.maximum(square, jnp.finfo(x.dtype).tiny)
        return (x, residual, residual + grown * direction, new), None

    start = jnp.zeros_like(target), target, target, total(target**2)
    return jax.lax.scan(better, start, length=_ITERATIONS)[0][0]
