"""The state of training, and one train step over the mesh.

A batch is a set of windows: stretches of trajectories, cut out of the data. They are spread over
the mesh's "data" axis, parameters are on every device, and sums are reduced over the mesh. Two
kinds of step come in the same shape, `(state, batch) -> (state, metrics)`: the one here pulls
gradients back and hands them to Optax; the one in `least_squares` pushes sensitivities forward.
"""

from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from diffpattern.data.windows import Window
from diffpattern.parallel.mesh import CHECKED, DATA, EVERYWHERE, SPREAD, on_mesh, own

Parameters = Any
# "window" (see `data.windows.Window`), "index" and "weight" of each, spread over the devices.
Batch = dict[str, Any]
Metrics = dict[str, Array]


@flax.struct.dataclass
class TrainState:
    """What training changes; the same on every device.

    Attributes:
      step: how many train steps were made.
      parameters: of the rule.
      optimiser: Optax's state, or the damping of least squares.
    """

    step: Array
    parameters: Parameters
    optimiser: Any


Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def window_keys(seed: int, step: Array, batch: Batch) -> Array:
    """The key of each window of a batch: by seed, step and its place in the whole batch."""
    key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, batch["index"])


def over_windows(function: Callable, together: bool, *arrays):
    """`function` of each window on this device: all in one batch, or one after the other.

    One after the other keeps a window in a CPU's cache; an accelerator wants the batch.
    """
    if together:
        return jax.vmap(function)(*arrays)
    return jax.lax.map(lambda items: function(*items), arrays)


def prefers_together(choice: str) -> bool:
    """Whether a device takes its windows in one batch, for "together", "apart" or "auto"."""
    return choice == "together" or (choice == "auto" and jax.default_backend() != "cpu")


def compiled(step: Step, mesh: Mesh) -> Step:
    """The jitted step, which takes over the memory of the state it is given."""
    sharding = lambda spec: jax.sharding.NamedSharding(mesh, spec)
    return jax.jit(
        step,
        in_shardings=(sharding(EVERYWHERE), sharding(SPREAD)),
        out_shardings=sharding(PartitionSpec()),
        donate_argnums=0,
    )


def make_gradient_step(
    window_loss: Callable[[Parameters, Window, Array], Array],
    optimiser: optax.GradientTransformation,
    lower: Parameters,
    mesh: Mesh,
    *,
    seed: int,
    together: bool,
    running: str = CHECKED,
) -> Step:
    """A train step by the gradient of the mean loss over the windows.

    The loss is differentiated on each device by itself and summed afterwards, which is right with
    replication checks on or off; a reduction inside a differentiated loss is wrong with them off.

    Args:
      window_loss: (parameters, window, key) -> its loss.
      optimiser: Optax's transformation of the gradients; may ask for the loss over these windows
        as a function of the parameters, `value_fn`.
      lower: smallest values of the parameters; after each update they are projected onto them.
      mesh: over whose "data" axis the windows lie.
      seed: of this run.
      together: see `over_windows`.
      running: see `parallel.mesh.on_mesh`.
    """

    def loss_and_gradient(state: TrainState, batch: Batch):
        parameters = own(state.parameters)

        def one(window, weight, key):
            result = jax.value_and_grad(window_loss)(parameters, window, key)
            return jax.tree.map(lambda x: weight * x, result)

        keys = window_keys(seed, state.step, batch)
        results = over_windows(one, together, batch["window"], batch["weight"], keys)
        sums = jax.tree.map(lambda x: x.sum(0), results)
        total = jax.lax.psum(batch["weight"].sum(), DATA)
        return jax.tree.map(lambda x: x / total, jax.lax.psum(sums, DATA))

    optimiser = optax.with_extra_args_support(optimiser)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        spread = on_mesh(loss_and_gradient, mesh, (EVERYWHERE, SPREAD), EVERYWHERE, running)

        def projected(trial: Parameters) -> tuple[Array, Parameters]:
            inside = jax.tree.map(jnp.maximum, trial, lower)
            loss, gradient = spread(state.replace(parameters=inside), batch)
            return loss, jax.tree.map(
                lambda g, x, y: jnp.where(x < y, 0.0, g), gradient, trial, lower
            )

        loss, gradient = spread(state, batch)
        updates, optimiser_state = optimiser.update(
            gradient, state.optimiser, state.parameters, value=loss, value_fn=_value_of(projected)
        )
        parameters = optax.apply_updates(state.parameters, updates)
        parameters = jax.tree.map(jnp.maximum, parameters, lower)
        metrics = {"loss": loss, "gradient_norm": optax.global_norm(gradient)}
        return TrainState(state.step + 1, parameters, optimiser_state), metrics

    return step


def _value_of(value_and_gradient: Callable[[Parameters], tuple[Array, Parameters]]) -> Callable:
    """The value alone, as a function that is differentiated by that gradient."""

    @jax.custom_vjp
    def value(parameters: Parameters) -> Array:
        return value_and_gradient(parameters)[0]

    scaled = lambda gradient, by: (jax.tree.map(lambda g: by * g, gradient),)
    value.defvjp(value_and_gradient, scaled)
    return value
