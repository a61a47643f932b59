"""Levenberg-Marquardt without the Jacobian, for thousands of parameters, or millions of unknowns.

The step is that of `least_squares`,

    min_d |J d + r|^2 + lambda |W d|^2,    (J'J + lambda W^2) d = -J'r,

but J is met in products only: J v pushes a direction forward through the rollout and J'u pulls
residuals back. The rollout is linearised once for all products of a step; of it the states are
kept, and what is between them is computed again. Conjugate gradients build the space of steps,

    span{M^-1 g, (M^-1 A) M^-1 g, ...},    g = J'r,  A = J'J + lambda W^2,

in Lanczos' form: its vectors are kept and made orthogonal to all before, since in float32 the short
recurrence of textbooks loses that after some ten products. The images J v are kept too. So the step
within the space is a small dense problem, solved by QR like every other here, for several dampings
with the same products.

How many products that takes depends on M. Where there are rows B that are roughly those of J (see
`preconditioning`), M = B'B + lambda W^2, in triangular factors of its square root, and W^2 are the
squared norms of B's columns. Else M = W^2, the squared norms of the columns of J, estimated: signs
u that are drawn at random have E[(J'u)_k^2] = sum_i J_ik^2.

Starts of windows may be unknowns too (see `shooting`). They belong to their window: they stay on
its device, and are part of the same linear system.

Sources: J. Martens, "Deep learning via Hessian-free optimization", ICML 2010; C. Paige and M.
Saunders, ACM Transactions on Mathematical Software 8, 43 (1982); C. Bekas, E. Kokiopoulou and
Y. Saad, Applied Numerical Mathematics 57, 1214 (2007) for the estimate of W.
"""

import dataclasses
import functools
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
from diffpattern.grid.cutting import on_all
from diffpattern.parallel.mesh import CHECKED, DATA, EVERYWHERE, block_axes, on_mesh, own
from diffpattern.precision import real
from diffpattern.training.least_squares import (
    TRIED_FACTORS,
    Residuals,
    decide,
    gathered,
    triangle,
)
from diffpattern.training.preconditioning import Rows
from diffpattern.training.shooting import settled, tied
from diffpattern.training.step import (
    PROBING,
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
# (window, key, M) -> a random sign for each of its residuals here, [M].
Signs = Callable[[Window, Array, int], Array]
# An array for each part of a batch, whose windows are of one size.
Parts = tuple[Array, ...]

# Random signs for each window: with the 16 windows of a batch, W is known to a quarter or better.
PROBES = 2


@dataclasses.dataclass(frozen=True)
class ConjugateGradients:
    """When conjugate gradients stop.

    Attributes:
      iterations: most products with J and J' in a step.
      tolerance: of the residual of the linear system, relative to its right-hand side.
    """

    iterations: int = 30
    tolerance: float = 0.01


@flax.struct.dataclass
class _Coordinates:
    """The coordinates z of steps in which conjugate gradients run: d = W^-1 y, y = R^-1 z.

    Attributes:
      shared: W^-1 of the parameters, [P]; 0 for those that stay.
      local: the same of the windows' own unknowns, [windows, 1] for each part of the batch; their
        y is z.
      upper: R with R'R = W^-1 M W^-1, [P, P]; None for the identity.
    """

    shared: Array
    local: Parts
    upper: Array | None

    def scaled(self, z: Array) -> Array:
        """y of one z [P], or of several [K, P]."""
        if self.upper is None:
            return z
        return jax.scipy.linalg.solve_triangular(self.upper, z.T).T

    def pulled(self, slope: Array) -> Array:
        """The derivative by z, from that by y."""
        if self.upper is None:
            return slope
        return jax.scipy.linalg.solve_triangular(self.upper, slope, trans=1)


@flax.struct.dataclass
class _Space:
    """The steps that conjugate gradients have found so far, as z of `_Coordinates`.

    Attributes:
      shared: the share of the parameters in each vector, [K + 1, P].
      local: that of the windows' own unknowns, [K + 1, windows, N] for each part of the batch.
      images: J of each vector, [K, windows, M] likewise.
      projected: the operator within the space, [K, K].
      count: how many vectors have images.
      remaining: the linear system's residual relative to its right-hand side.
    """

    shared: Array
    local: Parts
    images: Parts
    projected: Array
    count: Array
    remaining: Array


def make_matrix_free_step(
    residuals: Residuals,
    lower: Parameters,
    mesh: Mesh,
    *,
    seed: int,
    together: bool,
    running: str = CHECKED,
    sought_from: np.ndarray | int = 0,
    stopping: ConjugateGradients = ConjugateGradients(),
    rows: Rows | None = None,
    signs: Signs | None = None,
    start_weight: float = 0.0,
) -> Step:
    """A train step like `least_squares.make_least_squares_step`, by products alone.

    Bounds are kept by projection: a parameter on its bound that would fall below stays there for
    the whole step, and one that would fall below in a trial is set on it.

    Args:
      residuals: of one window; they begin the rollout with `window.start` where there is one.
      lower: smallest values of the parameters.
      mesh: over whose "data" axis the windows lie, and their lattices over the others.
      seed: of this run.
      together: see `step.over_windows`.
      running: see `parallel.mesh.on_mesh`.
      sought_from: see `least_squares.first_steps`.
      stopping: when conjugate gradients stop.
      rows: B of one window, for the preconditioner; None: it is diagonal.
      signs: random signs for the residuals of one window, where there are no rows; None: drawn for
        one after the other, as lattices that are not cut allow.
      start_weight: w, of the tie between a sought start and its snapshot; 0: windows start with
        their snapshots.
    """
    lower_flat = ravel_pytree(lower)[0]
    function = tied(residuals, start_weight)
    signs = signs or (lambda window, key, count: jax.random.rademacher(key, (count,), real()))
    axes = block_axes(mesh)
    of_blocks = math.prod(mesh.shape[axis] for axis in axes)

    def local(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        keys = [window_keys(seed, state.step, part) for part in batch]
        flat, unravel = ravel_pytree(state.parameters)
        # Each device differentiates for itself, see `least_squares`.
        # Of what blocks share, derivatives are summed over them, as a window's are to be.
        point, parameters = own(flat), own(state.parameters, (DATA, *axes))
        weights = normalised_weights(batch)
        windows = [part["window"] for part in batch]
        firsts = [part.values[:, 0].reshape(len(part.values), -1) for part in windows]
        # How far starts are from their snapshots; no numbers at all where they are not sought.
        shifts = [
            jnp.zeros_like(first) if start_weight else own(jnp.zeros((len(first), 0)))
            for first in firsts
        ]

        def over_parts(function: Callable, *parts: Sequence[Any]) -> list[Any]:
            """`function` of every window, one part after the other."""
            return [
                over_windows(function, together, *of_part) for of_part in zip(*parts, strict=True)
            ]

        def scaled(window: Window, weight: Array, key: Array) -> Callable[[Array, Array], Array]:
            """Residuals whose squares sum up to the window's share of the cost."""

            def of_window(flat: Array, shift: Array) -> Array:
                r = function(unravel(flat), shift, window, key)
                return jnp.sqrt(weight / float(of_blocks * (r.size - shift.size))) * r

            return of_window

        def begin(window, weight, key, shift):
            shift = settled(function, parameters, shift, window, key, axes)
            r, push = jax.linearize(scaled(window, weight, key), point, shift)
            pull = jax.linear_transpose(push, point, shift)
            row_key = jax.random.fold_in(key, PROBING)
            if rows is None:
                probe = lambda key: pull(signs(window, key, r.size))[0]
                told = jax.lax.map(probe, jax.random.split(row_key, PROBES)) / math.sqrt(PROBES)
            else:
                told = jnp.sqrt(weight) * rows(parameters, window, row_key)
            result = r, *pull(r), told, shift
            finite = [jnp.isfinite(array).all() for array in result]
            finite = on_all(functools.reduce(jnp.logical_and, finite), axes)
            result = jax.tree.map(lambda array: jnp.where(finite, array, 0.0), result)
            return result, jnp.where(finite, weight, 0.0), push

        begun = over_parts(begin, windows, weights, keys, shifts)
        results, counted, pushes = zip(*begun, strict=True)
        r, gradients, local_gradients, told, shifts = zip(*results, strict=True)
        gradient = _sum_of_all(gradients)
        at_bound = (flat <= lower_flat) & (gradient > 0)
        coordinates = _coordinates(
            jnp.concatenate([gathered(part).reshape(-1, flat.size) for part in told]),
            state.optimiser.support & (state.step >= sought_from) & ~at_bound,
            None if rows is None else state.optimiser.damping,
            # J'J is w + 1 times a window's scale, or a bit more, where starts go on unchanged.
            tuple(
                jnp.where(weight > 0, float(of_blocks * part.values[0, 1:].size) / weight, 0.0)
                / (1 + start_weight)
                for part, weight in zip(windows, counted, strict=True)
            ),
        )

        def product(shared, local):
            """J d, and J'J d."""

            def one(push, weight, direction):
                image = jnp.where(weight > 0, push(own(shared), direction), 0.0)
                back = jax.linear_transpose(push, point, direction)(image)
                return image, *(jnp.where(weight > 0, array, 0.0) for array in back)

            products = over_parts(one, pushes, counted, local)
            images, back, local_back = zip(*products, strict=True)
            return images, _sum_of_all(back), local_back

        damping = state.optimiser.damping
        slopes = gradient, local_gradients
        space = _krylov(product, coordinates, slopes, r, damping, stopping, (DATA, *axes))
        columns = [jnp.moveaxis(images, 0, -1) for images in space.images]
        of_window = functools.partial(triangle, axes=axes)
        factors = [gathered(part) for part in over_parts(of_window, r, columns)]
        stacked = [part.reshape(-1, part.shape[-1]) for part in factors]
        factor = jnp.linalg.qr(jnp.concatenate(stacked), mode="r")
        # The space's steps in units of W^-1, in which damping acts.
        vectors = coordinates.scaled(space.shared[:-1])
        ridge = jnp.linalg.qr(vectors.T, mode="r")

        def trial(damping):
            amounts = _best(factor, ridge, damping, space.count)
            local = [jnp.tensordot(amounts, part[:-1], axes=1) for part in space.local]
            new = jnp.maximum(flat + coordinates.shared * (amounts @ vectors), lower_flat)

            def one(window, weight, key, shift):
                square = jnp.sum(scaled(window, weight, key)(new, shift) ** 2)
                square = jax.lax.psum(square, axes) if axes else square
                return jnp.where(weight > 0, square, 0.0)

            moved = [
                shift + scale * part
                for shift, scale, part in zip(shifts, coordinates.local, local, strict=True)
            ]
            costs = over_parts(one, windows, counted, keys, moved)
            return new, _sum_of_all(costs)

        dampings = state.optimiser.damping * jnp.asarray(TRIED_FACTORS)
        trials, costs = jax.lax.map(trial, dampings)
        share = _sum_of_all(counted)
        new, metrics = decide(state, trials, costs, jnp.sum(factor[:, -1] ** 2), share)
        return new, metrics | {
            "products": space.count.astype(real()),
            "remaining": space.remaining,
        }

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        specs = EVERYWHERE, layout(batch, mesh)
        return on_mesh(local, mesh, specs, EVERYWHERE, running)(state, batch)

    return step


def _coordinates(
    rows: Array, moving: Array, damping: Array | None, local_squares: Parts
) -> _Coordinates:
    """The coordinates of conjugate gradients.

    Args:
      rows: B, or enough of its kind for the norms of its columns, [M, P].
      moving: which parameters may change, [P].
      damping: lambda; None: B is not good enough for a preconditioner.
      local_squares: W^-2 of the windows' own unknowns, [windows] for each part of the batch.
    """
    squares = jnp.sum(rows**2, axis=0)
    shared = jnp.where(moving & (squares > 0), jax.lax.rsqrt(squares), 0.0)
    upper = None
    if damping is not None:
        ridge = jnp.sqrt(damping) * jnp.eye(len(squares))
        upper = jnp.linalg.qr(jnp.concatenate([rows * shared, ridge]), mode="r")
    return _Coordinates(shared, tuple(jnp.sqrt(part)[:, None] for part in local_squares), upper)


def _krylov(product, coordinates, gradients, r, damping, stopping, axes) -> _Space:
    """The space of steps that conjugate gradients reach; see the module's docstring.

    Args:
      product: a step's two shares -> its images, and J'J of it as two shares.
      coordinates: in which the space is built.
      gradients: J'r, in two shares.
      r: residuals [windows, M] for each part of the batch.
      damping: lambda.
      stopping: when to stop.
      axes: of the mesh, over which windows and blocks of their lattices lie.
    """
    scales = coordinates.shared, coordinates.local
    first = (
        coordinates.pulled(-scales[0] * gradients[0]),
        jax.tree.map(lambda scale, slope: -scale * slope, scales[1], gradients[1]),
    )
    length = _norm(*first, axes)
    safe = jnp.where(length > 0, length, 1.0)
    # One vector for each number that may change is enough.
    most = stopping.iterations
    if not _has_numbers(first[1]):
        most = min(most, first[0].size)

    def fresh(vector):
        return jnp.zeros((most + 1, *vector.shape), vector.dtype).at[0].set(vector / safe)

    def unfinished(space):
        return (space.count < most) & (space.remaining > stopping.tolerance)

    def grow(space):
        now = space.count
        shared = coordinates.scaled(space.shared[now])
        local = jax.tree.map(lambda scale, part: scale * part[now], scales[1], space.local)
        image, *back = product(scales[0] * shared, local)
        shared = coordinates.pulled(scales[0] * back[0] + damping * shared)
        local = jax.tree.map(jnp.multiply, scales[1], back[1])
        overlaps = jnp.zeros(most + 1)
        for _ in range(2):  # once more, for what rounding left over
            overlap = _along(space, shared, local, axes)
            shared = shared - overlap @ space.shared
            local = jax.tree.map(
                lambda part, before, overlap=overlap: part - jnp.tensordot(overlap, before, axes=1),
                local,
                space.local,
            )
            overlaps = overlaps + overlap
        length = _norm(shared, local, axes)
        projected = space.projected.at[:, now].set(overlaps[:most])
        within = (jnp.arange(most) <= now).astype(projected.dtype)
        system = projected * within + jnp.diag(1.0 - within)
        solution = jnp.linalg.solve(system, jnp.zeros(most).at[0].set(1.0))
        projected = projected.at[now + 1, now].set(length, mode="drop")
        inverse = jnp.where(length > 0, 1.0 / length, 0.0)
        return _Space(
            space.shared.at[now + 1].set(inverse * shared),
            jax.tree.map(
                lambda before, part: before.at[now + 1].set(inverse * part), space.local, local
            ),
            jax.tree.map(lambda before, part: before.at[now].set(part), space.images, image),
            projected,
            now + 1,
            length * jnp.abs(solution[now]),
        )

    begun = _Space(
        fresh(first[0]),
        jax.tree.map(fresh, first[1]),
        jax.tree.map(lambda part: jnp.zeros((most, *part.shape), part.dtype) * part[None], r),
        jnp.zeros((most, most)),
        jnp.int32(0),
        jnp.where(length > 0, jnp.inf, 0.0),
    )
    return jax.lax.while_loop(unfinished, grow, begun)


def _best(factor: Array, ridge: Array, damping: Array, count: Array) -> Array:
    """How much of each vector of the space makes the best step for one damping, [K].

    Args:
      factor: the triangular factor of [images r], [K + 1, K + 1].
      ridge: the triangular factor of what damping acts on: the parameters' shares of the vectors.
      damping: lambda.
      count: how many of the K vectors there are.
    """
    columns, target = factor[:, :-1], -factor[:, -1]
    unused = jnp.diag((jnp.arange(columns.shape[1]) >= count).astype(columns.dtype))
    q, upper = jnp.linalg.qr(jnp.concatenate([columns, jnp.sqrt(damping) * ridge, unused]))
    return jax.scipy.linalg.solve_triangular(upper, q[: len(target)].T @ target)


def _along(space: _Space, shared: Array, local: Parts, axes: Sequence[str]) -> Array:
    """Inner products of a vector with all those of a space."""
    overlap = space.shared @ shared
    if not _has_numbers(local):
        return overlap
    parts = [
        jnp.einsum("kwn,wn->k", before, part)
        for before, part in zip(space.local, local, strict=True)
    ]
    return overlap + jax.lax.psum(sum(parts), axes)


def _norm(shared: Array, local: Parts, axes: Sequence[str]) -> Array:
    square = jnp.sum(shared**2)
    if _has_numbers(local):
        square = square + jax.lax.psum(sum(jnp.sum(part**2) for part in local), axes)
    return jnp.sqrt(square)


def _has_numbers(local: Parts) -> bool:
    """Whether windows have unknowns of their own."""
    return any(part.size for part in local)


def _sum_of_all(parts: Sequence[Array]) -> Array:
    """The sum over the windows of all parts and devices, whatever they are spread over."""
    return sum(gathered(part).sum(0) for part in parts)
