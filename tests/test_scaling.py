"""The formulas of docs/scaling.md, against what XLA makes of steps on blocks."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
import tiny
from jax.sharding import PartitionSpec

from diffpattern import plan, problem
from diffpattern.data import statistics
from diffpattern.grid.geometry import Grid
from diffpattern.parallel import counting
from diffpattern.parallel.counting import Work
from diffpattern.parallel.mesh import COLUMNS, ROWS, block_axes, make_mesh

KEY = jax.random.key(0)
LARGE = {"data.shape": (256, 256), "data.end_time": 64.0, "training.batch": 4}
LEAST_SQUARES = {"model.rda.terms": ("network", "diffusion"), "model.rda.network.hidden": (4,)}
NCA = {
    "model.name": "nca",
    "model.nca.channels": 8,
    "model.nca.network.hidden": (32,),
    "model.nca.steps_per_interval": 4,
    "optimiser.name": "nadam",
    "optimiser.optax.warmup_steps": 0,
}
RDA = {
    "model.rda.terms": ("network", "diffusion"),
    "model.rda.network.hidden": (16,),
    "optimiser.name": "nadam",
    "optimiser.optax.warmup_steps": 0,
}


def border(channels, block, cut, width=1):
    """Bytes that a block sends so that all have a border: rows first, then columns with corners."""
    (rows, columns), (by_rows, by_columns) = block, cut
    tall = rows + 2 * width
    return 4 * channels * width * (2 * columns * (by_rows > 1) + 2 * tall * (by_columns > 1))


def program(fields, shape, cut, slope=False):
    """The compiled program of one step of a rule on a lattice of this shape, or of its gradient."""
    data, config = tiny.data(train=1), tiny.config(**fields)
    summary = statistics.summarise([data], problem.whitened_degrees(config))
    summary = dataclasses.replace(summary, grid=Grid(shape), sizes=(shape,))
    sought, mesh = problem.build(config, summary), make_mesh(1, *cut)
    on_blocks = sought.cut(mesh)
    across = [name if name in block_axes(mesh) else None for name in (ROWS, COLUMNS)]
    spec = PartitionSpec(None, *across)
    step = jax.shard_map(
        lambda parameters, x: on_blocks.dynamics.step(parameters, x, KEY, data.forcing(0)),
        mesh=mesh,
        in_specs=(PartitionSpec(), spec),
        out_specs=spec,
    )
    function = step
    if slope:
        function = jax.grad(lambda parameters, x: jnp.sum(step(parameters, x) ** 2), (0, 1))
    x = jax.ShapeDtypeStruct((sought.channels, *shape), jnp.float32)
    parameters = jax.eval_shape(lambda: sought.initialise(0))
    return jax.jit(function).lower(parameters, x).compile()


@pytest.mark.parametrize("cut", [(2, 4), (8, 1), (1, 2)], ids=str)
@pytest.mark.parametrize(("fields", "channels", "borders"), [(NCA, 8, 1), (RDA, 2, 2)])
def test_a_step_sends_its_borders(fields, channels, borders, cut):
    """One border for a step of an automaton, one for each stage of Heun's method."""
    shape = (64, 96)
    work = counting.of_compiled(program(fields, shape, cut).as_text())
    block = tuple(cells // parts for cells, parts in zip(shape, cut, strict=True))
    assert work.sent == borders * border(channels, block, cut)
    assert work.messages == borders * 2 * sum(parts > 1 for parts in cut)


@pytest.mark.parametrize(
    ("fields", "channels", "kernels"), [(NCA, 8, 2), (RDA, 2, 1)], ids=["nca", "rda"]
)
def test_a_gradient_sends_its_borders_once_more_for_each_kernel(fields, channels, kernels):
    """Nothing is computed again here, where there is one step to go back through."""
    shape, cut = (64, 96), (2, 4)
    stages = 1 if fields is NCA else 2
    work = counting.of_compiled(program(fields, shape, cut, slope=True).as_text())
    once = border(channels, (32, 24), cut)
    assert work.sent == stages * (1 + kernels) * once
    assert work.messages == stages * (1 + kernels) * 4


@pytest.mark.parametrize(
    ("fields", "per_cell", "low", "high"),
    [(NCA, 2 * 32 * 32 + 2 * 32 * 8, 300, 500), (RDA, 2 * 2 * (2 * 2 + 2 * 16 + 16 * 2), 50, 150)],
    ids=["nca", "rda"],
)
def test_a_step_computes_so_much_for_each_cell(fields, per_cell, low, high):
    """Products of its network, and beside them what stencils, and chance, take."""
    work = counting.of_compiled(program(fields, (64, 64), (1, 1)).as_text())
    beside = work.operations / 64**2 - per_cell
    assert low < beside < high


@pytest.mark.parametrize("slope", [False, True], ids=["step", "gradient"])
@pytest.mark.parametrize("fields", [NCA | {"model.nca.fire_rate": 1.0}, RDA], ids=["nca", "rda"])
def test_the_operations_of_a_step_are_those_that_xla_counts(fields, slope):
    """Of one without chance, whose numbers come out of loops, which XLA counts once."""
    compiled = program(fields, (64, 64), (1, 1), slope)
    cost = compiled.cost_analysis()
    expected = cost["flops"] + cost.get("transcendentals", 0)
    assert counting.of_compiled(compiled.as_text()).operations == pytest.approx(expected, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("fields", [NCA, RDA, LEAST_SQUARES], ids=["nca", "rda", "squares"])
def test_memory_falls_as_one_over_the_devices(fields):
    def memory(rows, columns):
        config = tiny.config(**fields | LARGE)
        config.mesh.update(data=1, rows=rows, columns=columns)
        made = plan.make(config)
        assert made.block == (256 // rows, 256 // columns)
        return made.memory * rows * columns

    whole = memory(1, 1)
    for rows, columns in ((2, 1), (2, 2), (2, 4)):
        assert memory(rows, columns) == pytest.approx(whole, rel=0.15)


def test_a_plan_says_what_a_step_takes():
    config = tiny.config(**NCA | LARGE)
    config.mesh.update(data=2, rows=2, columns=2)
    made = plan.make(config)
    # An interval of four steps: forwards, again, and backwards for the gradient and for the
    # Laplacian; of two windows on each device, whose borders an accelerator sends together.
    assert made.work.messages == 4 * 4 * (1 + 1 + 2)
    assert made.work.sent == 2 * 4 * 4 * border(8, (128, 128), (2, 2))
    told = plan.describe(made, config)
    assert "Mesh      2 x 2 x 2 (data, rows, columns), 8 devices" in told
    assert "256 x 256 cells, 128 x 128 on each device" in told
    assert f"efficiency {100 * made.efficiency:.1f}%" in told


def test_memory_is_that_of_all_windows_of_a_device_unless_they_are_apart():
    def memory(windows, batch):
        config = tiny.config(**NCA | LARGE | {"training.windows": windows})
        config.training.batch, config.mesh.data = batch, 1
        return plan.make(config).memory

    assert memory("auto", 8) > 3.5 * memory("auto", 2)
    assert memory("auto", 8) > 1.5 * memory("apart", 8)


def test_windows_whose_steps_are_drawn_are_planned_together_as_well():
    """Each makes five, as many as any may: forwards, again, and backwards as above."""
    config = tiny.config(**NCA | LARGE | {"model.nca.step_jitter": 1})
    config.mesh.update(data=1, rows=2)
    made = plan.make(config)
    assert made.work.messages == 2 * 5 * (1 + 1 + 2)
    assert config.training.windows == "auto"


def test_the_smallest_block_takes_as_long_to_exchange_as_to_compute():
    fields = tiny.config().plan
    work = Work(operations=1e12, sent=1e8, messages=400)
    made = plan.Plan({}, (8192,) * 2, (1024,) * 2, work, 0, 1e12 / fields.operations, 0.0)
    made = dataclasses.replace(made, exchanging=plan.exchanging(work, fields, 8))
    edge = plan.smallest_block(made, fields)
    share = edge / 1024
    smaller = Work(operations=1e12 * share**2, sent=1e8 * share, messages=400)
    computing = smaller.operations / fields.operations
    assert plan.exchanging(smaller, fields, 8) == pytest.approx(computing, rel=1e-6)
