"""The numbers of the page against those of JAX, rule by rule, in one browser."""

import dataclasses

import explored
import jax.numpy as jnp
import numpy as np
import pytest
from browser import browser, needs_browser

from benchmarks import learning
from diffpattern import export
from diffpattern.configs import rules
from diffpattern.data import environment
from diffpattern.data.trajectories import Trajectories
from diffpattern.explorer import page
from diffpattern.explorer.graph import trace
from diffpattern.explorer.passes import compile_graph
from diffpattern.grid.geometry import Boundary, Grid, Walls
from diffpattern.models.networks import ACTIVATIONS
from diffpattern.run_folder import RunFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("browser"),
    pytest.mark.usefixtures("quick_compilation"),
    needs_browser,
]

SHAPE, STEPS = (12, 20), 100
CHANGING = Boundary("value", ((0.2, 0.7), (0.6, 0.1)), times=(0.0, 30.0))
# Every kind of wall, and several at once.
BOUNDARIES = (
    "circular",
    "symmetric",
    "replicate",
    "zero",
    Boundary("value", (0.8, 0.3)),
    Boundary("flux", 0.02),
    (Walls(Boundary("value", (0.1, 0.9)), Boundary("symmetric")), "circular"),
    ("symmetric", Walls(CHANGING, Boundary("replicate"))),
)
# Those beyond which products of channels are known.
OF_PRODUCTS = ("circular", "symmetric", "replicate", "zero")


@pytest.fixture(scope="module")
def window():
    with browser() as opened:
        yield opened


def data_on(grid, masked=False, fields=(), inputs=0):
    """Random lattices of two species, with what else a rule may see."""
    random = np.random.default_rng(0)
    values = random.uniform(0.2, 0.8, (2, 3, *grid.shape, 2))
    y, x = np.mgrid[: grid.shape[0], : grid.shape[1]]
    mask = ((y - 5) / 5.5) ** 2 + ((x - 9) / 8.5) ** 2 < 1
    return environment.added(
        Trajectories(
            values,
            2.0 * np.arange(3),
            ("A", "B"),
            grid,
            mask=np.stack([mask, mask]) if masked else None,
            inputs=random.uniform(size=(2, inputs)) if inputs else None,
        ),
        fields,
    )


def config_of(name, **changes):
    """A rule's config, with steps that neither stand still nor run away."""
    config = learning.config_of(name)
    config.model.nca.step_size, config.solver.dt = 0.1, 0.2
    config.update_from_flattened_dict(changes)
    return config


FOUR_BUFFERS = """
const ask = WebGL2RenderingContext.prototype.getParameter;
WebGL2RenderingContext.prototype.getParameter = function (name) {
  return name === this.MAX_DRAW_BUFFERS ? 4 : ask.call(this, name);
};
"""


def agrees(window, folder, config, data, amount=None, first=""):
    """Asserts that 100 steps agree to 1e-4 of the range, and went somewhere.

    The page's script begins with `first`.
    """
    automaton = config.model.name == "nca"
    rule = explored.restored(config, data, amount or (0.2 if automaton else 0.03))
    path = explored.written(rule, folder)
    path.write_text(path.read_text().replace('"use strict";', f'"use strict"; {first}'))
    window.open(path)
    assert window.errors() == []
    channels = rule.problem.channels
    state = np.random.default_rng(3).uniform(0.1, 0.9, (*SHAPE, channels)).astype(np.float32)
    if data.mask is not None:
        state *= data.mask[0, ..., None]
    explored.load(window, state)
    window.evaluate("explorer.engine.settings.fireRate = 1; explorer.step(arguments[0]);", STEPS)
    found, expected = explored.read(window, state.shape), explored.by_jax(rule, state, STEPS)
    extent = expected.max() - expected.min()
    assert np.isfinite(expected).all() and extent > 0.01
    assert np.abs(expected - state).max() > 0.1
    assert np.abs(found - expected).max() < 1e-4 * extent
    assert window.errors() == []


@pytest.mark.parametrize("name", rules.NAMES)
def test_a_rule_does_as_in_jax(window, tmp_path, name):
    boundaries = OF_PRODUCTS if name == "higher_order" else BOUNDARIES
    boundary = boundaries[rules.NAMES.index(name) % len(boundaries)]
    # Who is alive hangs on a threshold, which most must stay above.
    amount = 0.05 if name == "alive" else None
    agrees(window, tmp_path, config_of(name), data_on(Grid(SHAPE, 1.0, boundary)), amount)


@pytest.mark.parametrize("boundary", BOUNDARIES, ids=range(len(BOUNDARIES)))
def test_all_walls_are_those_of_jax(window, tmp_path, boundary):
    """Of a velocity that they turn around, and of coefficients that go on beyond them."""
    config = config_of("advection", **{"model.rda.diffusion.laplacian": "cross"})
    agrees(window, tmp_path, config, data_on(Grid(SHAPE, (0.9, 1.1), boundary)))


@pytest.mark.parametrize("name", ["plain", "gated", "higher_order"])
def test_many_channels_and_units_do_as_in_jax(window, tmp_path, name):
    """More weights than a uniform buffer takes, two hidden layers, more features than a loop."""
    channels = 8 if name == "higher_order" else 32
    config = config_of(name, **{"model.nca.channels": channels})
    config.model.nca.network.hidden = (128,) if name == "plain" else (64, 48)
    # As on a device that writes four layers at once, so that eight take two passes.
    few = FOUR_BUFFERS if name == "gated" else ""
    agrees(window, tmp_path, config, data_on(Grid(SHAPE)), 0.1, few)
    buffered, passes = window.evaluate(
        "return [explorer.engine.buffered, explorer.engine._passes().length]"
    )
    assert buffered is (name != "plain") and passes == (2 if name == "gated" else 1)


@pytest.mark.parametrize("solver", ["euler", "tsit5"])
def test_other_solvers_do_as_in_jax(window, tmp_path, solver):
    config = config_of("polynomial", **{"solver.name": solver})
    agrees(window, tmp_path, config, data_on(Grid(SHAPE)))


@pytest.mark.parametrize("mask", ["given", "soft", "trainable", "edge"])
def test_a_rule_in_a_mask_does_as_in_jax(window, tmp_path, mask):
    changes = {"model.mask": mask}
    if mask == "soft":
        config = config_of("plain", **changes)
    else:
        config = config_of("both_diffusions", **changes)
    agrees(window, tmp_path, config, data_on(Grid(SHAPE, 1.0, "symmetric"), masked=True))


@pytest.mark.parametrize("boundary", ["replicate", BOUNDARIES[4]], ids=["replicate", "value"])
def test_fields_and_inputs_are_seen_as_in_jax(window, tmp_path, boundary):
    data = data_on(Grid(SHAPE, 1.0, boundary), fields=("coordinates",), inputs=3)
    config = config_of("plain", **{"model.nca.stencils.kernel_scale": 1.5})
    agrees(window, tmp_path, config, data)


@pytest.mark.parametrize("name", ["alive", "multi_scale", "steerable"])
def test_parts_that_see_some_channels_have_the_walls_of_these(window, tmp_path, name):
    """Also where they change in time."""
    walls = Walls(CHANGING, Boundary("flux", (0.02, -0.05)))
    changes = {"model.nca.alive.channel": 1} if name == "alive" else {}
    if name == "multi_scale":
        changes = {"model.nca.channels": 4, "model.nca.multi_scale.scales": (1, 2, 1, 1)}
    data = data_on(Grid(SHAPE, 1.0, (walls, BOUNDARIES[4])))
    agrees(window, tmp_path, config_of(name, **changes), data, 0.05)


def test_every_activation_is_that_of_jax(window, tmp_path):
    """All at once, a channel each, from where they are small to where they are flat."""
    functions = list(ACTIVATIONS.values())
    channels = len(functions)
    grid = Grid(SHAPE)

    def step(lattices, told, key):
        return jnp.stack([f(x) for f, x in zip(functions, lattices["state"], strict=True)])

    graph = trace(step, grid, {"state": channels}, {"stepSize": ()})
    config = config_of("plain", **{"model.nca.channels": channels})
    exploration = export.explore(explored.restored(config, data_on(grid), 0.1), RunFolder(tmp_path))
    program = compile_graph(graph, {"state": channels})
    path = tmp_path / "functions.html"
    path.write_text(page.render(dataclasses.replace(exploration, program=program)))
    window.open(path)
    assert window.errors() == []
    random = np.random.default_rng(0)
    sizes = 10 ** random.uniform(-4, 1.5, (*SHAPE, channels))
    state = (random.choice([-1, 1], sizes.shape) * sizes).astype(np.float32)
    explored.load(window, state)
    window.evaluate("explorer.step()")
    found = explored.read(window, state.shape)
    for n, name in enumerate(ACTIVATIONS):
        expected = np.asarray(functions[n](state[..., n]))
        np.testing.assert_allclose(found[..., n], expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_walls_that_are_changed_on_the_page_are_those_of_jax(window, tmp_path):
    """A rule that was trained on a torus runs between mirrors."""
    config, torus = config_of("phase_field"), data_on(Grid(SHAPE))
    window.open(explored.written(explored.restored(config, torus, 0.03), tmp_path))
    mirrors = dataclasses.replace(torus, grid=Grid(SHAPE, 1.0, "symmetric"))
    rule = explored.restored(config, mirrors, 0.03)
    state = torus.values[0, 0]
    window.evaluate("explorer.act('walls', 2)")
    explored.load(window, state)
    window.evaluate("explorer.step(20)")
    found, expected = explored.read(window, state.shape), explored.by_jax(rule, state, 20)
    assert np.abs(found - expected).max() < 1e-4 * np.ptp(expected)
