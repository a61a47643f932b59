"""Rules read: what is known of a rule is found in it, and what cannot be told is said."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from diffpattern import problem
from diffpattern.data import statistics
from diffpattern.data.trajectories import Trajectories
from diffpattern.grid.geometry import Grid
from diffpattern.models import monomials
from diffpattern.reading import dynamics, flows, rule, weights
from diffpattern.stability import LocalRule, dispersion
from diffpattern.systems import GrayScott

pytestmark = [pytest.mark.usefixtures("quick_compilation"), pytest.mark.xdist_group("test_reading")]

SYSTEM = GrayScott()


def read(trajectories=None, *, change=lambda parameters: parameters, config=None, **fields):
    """A rule's config, problem, parameters and reading; the parameters are changed first."""
    config = config or tiny.config(**fields)
    trajectories = tiny.data() if trajectories is None else trajectories
    summary = statistics.summarise([trajectories], problem.whitened_degrees(config))
    sought = problem.build(config, summary)
    parameters = change(jax.tree.map(np.array, sought.initialise(0)))
    return config, sought, parameters, rule.read_rule(config, sought, parameters, [trajectories])


def true_numbers(parameters):
    powers = monomials.exponents(2, 0, 3)
    rates = np.zeros((2, len(powers)))
    at = powers.index
    rates[0, at((0, 0))], rates[0, at((1, 0))] = SYSTEM.alpha, -SYSTEM.alpha
    rates[1, at((0, 1))] = -SYSTEM.alpha - SYSTEM.gamma
    rates[:, at((1, 2))] = -1.0, 1.0
    coefficient = np.array([SYSTEM.diffusion_a, SYSTEM.diffusion_b])
    return {"polynomial": {"coefficients": rates}, "diffusion": {"coefficient": coefficient}}


def test_a_polynomial_with_the_true_numbers_reads_as_the_true_system():
    config, sought, parameters, found = read(change=true_numbers)
    assert found.missing == [] and found.system == "gray_scott"
    assert found.true_diffusion == {"A": 0.1, "B": 0.05} and found.species == ("A", "B")
    ((learnt, true),) = found.waves
    np.testing.assert_allclose(learnt.state, [1.0, 0.0], atol=1e-7)
    np.testing.assert_allclose(learnt.growth, true.growth, atol=1e-7)
    assert learnt.stable_without_waves and not learnt.waves_grow
    plane = found.reaction
    assert plane.species == ("A", "B") and plane.places == (0, 1) and not plane.held
    a, b = np.meshgrid(*plane.values, indexing="ij")
    expected = [SYSTEM.alpha * (1 - a) - a * b**2, a * b**2 - (SYSTEM.alpha + SYSTEM.gamma) * b]
    np.testing.assert_allclose(plane.rates, expected, atol=1e-7)
    np.testing.assert_allclose(plane.true_rates, expected, atol=1e-9)
    values = tiny.data().values.reshape(-1, 2)
    assert 0.95 * len(values) < plane.density.sum() <= len(values)
    assert [state.stable for state in plane.states] == [True]
    (layer,) = found.layers
    assert layer.inputs == ("A", "B") and layer.outputs[:4] == ("1", "A", "B", "A^2")
    np.testing.assert_array_equal(layer.weights, parameters["polynomial"]["coefficients"])
    assert not found.flows and not found.first_layers
    # An exponential solver may multiply waves by -k^2 itself, without a stencil's error.
    exact = tiny.config(**{"solver.name": "etdrk2", "solver.exact": True})
    waves = dispersion(dynamics.local_rule(exact, sought, parameters), np.array([1.0, 0.0]))
    squares = np.square(waves.wavenumbers)
    rates = [-SYSTEM.alpha - 0.1 * squares, -SYSTEM.alpha - SYSTEM.gamma - 0.05 * squares]
    np.testing.assert_allclose(waves.growth, np.max(rates, axis=0), atol=1e-6)


NCA = {
    "model.name": "nca",
    "model.nca.channels": 3,
    "model.nca.network.hidden": (4,),
    "model.nca.steps_per_interval": 4,
    "optimiser.name": "nadam",
}


def drawn(parameters):
    """Random numbers in place of all."""
    random = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: 0.3 * random.normal(size=leaf.shape), parameters)


def drawn_to_rest(parameters):
    """A linear update that draws all channels towards a state; slopes get random weights."""
    output = drawn(parameters)["update"]["network"]["output"]
    output["kernel"][:3] = -0.4 * np.eye(3)
    output["bias"] = np.array([0.32, 0.04, 0.08])
    return {"update": {"network": {"output": output}}}


def test_an_automaton_is_read_by_its_mean_step():
    linear = NCA | {"model.nca.network.hidden": ()}
    _, sought, parameters, found = read(change=drawn_to_rest, **linear)
    assert sought.channel_names == ("A", "B", "hidden 1") and not found.missing
    ((wave, _),) = found.waves
    np.testing.assert_allclose(wave.state, [0.8, 0.1, 0.2], atol=1e-6)
    # Fire rate 1/2: in half a unit of time, half of what all cells together would do.
    assert wave.growth[0] == pytest.approx(np.log(1 - 0.5 * 0.4) / 0.5)
    plane = found.reaction
    assert list(plane.held) == ["hidden 1"]
    place = 40, 40
    state = np.array([plane.values[0][40], plane.values[1][40], plane.held["hidden 1"]])
    lattice = jnp.broadcast_to(jnp.asarray(state, jnp.float32)[:, None, None], (3, 8, 8))
    everyone = sought.rule.clone(fire_rate=1.0)
    after = everyone.apply({"params": parameters}, lattice, jax.random.key(0))[:, 0, 0]
    expected = 0.5 * (np.asarray(after) - state) / 0.5
    np.testing.assert_allclose(plane.rates[(slice(None), *place)], expected[:2], atol=1e-5)
    (first,), (layer,) = found.first_layers, found.layers
    output = parameters["update"]["network"]["output"]
    np.testing.assert_allclose(first.weights, output["kernel"])
    assert first.kernels[:4] == ("identity",) * 3 + ("gradient y",)
    assert first.channels[:5] == ("A", "B", "hidden 1", "A", "A")
    assert layer.inputs[-1] == "laplacian hidden 1" and layer.outputs == sought.channel_names
    # Rows go from kernel to kernel; an automaton sees both components of a gradient in turn.
    assert layer.inputs[3:9] == tuple(
        f"gradient {axis} {name}" for axis in "yx" for name in sought.channel_names
    )
    order = [0, 1, 2, 3, 5, 7, 4, 6, 8, 9, 10, 11]
    np.testing.assert_array_equal(layer.weights, output["kernel"][order])
    np.testing.assert_array_equal(layer.bias, output["bias"])


def test_kernels_with_several_blocks_of_features_are_taken_apart():
    kan = NCA | {"model.nca.change": "kan", "model.nca.kan.hidden": (4,), "model.nca.kan.bases": 3}
    kan.pop("model.nca.network.hidden")
    config, summary = tiny.config(**kan), statistics.summarise([tiny.data()], (1,))
    sought = problem.build(config, summary)
    parameters = drawn(sought.initialise(0))
    (first,) = weights.first_layers(sought, parameters)
    kernel = parameters["update"]["hidden_0"]["kernel"]
    assert first.weights.shape == (12, 4 * 4) and kernel.shape == (48, 4)
    np.testing.assert_array_equal(first.weights[1], kernel[1::12].ravel())


def test_gates_are_named():
    config = tiny.config(**NCA | {"model.nca.change": "gated", "model.nca.gated.hidden": (4,)})
    sought = problem.build(config, statistics.summarise([tiny.data()], (1,)))
    output = weights.layers(sought, drawn(sought.initialise(0)))[-1]
    assert output.outputs[:4] == ("A", "B", "hidden 1", "gate of A")
    assert len(output.outputs) == output.weights.shape[1] == 6


# Inside of a mask reaction and waves are not read, which takes most of the time.
MASKED = {"mask": np.ones((3, 8, 8), np.float32)}


def test_weights_of_a_network_are_those_of_its_monomials_in_standard_deviations():
    fields = {"model.rda.terms": ("network", "diffusion"), "model.rda.network.order": 2}
    masked = dataclasses.replace(tiny.data(), **MASKED)
    _, sought, parameters, found = read(masked, change=drawn, **fields)
    (first,) = found.first_layers
    assert first.channels == ("A", "B", "A^2", "A B", "B^2") and not first.kernels
    powers, whitening = sought.rule.terms["network"].network.monomials(2)
    kernel = parameters["network"]["network"]["hidden_0"]["kernel"]
    before = lambda m: kernel.T @ whitening(m)
    slopes = jax.jacfwd(before)(jnp.ones(5)).T
    values = tiny.data().values.reshape(-1, 2).astype(np.float64)
    deviations = [np.prod(values**row, axis=1).std() for row in np.array(powers)]
    # Those along which the data hardly vary are whitened less, see `monomials.whitening`.
    np.testing.assert_allclose(
        first.weights[:2], (np.array(deviations)[:, None] * slopes)[:2], rtol=0.05
    )
    assert {layer.name for layer in found.layers} == {
        "network, network, hidden 0",
        "network, network, output",
    }


def test_velocities_are_those_that_a_term_has_at_the_end():
    def climbing(parameters):
        parameters["taxis"]["sensitivity"] = np.array([0.0, 2.0])  # B climbs A
        return parameters

    fields = {"model.rda.terms": ("taxis", "diffusion"), "optimiser.name": "nadam"}
    data = dataclasses.replace(tiny.data(), **MASKED)
    config, sought, parameters, found = read(data, change=climbing, **fields)
    (flow,) = found.flows
    assert (flow.term, flow.species, flow.time) == ("taxis", "B", 16.0)
    np.testing.assert_array_equal(flow.state, data.values[0, -1, ..., 1])
    a = data.values[0, -1, ..., 0]
    slope = np.stack([(np.roll(a, -1, axis) - np.roll(a, 1, axis)) / 2 for axis in (0, 1)])
    np.testing.assert_allclose(flow.velocity, 2 * slope, atol=1e-6)
    # What moves by less than a thousandth of a cell in all the time is not carried.
    parameters["taxis"]["sensitivity"] = np.array([1e-6, 2.0])
    (same,) = flows.velocity_fields(sought, parameters, data)
    assert same.species == "B"
    # In space, a slice.
    values = np.random.default_rng(0).uniform(size=(1, 2, 3, 4, 5, 2))
    space = Trajectories(values, np.array([0.0, 2.0]), ("A", "B"), Grid((3, 4, 5)))
    config = tiny.config(**fields)
    sought = problem.build(config, statistics.summarise([space], (1,)))
    flow = flows.velocity_fields(sought, climbing(sought.initialise(0)), space)[0]
    assert flow.state.shape == (4, 5) and flow.velocity.shape == (2, 4, 5)
    np.testing.assert_array_equal(flow.state, space.values[0, 1, 1, ..., 1])


def test_rates_that_are_rounding_are_zero():
    data = tiny.data()
    field = data.values[..., :1]
    one = Trajectories(field, data.times, ("u",), data.grid)
    sought = problem.build(tiny.config(), statistics.summarise([one], (1,)))
    cells, width = field.reshape(-1, 1), np.ptp(field)

    def curve(rate):
        rounded = LocalRule(lambda grid: lambda x: rate * x, 1, one.grid.spacing)
        return dynamics._reaction(sought, rounded, cells, 16.0, [], None, [])

    assert curve(1e-9).still and not curve(1e-3).still
    assert curve(1e-9).scale == pytest.approx(width / 16.0)


SEEN = {
    "a mask": MASKED,
    "fields": {"environment": np.ones((3, 8, 8, 1), np.float32)},
    "inputs": {"inputs": np.ones((3, 1), np.float32)},
}


@pytest.mark.parametrize("given", SEEN)
def test_rules_that_differ_from_place_to_place_are_read_in_part(given):
    data = dataclasses.replace(tiny.data(), **SEEN[given])
    found = read(data, **NCA)[-1]
    (sentence,) = found.missing
    assert sentence.startswith("Reaction and growth of waves are not told: the rule")
    assert given in sentence or given == "fields" in sentence
    assert found.reaction is None and not found.waves
    assert found.layers and found.first_layers


def test_sources_scales_and_lengths_of_gradients_are_told_as_reasons():
    source = {"model.rda.terms": ("polynomial", "diffusion", "source"), "optimiser.name": "nadam"}
    assert "a source feeds" in read(**source)[-1].missing[0]
    scales = NCA | {"model.nca.perception": "multi_scale", "model.nca.multi_scale.scales": (1, 2)}
    assert "others of a block" in read(**scales)[-1].missing[0]
    lengths = NCA | {"model.nca.stencils.kernels": ("identity", "gradient_norm")}
    found = read(**lengths)[-1]
    assert "no derivative where all cells are alike" in found.missing[0]
    assert found.reaction is not None and not found.waves


def test_what_fails_is_left_out_with_a_sentence(monkeypatch):
    def fail(*_):
        raise ValueError("of no reason")

    monkeypatch.setattr(dynamics, "homogeneous_states", fail)
    found = read()[-1]
    assert found.missing == [
        "Reaction and growth of waves could not be read off the rule: of no reason."
    ]
    assert found.layers and found.reaction is None
    lost = lambda parameters: jax.tree.map(lambda leaf: leaf * np.nan, parameters)
    found = read(change=lost)[-1]
    assert found.missing == ("The rule's parameters are not finite numbers.",) and not found.layers
