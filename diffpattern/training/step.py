"""The state of training, and one train step over the mesh.

A batch is a set of windows: stretches of trajectories, cut out of the data. They are spread over
the mesh's "data" axis, parameters are on every device, and sums are reduced over the mesh. Windows
of lattices of several sizes come in parts, one for each size, and a step is one over all of them.
Two kinds of step come in the same shape, `(state, batch) -> (state, metrics)`: the one here pulls
gradients back and hands them to Optax; the one in `least_squares` pushes sensitivities forward.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh

from diffpattern.data.windows import Window
from diffpattern.parallel.mesh import (
    CHECKED,
    DATA,
    EVERYWHERE,
    SPREAD,
    block_axes,
    on_mesh,
    own,
    put,
)
from diffpattern.training import groups
from diffpattern.training.pool import Pool, Slots

Parameters = Any
# Windows on lattices of one size: "window" (see `data.windows.Window`), "index" and "weight" of
# each, spread over the devices.
Part = dict[str, Any]
Batch = tuple[Part, ...]
Metrics = dict[str, Array]


@flax.struct.dataclass
class TrainState:
    """What training changes; all but the pool is the same on every device.

    Attributes:
      step: how many train steps were made.
      parameters: of the rule.
      optimiser: Optax's state, or the damping of least squares.
      pool: the slots of all windows, by parts of the batch, spread over the devices; empty where
        windows begin with data.
    """

    step: Array
    parameters: Parameters
    optimiser: Any
    pool: tuple[Slots, ...] = ()


Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def layout(parts: Batch | tuple[Slots, ...], mesh: Mesh) -> Any:
    """How the parts of a batch, or of a pool, lie on the mesh: a PartitionSpec for each array."""

    def of_part(part: Part | Slots) -> Any:
        if isinstance(part, Slots):
            return part.layout(mesh)
        return {**dict.fromkeys(part, SPREAD), "window": part["window"].layout(mesh)}

    return tuple(map(of_part, parts))


def window_keys(seed: int, step: Array, part: Part) -> Array:
    """The key of each window of a part: by seed, step and its place in the whole batch."""
    key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, part["index"])


def normalised_weights(batch: Batch) -> list[Array]:
    """The weights of the windows of each part, of which all devices' sum up to 1."""
    total = jax.lax.psum(sum(part["weight"].sum() for part in batch), DATA)
    return [part["weight"] / total for part in batch]


def over_windows(function: Callable, together: bool, *arrays):
    """`function` of each window on this device: all in one batch, or one after the other.

    One after the other keeps a window in a CPU's cache; an accelerator wants the batch.
    """
    if together:
        return jax.vmap(function)(*arrays)
    return jax.lax.map(lambda items: function(*items), arrays)


def prefers_together(choice: str) -> bool:
    """Whether a device takes its windows in one batch.

    Args:
      choice: "together", "apart" or "auto", which is together on accelerators.
    """
    return choice == "together" or (choice == "auto" and jax.default_backend() != "cpu")


def compiled(step: Step, mesh: Mesh) -> Step:
    """The jitted step, which takes over the memory of the state it is given.

    State and batch must lie on the mesh already, see `put_state` and `layout`.
    """
    everywhere = jax.sharding.NamedSharding(mesh, EVERYWHERE)
    state = TrainState(everywhere, everywhere, everywhere, None)
    return jax.jit(step, out_shardings=(state, everywhere), donate_argnums=0)


def put_state(state: TrainState, mesh: Mesh) -> TrainState:
    """Lays a state on the mesh: the pool over it, everything else on every device."""
    everywhere = put(dataclasses.replace(state, pool=()), mesh)
    pool = put(state.pool, mesh, layout(state.pool, mesh))
    return dataclasses.replace(everywhere, pool=pool)


def make_gradient_step(
    window_loss: Callable[[Parameters, Window, Array, Array], tuple[Array, Array]],
    optimiser: optax.GradientTransformation,
    lower: Parameters,
    mesh: Mesh,
    *,
    seed: int,
    together: bool,
    running: str = CHECKED,
    pool: Pool | None = None,
) -> Step:
    """A train step by the gradient of the mean loss over the windows.

    The loss is differentiated on each device by itself and summed afterwards, which is right with
    replication checks on or off; a reduction inside a differentiated loss, as there is over the
    blocks of a lattice, is wrong with them off.

    Args:
      window_loss: (parameters, window, key, whether the window's start is an old one of the pool)
        -> its loss, and the lattice that it ends with.
      optimiser: Optax's transformation of the gradients; may ask for the loss over these windows
        as a function of the parameters, `value_fn`.
      lower: smallest values of the parameters; after each update they are projected onto them.
      mesh: over whose "data" axis the windows lie, and their lattices over the others.
      seed: of this run.
      together: see `over_windows`.
      running: see `parallel.mesh.on_mesh`.
      pool: where windows begin; a batch's windows are whole trajectories then. None: they begin
        with their first snapshots.
    """

    differentiated = jax.value_and_grad(window_loss, has_aux=True)

    def of_part(parameters, step, slots, part):
        """The sums of loss and gradient over the windows of a part, and its slots after them."""

        def one(window, weight, key, slots):
            if pool is None:
                (loss, _), gradient = differentiated(parameters, window, key, jnp.array(False))
                return jax.tree.map(lambda x: weight * x, (loss, gradient)), None
            take_key, _ = pool_keys(key)
            which, window, age = pool.take(slots, window, take_key)
            (loss, end), gradient = differentiated(parameters, window, key, age > 0)
            return jax.tree.map(lambda x: weight * x, (loss, gradient)), (which, end)

        keys, weights = window_keys(seed, step, part), part["weight"]
        results, ends = over_windows(one, together, part["window"], weights, keys, slots)
        if pool is not None:
            back_keys = jax.vmap(lambda key: pool_keys(key)[1])(keys)
            lost = pool.lost(results[0], weights)
            slots = jax.vmap(pool.put_back)(
                slots, *ends, part["window"], back_keys, part["index"], lost
            )
        return jax.tree.map(lambda x: x.sum(0), results), slots

    axes = (DATA, *block_axes(mesh))

    def loss_and_gradient(parameters, step, slots, batch):
        parameters = own(parameters, axes)
        slots = slots if pool is not None else (None,) * len(batch)
        parts = zip(slots, batch, strict=True)
        sums, slots = zip(*(of_part(parameters, step, *part) for part in parts), strict=True)
        loss, gradient = functools.reduce(functools.partial(jax.tree.map, jnp.add), sums)
        total = jax.lax.psum(sum(part["weight"].sum() for part in batch), DATA)
        # All blocks of a lattice know its loss, and each its own share of the gradient.
        sums = jax.lax.psum(loss, DATA), jax.lax.psum(gradient, axes)
        mean = jax.tree.map(lambda x: x / total, sums)
        return mean, slots if pool is not None else ()

    optimiser = optax.with_extra_args_support(optimiser)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        slots = layout(state.pool, mesh)
        specs = EVERYWHERE, EVERYWHERE, slots, layout(batch, mesh)
        spread = on_mesh(loss_and_gradient, mesh, specs, (EVERYWHERE, slots), running)
        (loss, gradient), slots = spread(state.parameters, state.step, state.pool, batch)

        def projected(trial: Parameters) -> tuple[Array, Parameters]:
            inside = jax.tree.map(jnp.maximum, trial, lower)
            (loss, gradient), _ = spread(inside, state.step, state.pool, batch)
            return loss, jax.tree.map(
                lambda g, x, y: jnp.where(x < y, 0.0, g), gradient, trial, lower
            )

        updates, optimiser_state = optimiser.update(
            gradient, state.optimiser, state.parameters, value=loss, value_fn=_value_of(projected)
        )
        parameters = optax.apply_updates(state.parameters, updates)
        parameters = jax.tree.map(jnp.maximum, parameters, lower)
        metrics = {"loss": loss, "gradient_norm": optax.global_norm(gradient)}
        metrics |= groups.layer_norms(gradient, "gradient_norm")
        return TrainState(state.step + 1, parameters, optimiser_state, slots), metrics

    return step


def pool_keys(key: Array) -> Array:
    """A window's keys for taking out of the pool and for putting back, besides its rollout's."""
    return jax.random.split(jax.random.fold_in(key, _POOL), 2)


# What a window's key is folded with for each use of its own, besides its rollout's.
_POOL, AUGMENTATION, PROBING, LOSS = 1_000_003, 1_000_033, 1_000_037, 1_000_039


def _value_of(value_and_gradient: Callable[[Parameters], tuple[Array, Parameters]]) -> Callable:
    """The value alone, as a function that is differentiated by that gradient."""

    @jax.custom_vjp
    def value(parameters: Parameters) -> Array:
        return value_and_gradient(parameters)[0]

    scaled = lambda gradient, by: (jax.tree.map(lambda g: by * g, gradient),)
    value.defvjp(value_and_gradient, scaled)
    return value
