"""Levenberg-Marquardt through the solver.

With residuals r(p) of all windows and their Jacobian J, a step solves

    min_d |J d + r|^2 + lambda |W d|^2,    W = norms of the columns of J (Marquardt's scaling)

and is taken if the cost |r(p + d)|^2 of the same windows falls. The normal matrix J'J is never
formed: in float32 it is indefinite for the problems that this is for, and its rounding depends on
how many devices summed it. Instead each window's [J r] is reduced to its triangular factor by QR,
the small factors are gathered in the order of the windows, and a second QR of them gives the
factor of the whole: the same numbers on any number of devices.

Source: J. J. More, "The Levenberg-Marquardt algorithm: implementation and theory" (1978); the
tall-skinny QR is of Demmel, Grigori, Hoemmen, Langou (2012).
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh

from diffpattern.data.windows import Window
from diffpattern.errors import InputError
from diffpattern.grid.cutting import on_all
from diffpattern.grid.forcing import Forcing
from diffpattern.models.rda import ReactionDiffusionAdvection
from diffpattern.models.term import no_changes
from diffpattern.parallel.mesh import CHECKED, DATA, EVERYWHERE, block_axes, on_mesh, own
from diffpattern.precision import real
from diffpattern.rollout import Stepped, snapshots
from diffpattern.training import groups
from diffpattern.training.step import (
    Batch,
    Metrics,
    Step,
    TrainState,
    layout,
    normalised_weights,
    over_windows,
    window_keys,
)

Parameters = Any
Residuals = Callable[[Parameters, Window, Array], Array]
Linearisation = Callable[[Parameters, Window, Array], tuple[Array, Array]]
# Both take (parameters, window, key); residuals are [M], Jacobians [M, P].

MOST_PARAMETERS = 2000
# Each step tries the damping of the last one times these, and keeps the best: a trial costs a
# rollout of the state, while a new Jacobian costs one of all its sensitivities.
TRIED_FACTORS = (0.04, 0.2, 1.0, 5.0, 25.0)
RAISE_ON_REJECTION = 125.0
# Rounding can make a parameter go to its bound and back for ever; two or three rounds are usual.
MOST_EXCHANGES = 10
# A step that no run comes to.
NEVER = np.iinfo(np.int32).max
SMALLEST_DAMPING, LARGEST_DAMPING = 1e-9, 1e9


@flax.struct.dataclass
class Fit:
    """What least squares keeps from one step to the next, besides the parameters.

    Attributes:
      damping: lambda, dimensionless: columns are scaled to norm one before it is added.
      support: which parameters are sought, [P]; the others stay as they are (see `selection`).
    """

    damping: Array
    support: Array

    @classmethod
    def start(cls, damping: float, parameters: Parameters) -> "Fit":
        """Of the first step: all parameters are sought."""
        count = sum(leaf.size for leaf in jax.tree.leaves(parameters))
        return cls(jnp.asarray(damping, real()), jnp.ones(count, bool))


def first_steps(parameters: Parameters, frozen: Sequence[str], steps: int) -> np.ndarray:
    """The step from which each parameter is sought, [P].

    Args:
      parameters: arrays, or their shapes.
      frozen: groups of those that are not sought from the first on, by how their paths begin.
      steps: how many these wait for; 0: they are never sought.

    Raises:
      InputError: there are no parameters of some name, or no others.
    """
    field = "optimiser.levenberg_marquardt.frozen"
    named = dict.fromkeys(frozen, steps or NEVER)
    first = groups.spread_out(named, 0, parameters, field=field)
    if min(jax.tree.leaves(first)) > 0:
        raise InputError(f"{field} is {tuple(frozen)!r}, which leaves nothing to train.")
    first = jax.tree.map(lambda array, step: np.full(array.shape, step), parameters, first)
    return np.concatenate([array.ravel() for array in jax.tree.leaves(first)])


def by_forward_mode(residuals: Residuals) -> Linearisation:
    """Residuals and Jacobian of any dynamics, one tangent for each parameter."""

    def linearise(parameters, window, key):
        flat, unravel = ravel_pytree(parameters)
        function = lambda flat: residuals(unravel(flat), window, key)
        value, push = function(flat), lambda v: jax.jvp(function, (flat,), (v,))[1]
        return value, jax.vmap(push)(jnp.eye(flat.size)).T

    return linearise


def by_sensitivities(
    pair: Stepped,
    times: np.ndarray,
    acting: Callable[[Any, Window], Forcing] = lambda parameters, window: window.forcing,
    factor: Callable[[Window], Array | float] = lambda window: 1.0,
) -> Linearisation:
    """Residuals and Jacobian of a PDE, by carrying its sensitivities beside its state.

    The same numbers as `by_forward_mode`, by the structure of the right-hand side.

    Args:
      pair: dynamics of the state and its sensitivities, from
        `ReactionDiffusionAdvection.with_sensitivities`.
      times: of the window's snapshots, relative to the first, [L + 1].
      acting: (parameters, window) -> its forcing as the rule meets it, with the derivatives of a
        mask that is learnt.
      factor: what multiplies a window's residuals, [L, 1 ..., C] or 1.
    """

    def linearise(parameters, window, key):
        truth = jnp.moveaxis(window.values, -1, 1)
        count = ravel_pytree(parameters)[0].size
        start = truth[0], no_changes(truth[0], count)
        forcing = acting(parameters, window)
        states, sensitivities = snapshots(pair, parameters, start, times, key, forcing)
        # Each channel's are [L, P, *space]; rows come in the order of the data, channels last.
        jacobian = jnp.moveaxis(jnp.stack(sensitivities, axis=-1), 1, -1)
        r = jnp.moveaxis(states, 1, -1) - window.values[1:]
        counts = jnp.asarray(factor(window))
        return (counts * r).reshape(-1), (counts[..., None] * jacobian).reshape(-1, count)

    return linearise


def derivative_fit(
    rule: Callable[[Window], ReactionDiffusionAdvection],
    interval: float,
    acting: Callable[[Any, Window], Forcing] = lambda parameters, window: window.forcing,
) -> tuple[Residuals, Linearisation]:
    """Right-hand side at the middle of two snapshots, minus their difference quotient.

        r = f((x_0 + x_1) / 2) - (x_1 - x_0) / interval

    Far too rough to find a rule from snapshots that lie apart, but a good start for a fit through
    the solver, and nearly free. Pairs of which anything was not seen do not count.

    Args:
      rule: the right-hand side for the lattice of a window.
      interval: between two snapshots, in units of time.
      acting: as of `by_sensitivities`.
    """

    def midpoint(parameters, window):
        first, second = jnp.moveaxis(window.values, -1, 1)
        middle = acting(parameters, window).later(interval / 2)
        counted = 1.0 if window.known is None else window.known.min()
        return (first + second) / 2, (second - first) / interval, middle, counted

    def residuals(parameters, window, key):
        del key
        x, slope, forcing, counted = midpoint(parameters, window)
        value = rule(window).apply({"params": parameters}, x, forcing)
        return counted * jnp.moveaxis(value - slope, 0, -1).reshape(-1)

    def linearise(parameters, window, key):
        del key
        x, slope, forcing, counted = midpoint(parameters, window)
        count = ravel_pytree(parameters)[0].size
        pair = x, no_changes(x, 1)
        value, by_parameters = rule(window).with_sensitivities(parameters, pair, forcing)
        # Rows come in the order of the data, channels last; each channel's are [P, *space].
        jacobian = jnp.moveaxis(jnp.stack(by_parameters, axis=-1), 0, -1)
        r = jnp.moveaxis(value - slope, 0, -1)
        return counted * r.reshape(-1), counted * jacobian.reshape(-1, count)

    return residuals, linearise


def triangle(residuals: Array, jacobian: Array, axes: Sequence[str] = ()) -> Array:
    """The triangular factor of [J r], [P + 1, P + 1]: all that a least squares step needs of them.

    Rows are first reduced in portions that stay in a CPU's cache.

    Args:
      residuals: [M].
      jacobian: [M, P].
      axes: of the mesh, over which further rows lie: the blocks of a lattice.
    """
    rows = jnp.concatenate([jacobian, residuals[:, None]], axis=1)
    columns = rows.shape[1]
    while rows.shape[0] > 8 * columns:
        portion = 4 * columns
        whole = -(-rows.shape[0] // portion) * portion
        rows = jnp.pad(rows, ((0, whole - rows.shape[0]), (0, 0))).reshape(-1, portion, columns)
        rows = jnp.linalg.qr(rows, mode="r").reshape(-1, columns)
    rows = jnp.pad(rows, ((0, max(columns - rows.shape[0], 0)), (0, 0)))
    factor = jnp.linalg.qr(rows, mode="r")
    for axis in axes:
        factor = jnp.linalg.qr(gathered(factor, axis), mode="r")
    return factor


def damped_step(factor: Array, damping: Array, flat: Array, lower: Array) -> Array:
    """The Levenberg-Marquardt step from the triangular factor of [J r].

    The best step within the bounds: parameters that would fall below theirs are set on them, those
    on a bound away from which the cost falls are released, and the others are solved for again,
    until neither happens.

    Source: the block pivoting of Portugal, Judice and Vicente, Math. of Computation 63 (1994).

    Args:
      factor: [P + 1, P + 1] from `triangle`.
      damping: lambda.
      flat: parameters [P].
      lower: their lower bounds [P].

    Returns:
      The new parameters, [P].
    """
    r, target = factor[:-1, :-1], -factor[:-1, -1]
    norms = jnp.linalg.norm(r, axis=0)
    norms = jnp.where(norms > 0, norms, 1.0)
    scaled = r / norms
    ridge = jnp.sqrt(damping) * jnp.eye(len(flat))

    def solve(fixed):
        shift = jnp.where(fixed, lower - flat, 0.0)
        free = jnp.where(fixed, 0.0, 1.0)
        q, upper = jnp.linalg.qr(jnp.concatenate([scaled * free, ridge]))
        rest = jnp.concatenate([target - r @ shift, jnp.zeros_like(target)])
        moved = jax.scipy.linalg.solve_triangular(upper, q.T @ rest) / norms
        return flat + jnp.where(fixed, shift, moved)

    def better(fixed, new):
        step = (new - flat) * norms
        uphill = scaled.T @ (scaled @ step - target) + damping * step
        return jnp.where(fixed, uphill > 0, new < lower)

    def unsettled(state):
        fixed, new, rounds = state
        return (better(fixed, new) != fixed).any() & (rounds < MOST_EXCHANGES)

    def exchange(state):
        fixed, new, rounds = state
        fixed = better(fixed, new)
        return fixed, solve(fixed), rounds + 1

    none = jnp.zeros(flat.shape, bool)
    _, new, _ = jax.lax.while_loop(unsettled, exchange, (none, solve(none), 0))
    return jnp.maximum(new, lower)


def make_least_squares_step(
    residuals: Residuals,
    linearise: Linearisation,
    lower: Parameters,
    mesh: Mesh,
    *,
    seed: int,
    together: bool,
    running: str = CHECKED,
    sought_from: np.ndarray | int = 0,
) -> Step:
    """A train step by Levenberg-Marquardt on the mean squared residual of the windows.

    Windows over which the present parameters diverge are left out of the step (the metric
    "diverged" is their share): they have no Jacobian, and the others lead out of there. A trial
    that makes any other window diverge is rejected.

    Args:
      residuals: of one window.
      linearise: residuals and Jacobian of one window.
      lower: smallest values of the parameters.
      mesh: over whose "data" axis the windows lie, and their lattices over the others.
      seed: of this run.
      together: see `step.over_windows`.
      running: see `parallel.mesh.on_mesh`.
      sought_from: see `first_steps`.
    """
    lower_flat = ravel_pytree(lower)[0]
    axes = block_axes(mesh)
    of_blocks = math.prod(mesh.shape[axis] for axis in axes)

    def local(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        keys = [window_keys(seed, state.step, part) for part in batch]
        flat, unravel = ravel_pytree(state.parameters)
        # Each device differentiates for itself: a derivative by what all devices share would be
        # summed over them.
        parameters = own(state.parameters, (DATA, *axes))

        def reduced(window, weight, key):
            r, jacobian = linearise(parameters, window, key)
            finite = on_all(jnp.isfinite(r).all() & jnp.isfinite(jacobian).all(), axes)
            # A float, since a large lattice has more numbers than an index of JAX counts.
            scale = jnp.sqrt(weight / float(of_blocks * r.size))
            rows = jnp.where(finite, scale * r, 0.0), jnp.where(finite, scale * jacobian, 0.0)
            return triangle(*rows, axes), jnp.where(finite, weight, 0.0)

        rows, counted = [], []
        for part, *further in zip(batch, normalised_weights(batch), keys, strict=True):
            factors, weights = over_windows(reduced, together, part["window"], *further)
            rows.append(gathered(factors).reshape(-1, factors.shape[-1]))
            counted.append(weights)
        factor = jnp.linalg.qr(jnp.concatenate(rows), mode="r")
        before = jnp.sum(factor[:, -1] ** 2)

        def cost(trial):
            def one(window, weight, key):
                square = jnp.mean(residuals(unravel(trial), window, key) ** 2)
                square = jax.lax.pmean(square, axes) if axes else square
                return jnp.where(weight > 0, weight * square, 0.0)

            costs = [
                over_windows(one, together, part["window"], *further).sum()
                for part, *further in zip(batch, counted, keys, strict=True)
            ]
            return jax.lax.psum(sum(costs), DATA)

        # Columns of zeros: the parameters that they belong to stay where they are.
        sought = state.optimiser.support & (state.step >= sought_from)
        factor = factor * jnp.append(sought, True)
        dampings = state.optimiser.damping * jnp.asarray(TRIED_FACTORS)
        trials = jax.lax.map(lambda d: damped_step(factor, d, flat, lower_flat), dampings)
        costs = jax.lax.map(cost, trials)
        share = jax.lax.psum(sum(weights.sum() for weights in counted), DATA)
        return decide(state, trials, costs, before, share)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        specs = EVERYWHERE, layout(batch, mesh)
        return on_mesh(local, mesh, specs, EVERYWHERE, running)(state, batch)

    return step


def decide(
    state: TrainState, trials: Array, costs: Array, before: Array, share: Array
) -> tuple[TrainState, Metrics]:
    """Takes the best trial if it is better than what there was, and sets the next damping.

    Args:
      state: before the step.
      trials: parameters, one row for each of `TRIED_FACTORS`, [5, P].
      costs: of the trials, [5].
      before: the cost of the present parameters.
      share: of the batch's windows, those that did not diverge; costs are sums over these.

    Returns:
      The state after the step, and metrics of it.
    """
    flat, unravel = ravel_pytree(state.parameters)
    damping = state.optimiser.damping
    dampings = damping * jnp.asarray(TRIED_FACTORS)
    costs = jnp.where(jnp.isfinite(costs), costs, jnp.inf)
    best = jnp.argmin(costs)
    accepted = costs[best] < before
    following = jnp.where(accepted, dampings[best], damping * RAISE_ON_REJECTION)
    following = jnp.clip(following, SMALLEST_DAMPING, LARGEST_DAMPING)
    moved_to = jnp.where(accepted, trials[best], flat)
    new = dataclasses.replace(
        state,
        step=state.step + 1,
        parameters=unravel(moved_to),
        optimiser=dataclasses.replace(state.optimiser, damping=following),
    )
    # Means over the windows that did not diverge: not a number where none is left.
    metrics = {
        "loss": before / share,
        "trial_loss": costs[best] / share,
        "accepted": accepted.astype(real()),
        "damping": dampings[best],
        "diverged": 1.0 - share,
    }
    return new, metrics | groups.layer_norms(unravel(moved_to - flat), "step_norm")


def gathered(local: Array, axis: str = DATA) -> Array:
    """Every device's rows along an axis of the mesh, in their order, the same on each device.

    By a sum in which each row has one addend that is not zero: unlike `all_gather`, it is known to
    give the same on every device.
    """
    devices = jax.lax.axis_size(axis)
    if devices == 1:
        return jax.lax.psum(local, axis)
    place = jax.lax.axis_index(axis) * local.shape[0]
    whole = own(jnp.zeros((devices * local.shape[0],) + local.shape[1:], local.dtype), (axis,))
    return jax.lax.psum(jax.lax.dynamic_update_slice_in_dim(whole, local, place, 0), axis)


def check_size(parameters: Parameters) -> None:
    """Refuses a rule with too many parameters for a dense Jacobian.

    Raises:
      InputError: saying how many there are.
    """
    count = sum(leaf.size for leaf in jax.tree.leaves(parameters))
    if count > MOST_PARAMETERS:
        raise InputError(
            f"Least squares (optimiser.name='levenberg_marquardt' or optimiser.derivative_steps) "
            f"keeps a dense Jacobian, for at most {MOST_PARAMETERS} parameters, but the rule has "
            f"{count}; take optimiser.levenberg_marquardt.form='matrix_free' and no selection of "
            "terms, or an Optax optimiser such as 'nadam' and no derivative_steps."
        )
