"""The formulas of docs/scaling.md, against what XLA makes of steps on blocks."""

import dataclasses
import math

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
from diffpattern.parallel.mesh import COLUMNS, DATA, ROWS, block_axes, make_mesh

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


def program(fields, shape, cut, slope=False, squares=False):
    """The compiled program of one step of a rule on a lattice of this shape, or of its gradient.

    Or, for least `squares`, that of a step of the state and its sensitivities.
    """
    data, config = tiny.data(train=1), tiny.config(**fields)
    summary = statistics.summarise([data], problem.whitened_degrees(config))
    summary = dataclasses.replace(summary, grid=Grid(shape), sizes=(shape,))
    sought, mesh = problem.build(config, summary), make_mesh(1, *cut)
    on_blocks = sought.cut(mesh)
    across = [name if name in block_axes(mesh) else None for name in (ROWS, COLUMNS)]
    spec = PartitionSpec(None, *across)
    parameters = jax.eval_shape(lambda: sought.initialise(0))
    dynamics = on_blocks.with_sensitivities if squares else on_blocks.dynamics
    step = jax.shard_map(
        lambda parameters, x: dynamics.step(parameters, x, KEY, data.forcing(0)),
        mesh=mesh,
        in_specs=(PartitionSpec(), spec),
        out_specs=spec,
    )
    function = step
    if slope:
        function = jax.grad(lambda parameters, x: jnp.sum(step(parameters, x) ** 2), (0, 1))
    lattices = lambda count: jax.ShapeDtypeStruct((count, *shape), jnp.float32)
    x = lattices(sought.channels)
    if squares:
        x = x, (lattices(size_of(parameters)),) * sought.channels
    return jax.jit(function).lower(parameters, x).compile()


def size_of(parameters):
    """How many parameters there are."""
    return sum(leaf.size for leaf in jax.tree.leaves(parameters))


SHAPE, CUT, BLOCK = (64, 96), (2, 4), (32, 24)


@pytest.mark.parametrize("cut", [CUT, (8, 1), (1, 2)], ids=str)
@pytest.mark.parametrize(("fields", "channels", "borders"), [(NCA, 8, 1), (RDA, 2, 2)])
def test_a_step_sends_its_borders(fields, channels, borders, cut):
    """One border for a step of an automaton, one for each stage of Heun's method."""
    work = counting.of_compiled(program(fields, SHAPE, cut).as_text())
    block = tuple(cells // parts for cells, parts in zip(SHAPE, cut, strict=True))
    assert work.sent == borders * border(channels, block, cut)
    assert work.messages == borders * 2 * sum(parts > 1 for parts in cut)


def test_a_step_that_sees_farther_sends_more():
    """A border of two cells for the Laplacian of fourth order; one for each pooled scale, of the
    channels that are seen at that scale."""
    wide = RDA | {"model.rda.diffusion.laplacian": "fourth_order"}
    pooled = {"model.nca.perception": "multi_scale", "model.nca.multi_scale.scales": (1, 2)}
    for fields, sent in (
        (wide, 2 * border(2, BLOCK, CUT, width=2)),
        (NCA | pooled, border(4, BLOCK, CUT) + border(4, (16, 12), CUT)),
    ):
        work = counting.of_compiled(program(fields, SHAPE, CUT).as_text())
        assert (work.sent, work.messages) == (sent, 2 * 4)


@pytest.mark.parametrize("fields", [LEAST_SQUARES, {"solver.name": "euler"}], ids=["net", "euler"])
def test_sensitivities_send_borders_of_their_own(fields):
    """Those of all parameters lie in one message for each channel, beside that of the state."""
    stages, parameters = (2, 24) if fields is LEAST_SQUARES else (1, 22)
    work = counting.of_compiled(program(fields, SHAPE, CUT, squares=True).as_text())
    assert work.sent == stages * (parameters + 1) * border(2, BLOCK, CUT)
    assert work.messages == stages * (2 + 1) * 4


@pytest.mark.parametrize(
    ("fields", "channels", "kernels"), [(NCA, 8, 2), (RDA, 2, 1)], ids=["nca", "rda"]
)
def test_a_gradient_sends_its_borders_once_more_for_each_kernel(fields, channels, kernels):
    """Nothing is computed again here, where there is one step to go back through."""
    stages = 1 if fields is NCA else 2
    work = counting.of_compiled(program(fields, SHAPE, CUT, slope=True).as_text())
    once = border(channels, BLOCK, CUT)
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


# Of a train step over one interval of `LARGE`: parameters, channels, stages of all steps, and for
# each of them how many borders of a channel are sent, and in how many messages those of a window.
# Gradients: forwards, again, and backwards for each kernel. Least squares: the state, and for each
# channel its sensitivities; and the five trials.
TAKEN = {
    "nca": (NCA, 1320, 8, 4, 8 * (1 + 1 + 2), 4 * (1 + 1 + 2)),
    "rda": (RDA, 84, 2, 32, 2 * (1 + 1 + 1), 4 * (1 + 1 + 1)),
    "squares": (LEAST_SQUARES, 24, 2, 32, 2 * (1 + 24 + 5), 4 * (1 + 2 + 5)),
}


def summed(method, parameters, windows, mesh):
    """Bytes that go into sums; a mesh's axes of one device have nobody to add to."""
    data, *blocks = (count if count > 1 else 0 for count in mesh)
    # The loss of each window, over the blocks; of all, and their weights.
    losses = 4 * windows * any(blocks) + 4 * bool(data)
    if method != "squares":
        return 4 * parameters * any((data, *blocks)) + losses + 4 * bool(data)
    triangles = 4 * (parameters + 1) ** 2 * windows * (data + sum(blocks))
    # Who diverged, of how many windows, and of what weight; the losses of all trials.
    return triangles + 5 * losses + 4 * windows * any(blocks) + 8 * bool(data)


@pytest.mark.slow
@pytest.mark.parametrize("method", TAKEN)
def test_what_a_train_step_sends_sums_up_and_keeps(method):
    """Memory falls as one over the devices."""
    fields, parameters, channels, stages, borders, messages = TAKEN[method]

    def planned(*mesh):
        config = tiny.config(**fields | LARGE)
        config.mesh.update(dict(zip((DATA, ROWS, COLUMNS), mesh, strict=True)))
        made = plan.make(config)
        data, *cut = mesh
        assert made.block == tuple(256 // blocks for blocks in cut)
        windows, work = 4 // data, made.work
        assert work.sent == windows * stages * borders * border(1, made.block, cut)
        assert work.messages == stages * messages * sum(blocks > 1 for blocks in cut) / 2
        assert work.summed == summed(method, parameters, windows, mesh)
        return made.memory * math.prod(mesh)

    whole = planned(1, 1, 1)
    for mesh in ((2, 1, 2), (1, 2, 4)):
        assert planned(*mesh) == pytest.approx(whole, rel=0.15)


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

    together = memory("auto", 8)
    assert together > 3.5 * memory("auto", 2)
    assert together > 1.5 * memory("apart", 8)


@pytest.mark.usefixtures("quick_compilation")
def test_a_pool_keeps_the_trajectories_of_all_doses():
    doses = ("alpha=0.01,0.03,0.06", "gamma=0.05,0.06")
    fields = {
        "data.shape": (32, 32), "data.end_time": 2048.0, "data.train": 2, "data.doses": doses,
        "training.batch": 1, "training.starts": "pool", "mesh.data": 1,
    }  # fmt: skip
    trajectory = 4 * 129 * 32 * 32 * 2  # bytes of its 129 snapshots of two species
    assert plan.make(tiny.config(**NCA | fields)).memory == pytest.approx(12 * trajectory, rel=0.1)


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
