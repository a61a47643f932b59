"""What a train step of a config would take on a mesh of devices that need not be there.

The step is compiled for as many virtual devices of the processor as the mesh has, which takes
seconds whatever the lattice, and is not run. The compiled program says what memory a device needs,
what it computes and what it sends to others. How long that takes follows from the data sheet of one
accelerator, `config.plan`. docs/scaling.md has formulas for it.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffpattern import dataset, problem, systems
from diffpattern.data import statistics, streams
from diffpattern.data.statistics import Statistics
from diffpattern.data.windows import Window
from diffpattern.memory import scaled
from diffpattern.methods import make_training
from diffpattern.parallel import counting, placement
from diffpattern.parallel.counting import Work
from diffpattern.parallel.mesh import DATA, EVERYWHERE, make_mesh
from diffpattern.precision import real
from diffpattern.problem import Problem
from diffpattern.training.step import TrainState, compiled, layout, prefers_together


@dataclasses.dataclass(frozen=True)
class Plan:
    """What one train step takes, of each device.

    Attributes:
      mesh: sizes of its axes, by name.
      lattice: cells along each axis of the whole.
      block: cells along each axis of what a device has of it.
      work: what a device computes, and says to others.
      memory: bytes that it needs.
      uncounted: what it does that is not in `work`, for a person to read.
      computing, exchanging: seconds for these, as the data sheet has it.
    """

    mesh: dict[str, int]
    lattice: tuple[int, ...]
    block: tuple[int, ...]
    work: Work
    memory: int
    computing: float
    exchanging: float
    uncounted: tuple[str, ...] = ()

    @property
    def efficiency(self) -> float:
        """The share of the time in which a device computes, if it does nothing else meanwhile."""
        return self.computing / (self.computing + self.exchanging)


def devices(config: ConfigDict) -> int:
    """How many devices the mesh of a config has; where it takes all there are on "data", one."""
    return max(config.mesh.data, 1) * config.mesh.rows * config.mesh.columns


def make(config: ConfigDict) -> Plan:
    """The plan of a checked config; there must be as many virtual devices as `devices` says.

    Raises:
      InputError: the config cannot work on this mesh.
    """
    config = config.copy_and_resolve_references()
    if config.training.windows == "auto":
        # The devices here are a processor's, but what is planned for are accelerators.
        config.training.windows = "together"
    mesh = make_mesh(max(config.mesh.data, 1), config.mesh.rows, config.mesh.columns)
    summary, trajectories, snapshots = _data(config)
    sought = problem.build(config, summary, mesh.size)
    initial = jax.eval_shape(lambda: sought.initialise(config.seed))
    together = prefers_together(config.training.windows)
    trained = lambda initial: make_training(config, sought, initial, mesh, together)
    training = trained(initial)
    batch = _batch(config, sought, mesh, trajectories, snapshots)
    state = _placed(
        TrainState(
            jax.ShapeDtypeStruct((), jnp.int32),
            initial,
            jax.eval_shape(lambda initial: trained(initial).start(), initial),
        ),
        EVERYWHERE,
        mesh,
    )
    pool = jax.eval_shape(training.start_pool, batch)
    state = dataclasses.replace(state, pool=_placed(pool, layout(pool, mesh), mesh))
    program = compiled(training.step, mesh).lower(state, batch).compile()
    text = program.as_text()
    work = counting.of_compiled(text)
    fields = config.plan
    return Plan(
        dict(mesh.shape),
        summary.grid.shape,
        sought.cut(mesh).statistics.grid.shape,
        work,
        memory(program),
        max(work.operations / fields.operations, work.traffic / fields.memory_bandwidth),
        exchanging(work, fields, mesh.size),
        counting.uncounted(text),
    )


def memory(program: jax.stages.Compiled) -> int:
    """Bytes that each device needs to run a compiled program."""
    found = program.memory_analysis()
    return (
        found.argument_size_in_bytes
        + found.temp_size_in_bytes
        + found.output_size_in_bytes
        - found.alias_size_in_bytes
    )


def exchanging(work: Work, fields: ConfigDict, count: int) -> float:
    """How long it takes to say to others what is to be said, in seconds.

    Args:
      work: with what is said.
      fields: the data sheet, `config.plan`.
      count: of devices. What is summed goes round them twice, as in a ring, in log2 of them steps.
    """
    rounds = math.ceil(math.log2(count)) if count > 1 else 0
    return (work.sent + 2 * work.summed * bool(rounds)) / fields.link_bandwidth + (
        work.messages + rounds * work.sums
    ) * fields.latency


def smallest_block(plan: Plan, fields: ConfigDict) -> float:
    """Cells along an edge of a square block that takes as long to exchange as to compute.

    Work grows as a block's area, what it sends as its edge, and messages not at all.
    """
    area = math.prod(plan.block)
    edge = area ** (1 / len(plan.block))
    by_cell = plan.computing / area
    by_edge = plan.work.sent / fields.link_bandwidth / edge
    fixed = plan.exchanging - by_edge * edge
    return (by_edge + math.sqrt(by_edge**2 + 4 * by_cell * fixed)) / (2 * by_cell)


def describe(plan: Plan, config: ConfigDict) -> str:
    """A plan as a person reads it."""
    by = lambda sizes: " x ".join(map(str, sizes))
    fields = config.plan
    fits = "fits in" if plan.memory <= fields.memory else "does not fit in"
    lines = [
        f"Mesh      {by(plan.mesh.values())} ({', '.join(plan.mesh)}), "
        f"{math.prod(plan.mesh.values())} devices",
        f"Lattice   {by(plan.lattice)} cells, {by(plan.block)} on each device",
        "",
        "One train step, each device:",
        f"  computes      {scaled(plan.work.operations, 'operations')}",
        f"  reads, writes {scaled(plan.work.traffic, 'B')} for sums of products and transforms",
        f"  needs         {scaled(plan.memory, 'B')} of memory, which {fits} the "
        f"{scaled(fields.memory, 'B')} of plan.memory",
        f"  sends         {scaled(plan.work.sent, 'B')} to its neighbours in "
        f"{plan.work.messages:.0f} messages",
        f"  sums up       {scaled(plan.work.summed, 'B')} with all others in "
        f"{plan.work.sums:.0f} sums",
        "",
        f"By the data sheet in plan.*: {plan.computing:.3g} s computing, "
        f"{plan.exchanging:.3g} s exchanging; efficiency {100 * plan.efficiency:.1f}%",
    ]
    if plan.work.sent:
        edge = smallest_block(plan, fields)
        lines.append(
            f"Blocks of less than {edge:.0f} cells an axis exchange longer than they compute."
        )
    if plan.uncounted:
        lines.append(f"Not counted: {'; '.join(plan.uncounted)}.")
    return "\n".join(lines)


def _data(config: ConfigDict) -> tuple[Statistics, int, int]:
    """Statistics, and how many trajectories there are to train on, and snapshots in each."""
    degrees = problem.whitened_degrees(config)
    if systems.is_system(config.data.name):
        times, summary = dataset.expected(config, degrees)
        return summary, config.data.train * dataset.combinations(config), len(times)
    train = dataset.of_split(dataset.load(config), "train")
    seen = [streams.sample(one) for one in train]
    return statistics.summarise(seen, degrees), len(seen[0].values), len(seen[0].times)


def _batch(
    config: ConfigDict, sought: Problem, mesh: Mesh, trajectories: int, snapshots: int
) -> Any:
    """The shapes of a batch: windows, or whole trajectories for a pool."""
    training = config.training
    count = -(-training.batch // mesh.shape[DATA]) * mesh.shape[DATA]
    before, length = (count,), training.window + 1
    if training.starts == "pool":
        before, length = (count, -(-trajectories // count)), snapshots

    def part(size: tuple[int, ...]) -> dict[str, Any]:
        described = lambda shape, kind=None: jax.ShapeDtypeStruct(shape, kind or real())
        given = problem.given(sought.statistics.on(size))
        forcing = jax.tree.map(lambda array: described((*before, *array.shape)), given)
        values = described((*before, length, *size, len(sought.statistics.species)))
        return {
            "window": Window(values, forcing),
            "index": described((count,), jnp.int32),
            "weight": described((count,)),
        }

    batch = tuple(part(size) for size in sought.statistics.sizes)
    return _placed(batch, layout(batch, mesh), mesh)


def _placed(tree: Any, specs: Any, mesh: Mesh) -> Any:
    """Shapes that say where they lie; `specs` stand for branches of the tree."""
    place = lambda one, where: jax.ShapeDtypeStruct(one.shape, one.dtype, sharding=where)
    return placement.by_sharding(place, tree, mesh, specs)
