"""What a run of a config would take here: one step is compiled and tried, and nothing kept."""

import math
import time
from collections.abc import Iterator

import jax
import numpy as np
from ml_collections import ConfigDict

from diffpattern import plan, train
from diffpattern.data.simulation import largest_eigenvalue
from diffpattern.errors import InputError
from diffpattern.memory import scaled
from diffpattern.models.diffusion import CrossDiffusion, LinearDiffusion, NonlinearDiffusion
from diffpattern.models.phase_field import PhaseField
from diffpattern.models.rda import ReactionDiffusionAdvection
from diffpattern.parallel.mesh import DATA
from diffpattern.problem import Problem
from diffpattern.solvers import explicit
from diffpattern.train import SetUp
from diffpattern.training.step import compiled

# Steps are tried until so many seconds have passed, or so many of them.
_SECONDS, _STEPS = 5.0, 10

# Terms whose coefficient bounds an explicit step, what it is called, and by which power of the
# Laplacian it decays.
_BOUNDING = (
    (LinearDiffusion, "diffusion coefficients", 1),
    (NonlinearDiffusion, "diffusion coefficients", 1),
    (CrossDiffusion, "diffusion coefficients", 1),
    (PhaseField, "kappa of the phase field", 2),
)
# Terms that an exponential solver takes exactly.
_EXACT = ((LinearDiffusion, "linear diffusion"), (PhaseField, "kappa of the phase field"))
# The Laplacian that a divergence of gradients is.
_OF_FLUXES = "cross"


def check(config: ConfigDict) -> str:
    """Sets up the run of a checked config, compiles its train step and tries it.

    Data that are simulated are made and kept, as training would; nothing else is written.

    Returns:
      What a person wants to know before a long run: the data, the mesh, memory and time of a step,
      time of the run, and whether a step of the solver is stable.

    Raises:
      InputError: the config or the data cannot be used, or the first step's loss is not finite.
    """
    run = train.set_up(config)
    state = train.first_state(config, run.training, run.initial, run.batches, run.mesh)
    batch = train.draw_batch(run.batches, 0, run.mesh)
    began = time.monotonic()
    step = compiled(run.training.step, run.mesh).lower(state, batch).compile()
    compiling = time.monotonic() - began

    seconds: list[float] = []
    while len(seconds) < _STEPS and sum(seconds) < _SECONDS:
        began = time.monotonic()
        state, metrics = jax.block_until_ready(step(state, batch))
        seconds.append(time.monotonic() - began)
        if len(seconds) == 1 and not math.isfinite(metrics["loss"]):
            raise InputError(
                f"The loss of the first step is {float(metrics['loss'])}: the rule that training "
                "begins with leaves the finite numbers within a window; take a smaller solver.dt, "
                "or shorter windows."
            )
    return "\n".join(_told(config, run, plan.memory(step), compiling, float(np.median(seconds))))


def _told(
    config: ConfigDict, run: SetUp, memory: int, compiling: float, step: float
) -> Iterator[str]:
    by = lambda sizes: " x ".join(map(str, sizes))
    sizes = ", ".join(by(one.grid.shape) for one in run.train)
    trajectories = sum(len(one.values) for one in run.train)
    windows = -(-config.training.batch // run.mesh.shape[DATA])
    numbers = sum(leaf.size for leaf in jax.tree.leaves(run.initial))
    steps = config.training.steps
    kind = run.mesh.devices.flat[0].device_kind
    yield f"Devices   {by(run.mesh.shape.values())} ({', '.join(run.mesh.shape)}), {kind}"
    yield (
        f"Data      {trajectories} trajectories of {len(run.train[0].times)} snapshots on {sizes} "
        f"cells to train on"
    )
    yield f"Rule      {numbers:,} parameters, {run.sought.channels} channels"
    yield (
        f"One step  {step:.2g} s and {scaled(memory, 'B')} of memory, for the {windows} "
        f"windows of each device; compiled in {compiling:.0f} s"
    )
    yield (
        f"The run   {steps} steps, {duration(compiling + steps * step)}, besides scores and "
        "checkpoints"
    )
    if config.training.continuation:
        yield "          (windows grow, so earlier steps take less; the step is one of the last)"
    yield from _stability(config, run.sought)


def _stability(config: ConfigDict, sought: Problem) -> Iterator[str]:
    """Up to which coefficients a step of the solver damps the shortest waves."""
    fields, rule = config.solver, sought.rule
    if not isinstance(rule, ReactionDiffusionAdvection):
        return
    named = f"Solver    {fields.name}"
    if not fields.dt:
        yield f"{named} with adaptive steps, which diffusion of no size makes unstable"
        return
    terms, grid = rule.terms.values(), sought.statistics.grid.whole
    if fields.name not in explicit.NAMES:
        exact = [what for kind, what in _EXACT if any(isinstance(term, kind) for term in terms)]
        if exact:
            yield f"{named}, which {' and '.join(exact)} of no size makes unstable"
        return
    limits: dict[str, float] = {}
    for term in terms:
        for kind, what, power in _BOUNDING:
            if isinstance(term, kind):
                eigenvalue = largest_eigenvalue(grid, getattr(term, "laplacian", _OF_FLUXES))
                most = explicit.stability_limit(fields.name, eigenvalue**power) / fields.dt
                limits[what] = min(most, limits.get(what, math.inf))
    if limits:
        told = " or ".join(f"{what} of up to {most:.3g}" for what, most in limits.items())
        yield f"{named} with steps of {fields.dt:g} is stable for {told}"


def duration(seconds: float) -> str:
    """A time as a person says it."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"
