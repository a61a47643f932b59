"""What training by gradients minimises, as a config asks for it: losses and regularisers."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import Array
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffpattern.data.windows import Window
from diffpattern.grid.cutting import mean_over_blocks
from diffpattern.grid.forcing import Forcing
from diffpattern.parallel.mesh import DATA, SPREAD, lattices, on_mesh
from diffpattern.precision import real
from diffpattern.problem import Problem
from diffpattern.training import regularisers
from diffpattern.training.losses import (
    LOSSES,
    Context,
    Loss,
    own_weights,
    perceptual,
    weighted_sum,
)
from diffpattern.training.step import LOSS
from diffpattern.training.weighting import field_weights

Parameters = Any
# Of (states [L, *space, channels], window, key, parameters); states follow the window's first.
Objective = Callable[[Array, Window, Array, Parameters], Array]


def build(
    config: ConfigDict, sought: Problem, sizes: Sequence[tuple[int, ...]], mesh: Mesh
) -> Objective:
    """The loss of a window: the config's losses of its prediction, and its regularisers.

    Args:
      config: of the run.
      sought: the rule and the data that it is to reproduce, on whole lattices.
      sizes: of the lattices that windows have.
      mesh: on which the loss is taken, of the blocks of lattices that it makes.

    Raises:
      InputError: weights do not fit the data, a file of weights is missing or bad, or a loss does
        not suit the lattice.
    """
    fields, loss, whole, sought = config.loss, _loss(config.loss), sought, sought.cut(mesh)
    penalty = _penalty(config.regulariser, sought)

    def fit(prediction, window, key):
        context = Context(
            sought.of_size(window.size).statistics.grid,
            key=jax.random.fold_in(key, LOSS),
            weight=field_weights(window, fields.channel_weights, fields.time_weights),
            mask=window.forcing.mask,
        )
        return loss(prediction, window.values[1:], context)

    def objective(states, window, key, parameters):
        prediction = states[..., : window.values.shape[-1]]
        return fit(prediction, window, key) + penalty(parameters, states, window.forcing)

    for size in sizes:
        _rehearse(fit, config.training.window, whole.of_size(size), mesh)
    return objective


def _loss(fields: ConfigDict) -> Loss:
    """The weighted sum of losses, each with its settings."""
    weights = {name: fields[name] for name in LOSSES} | own_weights(fields.own)
    settings = {name: dict(fields.settings[name]) for name in LOSSES if name in fields.settings}
    for name in ("vgg_gram", "lpips"):
        if weights[name]:
            shared = fields.settings.perceptual
            network = perceptual.load(shared.files, name)
            settings[name] = {"network": network, "red_green_blue": shared.red_green_blue}
    return weighted_sum(weights, settings)


def _penalty(
    weights: ConfigDict, sought: Problem
) -> Callable[[Parameters, Array, Forcing], Array | float]:
    """The weighted sum of the regularisers, of (parameters, states [L, *space, C], forcing)."""

    def penalty(parameters, states, forcing):
        if not any(weights.values()):
            return 0.0
        here = sought.of_size(states.shape[1:-1])
        return mean_over_blocks(of_block(here, parameters, states, forcing), here.statistics.grid)

    def of_block(here, parameters, states, forcing):
        total = 0.0
        if weights.coverage:
            mask = here.mask.apply({"params": parameters["mask"]}, method="coverage")
            total = total + weights.coverage * regularisers.coverage(mask)
        if weights.outside:
            total = total + weights.outside * regularisers.outside(states, forcing.mask)
        if weights.out_of_range:
            total = total + weights.out_of_range * regularisers.out_of_range(states)
        if weights.sparsity:
            rule = {name: leaf for name, leaf in parameters.items() if name != "mask"}
            total = total + weights.sparsity * regularisers.sparsity(rule)
        return total

    return penalty


def _rehearse(fit: Callable, length: int, sought: Problem, mesh: Mesh) -> None:
    """Goes through a loss on shapes alone, so that what does not fit is said at once.

    Args:
      fit: of (prediction, window, key), on blocks.
      length: of windows.
      sought: the rule on the whole lattice.
      mesh: that cuts it into the blocks.
    """
    statistics, count = sought.statistics, mesh.shape[DATA]
    shape = (count, length + 1, *statistics.grid.shape, len(statistics.species))
    described = lambda shape: jax.ShapeDtypeStruct(shape, real())
    mask = described((count, *statistics.grid.shape)) if statistics.masked else None
    windows = Window(described(shape), Forcing(time=described((count,)), mask=mask))
    predictions = described((count, length, *shape[2:]))
    of_one = lambda prediction, window: fit(prediction, window, jax.random.key(0))
    layout = lattices(mesh, 2, statistics.grid.ndim), windows.layout(mesh)
    jax.eval_shape(on_mesh(jax.vmap(of_one), mesh, layout, SPREAD), predictions, windows)
