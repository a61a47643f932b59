"""The numbers of the page against those of JAX, rule by rule, in one browser."""

import dataclasses

import explored
import numpy as np
import pytest
from browser import browser, needs_browser

from benchmarks import learning
from diffpattern.configs import rules
from diffpattern.data import environment
from diffpattern.data.trajectories import Trajectories
from diffpattern.grid.geometry import Boundary, Grid, Walls

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser"), needs_browser]

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
# Channels that a value for each species cannot be given to.
PLAIN = ("circular", "symmetric", "replicate", "zero", Boundary("value", 0.4))


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


def agrees(window, folder, config, data, amount=None):
    """Asserts that 100 steps agree to 1e-4 of the range, and went somewhere."""
    automaton = config.model.name == "nca"
    rule = explored.restored(config, data, amount or (0.2 if automaton else 0.03))
    window.open(explored.written(rule, folder))
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
    of_each_species = name in rules.PDES or name == "chemotaxis"
    boundaries = BOUNDARIES if of_each_species else PLAIN
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
    channels = 8 if name == "higher_order" else 32
    config = config_of(name, **{"model.nca.channels": channels})
    config.model.nca.network.hidden = (64, 48)
    agrees(window, tmp_path, config, data_on(Grid(SHAPE)), 0.1)


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


def test_fields_and_inputs_are_seen_as_in_jax(window, tmp_path):
    data = data_on(Grid(SHAPE, 1.0, "replicate"), fields=("coordinates",), inputs=3)
    config = config_of("plain", **{"model.nca.stencils.kernel_scale": 1.5})
    agrees(window, tmp_path, config, data)


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
