import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.flatten_util import ravel_pytree

from diffpattern import problem
from diffpattern.data import statistics
from diffpattern.data.windows import Window
from diffpattern.errors import InputError
from diffpattern.models import monomials
from diffpattern.models.nca import NeuralCellularAutomaton
from diffpattern.models.rda import ReactionDiffusionAdvection
from diffpattern.parallel.mesh import ALONE, CHECKED, UNCHECKED, make_mesh
from diffpattern.prediction import make_predictor
from diffpattern.rollout import Adaptive, Stepped
from diffpattern.solvers import explicit, spectral
from diffpattern.systems import GrayScott
from diffpattern.training import least_squares

SLOW_TO_COMPILE = ("dopri8", "kencarp3", "kvaerno3")
pytestmark = pytest.mark.usefixtures("quick_compilation")

NCA = {
    "model.name": "nca",
    "model.nca.channels": 5,
    "model.nca.network.hidden": (6,),
    "model.nca.steps_per_interval": 3,
    "model.nca.fire_rate": 1.0,
}
ADAPTIVE = {
    "solver.dt": 0.0,
    "solver.name": "tsit5",
    "solver.adaptive.max_steps": 16,
}
KEY = jax.random.key(0)


def build(**fields):
    config = tiny.config(**fields)
    return problem.build(
        config, statistics.summarise([tiny.data()], problem.whitened_degrees(config))
    )


def moved(parameters):
    flat, unravel = ravel_pytree(parameters)
    return unravel(flat + 0.02 * jnp.asarray(np.random.default_rng(0).normal(size=flat.shape)))


def test_a_pde_has_the_terms_that_were_asked_for():
    sought = build(**{"model.rda.terms": ("advection", "polynomial")})
    assert isinstance(sought.rule, ReactionDiffusionAdvection)
    assert set(sought.initialise(0)) == {"advection", "polynomial"}
    assert isinstance(sought.dynamics, Stepped) and sought.dynamics.count(2.0) == 2
    assert sought.channels == 2 and sought.running == CHECKED


def test_fields_reach_their_parts():
    sought = build(
        **{
            "model.rda.terms": ("network", "diffusion", "advection"),
            "model.rda.network.order": 3,
            "model.rda.network.hidden": (5, 4),
            "model.rda.network.activation": "gelu",
            "model.rda.diffusion.laplacian": "isotropic",
            "model.rda.diffusion.initial": 0.25,
            "model.rda.advection.scheme": "upwind",
            "model.rda.advection.hidden": (3,),
        }
    )
    rule = sought.rule
    network, diffusion = rule.terms["network"].network, rule.terms["diffusion"]
    assert (network.order, network.hidden) == (3, (5, 4))
    assert network.activation == "gelu"
    assert network.whitening == sought.statistics.whitening[3]
    assert (diffusion.laplacian, diffusion.initial) == ("isotropic", 0.25)
    advection = rule.terms["advection"]
    assert (advection.scheme, advection.network.hidden) == ("upwind", (3,))
    assert advection.network.whitening == sought.statistics.whitening[1]


def test_adaptive_steps_have_their_tolerances_and_no_checks():
    sought = build(**ADAPTIVE | {"solver.adaptive.relative_tolerance": 1e-3})
    dynamics = sought.dynamics
    assert isinstance(dynamics, Adaptive) and dynamics.solver == "tsit5"
    assert (dynamics.relative_tolerance, dynamics.max_steps) == (1e-3, 16)
    assert sought.with_sensitivities is None and sought.running == UNCHECKED


def test_an_automaton_divides_the_interval_into_its_steps():
    sought = build(**NCA)
    assert isinstance(sought.rule, NeuralCellularAutomaton)
    assert sought.dynamics.count(sought.statistics.interval) == 3
    assert sought.channels == 5


def test_hidden_channels_start_at_zero_and_are_kept_back():
    sought = build(**NCA)
    parameters, start = moved(sought.initialise(0)), jnp.asarray(tiny.data().values[0, 0])
    states = jax.jit(lambda x: sought.predict(parameters, x, np.array([0.0, 2.0]), KEY))(start)
    assert states.shape == (2, 8, 8, 2)
    x = jnp.concatenate([jnp.moveaxis(start, -1, 0), jnp.zeros((3, 8, 8))])
    for _ in range(3):
        x = jax.jit(sought.rule.apply)({"params": parameters}, x, KEY)
    np.testing.assert_allclose(states[1], jnp.moveaxis(x[:2], 0, -1), rtol=1e-5, atol=1e-6)
    assert np.abs(x[2:]).max() > 0


def test_hidden_channels_start_from_who_is_alive_and_with_noise():
    alive = NCA | {"model.nca.start_alive": True, "model.nca.alive.channel": 1}
    start = jnp.asarray(tiny.data().values[0, 0])
    whole = build(**alive).complete(start, KEY)
    np.testing.assert_array_equal(whole[..., :2], start)
    for channel in range(2, 5):
        np.testing.assert_array_equal(whole[..., channel], start[..., 1])
    noisy = build(**alive, **{"model.nca.start_noise": 0.1}).complete(start, KEY)
    assert 0.05 < np.std(noisy[..., 2:] - start[..., 1:]) < 0.2
    np.testing.assert_array_equal(build(**alive).complete(whole, KEY), whole)


def test_a_pde_with_the_coefficients_of_the_truth_predicts_the_data():
    system, data = GrayScott(), tiny.data()
    names = monomials.names(monomials.exponents(2, 0, 3), ("A", "B"))
    terms = [
        {"1": system.alpha, "A": -system.alpha, "A B^2": -1.0},
        {"B": -system.alpha - system.gamma, "A B^2": 1.0},
    ]
    parameters = {
        "polynomial": {"coefficients": jnp.array([[t.get(n, 0.0) for n in names] for t in terms])},
        "diffusion": {"coefficient": jnp.array([system.diffusion_a, system.diffusion_b])},
    }
    # The data came from another stencil than the default config's rule has.
    sought = build(**{"model.rda.diffusion.laplacian": "cross"})
    states = jax.jit(lambda x: sought.predict(parameters, x, data.times, KEY))(data.values[0, 0])
    np.testing.assert_allclose(states, data.values[0], atol=1e-5)


@pytest.mark.parametrize("fields", [{}, ADAPTIVE, NCA], ids=["fixed", "adaptive", "nca"])
def test_the_linearisation_is_that_of_the_residuals(fields):
    sought, times = build(**fields), np.array([0.0, 2.0])
    parameters = moved(sought.initialise(0))
    window = Window(tiny.data().values[0, :2], tiny.data().forcing(0))
    r, jacobian = jax.jit(sought.linearisation(times))(parameters, window, KEY)
    flat, unravel = ravel_pytree(parameters)
    residuals = jax.jit(lambda flat: sought.residuals(times)(unravel(flat), window, KEY))
    assert jacobian.shape == (r.size, flat.size) == (8 * 8 * 2, flat.size)
    np.testing.assert_allclose(np.sort(r), np.sort(residuals(flat)), atol=1e-5)
    direction = np.random.default_rng(1).normal(size=flat.shape).astype(np.float32)
    change = (residuals(flat + 1e-2 * direction) - residuals(flat - 1e-2 * direction)) / 2e-2
    np.testing.assert_allclose(
        np.sort(jacobian @ direction), np.sort(change), atol=2e-2 * np.abs(change).max()
    )


def test_sensitivities_to_a_learnt_edge_are_those_of_forward_mode():
    """Beside those to reaction and diffusion, over several steps, in double precision."""
    with jax.enable_x64(True):
        config = tiny.config(**{"model.mask": "edge", "data.mask": "ellipse"})
        mask = np.zeros((3, 8, 8))
        mask[:, 2:7, 1:6] = 1.0
        data = dataclasses.replace(tiny.data(), mask=mask)
        summary = statistics.summarise([data], problem.whitened_degrees(config))
        sought, times = problem.build(config, summary), np.array([0.0, 2.0])
        parameters = jax.tree.map(jnp.float64, moved(sought.initialise(0)))
        assert set(parameters["mask"]) == {"margin"}
        window = Window(np.float64(data.values[0, :2]), data.forcing(0))
        r, jacobian = sought.linearisation(times)(parameters, window, KEY)
        plain = least_squares.by_forward_mode(sought.residuals(times))
        expected_r, expected = plain(parameters, window, KEY)
        order, expected_order = np.argsort(r), np.argsort(expected_r)
        np.testing.assert_allclose(r[order], expected_r[expected_order], atol=1e-12)
        np.testing.assert_allclose(jacobian[order], expected[expected_order], rtol=1e-6, atol=1e-9)
        assert (np.abs(jacobian).max(0) > 1e-4).all()


def test_an_edge_needs_a_mask():
    with pytest.raises(InputError, match="model.mask is 'edge', .* data have none; give them one"):
        build(**{"model.mask": "edge"})


def test_only_diffusion_coefficients_are_bounded():
    for fields, bounded in (({}, 2), (NCA, 0), ({"model.rda.terms": ("polynomial",)}, 0)):
        sought = build(**fields)
        lower = ravel_pytree(sought.lower_bounds(sought.initialise(0)))[0]
        assert np.isfinite(lower).sum() == bounded and (lower[np.isfinite(lower)] == 0).all()


@pytest.mark.parametrize(
    "fields", [{"model.rda.terms": ("network", "diffusion")}, NCA], ids=["rda", "nca"]
)
def test_parameters_are_a_function_of_the_seed(fields):
    sought = build(**fields)
    one, again, other = (ravel_pytree(sought.initialise(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


@pytest.mark.parametrize(("order", "degrees"), [(1, (1,)), (3, (1, 3))])
def test_whitened_degrees(order, degrees):
    fields = {"model.rda.terms": ("network",), "model.rda.network.order": order}
    assert problem.whitened_degrees(tiny.config(**fields)) == degrees


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"solver.dt": 0.75}, "steps of 0.75 .* do not divide the 2 .*solver.dt"),
        ({"solver.name": "rk4"}, "solver.name is 'rk4'; a fixed step takes one of euler"),
        (
            ADAPTIVE | {"solver.name": "euler"},
            r"solver.name is 'euler', but adaptive steps \(solver.dt=0\) take one of tsit5",
        ),
        (NCA | {"model.nca.start_alive": True}, r"data's channel 3 .* but the data have 2"),
        (NCA | {"model.nca.channels": 1}, "model.nca.channels is 1, but the data have 2 species"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_built(fields, sentence):
    with pytest.raises(InputError, match=sentence):
        build(**fields)


SMALL_STEPS = {"solver.adaptive.relative_tolerance": 1e-6, "solver.adaptive.max_steps": 32}


def under(solver):
    """The problem under a solver, with adaptive steps where it has no fixed ones."""
    if solver in (*explicit.NAMES, *spectral.NAMES):
        return build(**{"solver.name": solver, "solver.dt": 0.5})
    return build(**SMALL_STEPS | {"solver.name": solver, "solver.dt": 0.0})


@pytest.mark.parametrize(
    "solver",
    [
        pytest.param(name, marks=pytest.mark.slow if name in SLOW_TO_COMPILE else ())
        for name in problem.solver_names()
    ],
)
def test_every_solver_gives_gradients_that_are_finite_differences(solver):
    with jax.enable_x64(True):
        sought = under(solver)
        parameters = moved(sought.initialise(0))
        start = jnp.asarray(tiny.data().values[0, 0], jnp.float64)
        weights = np.random.default_rng(1).normal(size=(2, *start.shape))
        flat, unravel = ravel_pytree(parameters)

        @jax.jit
        def both(flat):
            total = lambda flat: jnp.sum(
                weights * sought.predict(unravel(flat), start, np.array([0.0, 2.0]), KEY)
            )
            return jax.value_and_grad(total)(flat)

        direction = np.random.default_rng(2).normal(size=flat.shape)
        step = 1e-5
        numeric = (both(flat + step * direction)[0] - both(flat - step * direction)[0]) / (2 * step)
        # An adaptive solver's steps depend on the parameters, which its gradient leaves out.
        tolerance = 1e-6 if isinstance(sought.dynamics, Stepped) else 1e-3
        assert both(flat)[1] @ direction == pytest.approx(float(numeric), rel=tolerance)


@pytest.mark.parametrize("solver", problem.solver_names())
def test_every_solver_predicts_the_same_on_one_and_eight_devices(solver):
    sought, data = under(solver), tiny.data()
    parameters = moved(sought.initialise(0))
    meshes = [make_mesh(1)] if sought.running == ALONE else [make_mesh(1), make_mesh(8)]
    key = jax.random.key(0)
    predictions = [
        make_predictor(sought, data, mesh, key=key, together=False)(parameters) for mesh in meshes
    ]
    for prediction in predictions:
        assert np.isfinite(prediction).all()
        np.testing.assert_allclose(prediction, predictions[0], rtol=1e-5, atol=1e-6)
