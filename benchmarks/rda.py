"""A train step of a network RDA, against the same right-hand side solved by Diffrax."""

import diffrax
import jax
import jax.numpy as jnp
from jax import Array

from benchmarks import training
from benchmarks.pairs import Pair, relative_difference
from diffpattern.problem import Problem


def rda(
    batch: int = 8,
    shape: tuple[int, ...] = (64, 64),
    species: int = 32,
    hidden: tuple[int, ...] = (32, 32, 32),
    steps: int = 32,
) -> Pair:
    """Loss and gradient of one batch.

    Args:
      batch: trajectories.
      shape: of the lattice.
      species: channels.
      hidden: units of the reaction's hidden tanh layers.
      steps: Heun steps of unit length.
    """
    sought = training.build(
        {"model.rda.terms": ("network", "diffusion"), "model.rda.network.hidden": hidden},
        species=species,
        shape=shape,
        interval=float(steps),
    )
    parameters = training.random_like(sought.initialise(0), 0.01)
    windows = training.random_windows(batch, shape, species)
    ours, theirs = training.loss_and_gradient(sought), through_diffrax(sought)
    return Pair(
        name="rda",
        what=f"loss and gradient: {batch} trajectories, {' x '.join(map(str, shape))}, {species} "
        f"species, {len(hidden)} x {hidden[0]} tanh, {steps} Heun steps",
        other=f"diffrax {diffrax.__version__}",
        ours=lambda: ours(parameters, windows),
        theirs=lambda: theirs(parameters, windows),
        difference=lambda: relative_difference(
            ours(parameters, windows), theirs(parameters, windows)
        ),
        tolerance=1e-4,
        rounds=5,
        target=2.0,
    )


def through_diffrax(sought: Problem):
    """(parameters, windows) -> loss and gradient, by `diffeqsolve` with its default adjoint."""
    rule, interval = sought.rule, sought.statistics.interval
    term = diffrax.ODETerm(lambda t, x, parameters: rule.apply({"params": parameters}, x))

    def solve(parameters, start: Array) -> Array:
        solution = diffrax.diffeqsolve(
            term,
            diffrax.Heun(),
            t0=0.0,
            t1=interval,
            dt0=1.0,
            y0=jnp.moveaxis(start, -1, 0),
            args=parameters,
            stepsize_controller=diffrax.ConstantStepSize(),
        )
        return jnp.moveaxis(solution.ys[0], 0, -1)

    @jax.jit
    @jax.value_and_grad
    def function(parameters, windows):
        predicted = jax.vmap(solve, (None, 0))(parameters, windows[:, 0])
        return jnp.mean((predicted - windows[:, 1]) ** 2)

    return function
