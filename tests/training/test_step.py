"""The train step by gradients, and that neither optimiser's depends on the mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from diffpattern import train
from diffpattern.data.trajectories import Trajectories
from diffpattern.data.windows import Window
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.models.diffusion import LinearDiffusion
from diffpattern.parallel.mesh import (
    ALONE,
    CHECKED,
    DATA,
    SPREAD,
    UNCHECKED,
    fill_up,
    make_mesh,
    put,
)
from diffpattern.rollout import rollout, runge_kutta
from diffpattern.training.step import (
    TrainState,
    compiled,
    make_gradient_step,
    over_windows,
    prefers_together,
    window_keys,
)

MESHES = (1, 2, 4, 8)
NADAM = {
    "optimiser.name": "nadam",
    "optimiser.optax.learning_rate": 0.01,
    "optimiser.optax.warmup_steps": 3,
}
AUTOMATON = NADAM | {
    "model.name": "nca",
    "model.nca.channels": 4,
    "model.nca.network.hidden": (12,),
    "model.nca.steps_per_interval": 3,
}
AVERAGED_AND_PRUNED = {
    "optimiser.optax.average_decay": 0.9,
    "optimiser.optax.pruning.sparsity": 0.5,
    "optimiser.optax.pruning.first_step": 5,
    "optimiser.optax.pruning.last_step": 15,
    "optimiser.optax.rates": ("update/network/output=0.5",),
}
SIX = {"training.batch": 6}  # which neither 4 nor 8 divides


# ---- A step whose result is known --------------------------------------------------------------

# Of numpy, because a step takes over the memory of arrays that are on a device already.
PARAMETERS = {"scale": np.array([0.5, 2.0], np.float32), "offset": np.float32(0.3)}
DESCENT = optax.sgd(1.0)
UNBOUNDED = {"scale": np.full(2, -np.inf), "offset": np.array(-np.inf)}


def toy_loss(parameters, window, key, old=False):
    """Depends on every parameter, on the window and on its key; comes to the last snapshot."""
    noise = jax.random.normal(key, window.values.shape)
    error = window.values * parameters["scale"] + parameters["offset"] + noise
    return jnp.mean(error**2), window.values[-1]


def toy_batch(count=6):
    values = np.random.default_rng(0).normal(size=(count, 2, 5, 2)).astype(np.float32)
    forcing = Forcing(time=np.zeros(count, np.float32))
    return {"window": Window(values, forcing), "index": np.arange(count, dtype=np.int32)}


def toy_step(
    devices,
    *,
    lower=UNBOUNDED,
    together=False,
    running=CHECKED,
    batch=None,
    optimiser=DESCENT,
):
    """The state and metrics after a step, and the state that was handed in."""
    mesh = make_mesh(devices)
    step = make_gradient_step(
        toy_loss, optimiser, lower, mesh, seed=5, together=together, running=running
    )
    first = put(TrainState(jnp.int32(3), PARAMETERS, optimiser.init(PARAMETERS)), mesh)
    batch = put((fill_up(batch or toy_batch(), devices),), mesh, SPREAD)
    return *compiled(step, mesh)(first, batch), first


def toy_answer(parameters=PARAMETERS):
    """Loss and gradient of the mean over the windows, without a mesh."""
    batch = toy_batch()
    keys = window_keys(5, jnp.int32(3), batch)
    mean = lambda parameters: jnp.mean(
        jax.vmap(toy_loss, (None, 0, 0))(parameters, batch["window"], keys)[0]
    )
    return jax.value_and_grad(mean)(jax.tree.map(jnp.asarray, parameters))


@pytest.mark.usefixtures("quick_compilation")
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("running", [CHECKED, UNCHECKED])
@pytest.mark.parametrize("devices", [1, 2, 8])
def test_a_step_follows_the_gradient_of_the_mean_over_the_windows(devices, running, together):
    """Differentiated by what the devices share, a loss would give the sum over them."""
    state, metrics, _ = toy_step(devices, running=running, together=together)
    loss, gradient = toy_answer()
    assert int(state.step) == 4
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["gradient_norm"], optax.global_norm(gradient), rtol=1e-5)
    for name, value in state.parameters.items():
        norm = metrics[f"gradient_norm/{name}"]
        np.testing.assert_allclose(norm, np.linalg.norm(gradient[name]), rtol=1e-5)
        np.testing.assert_allclose(value, PARAMETERS[name] - gradient[name], rtol=1e-5)


def test_the_step_takes_over_the_memory_of_its_state():
    state, _, first = toy_step(2)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(first.parameters))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(state))


def test_parameters_are_projected_onto_their_bounds():
    free = toy_step(1)[0].parameters
    lower = {
        "scale": jnp.array([float(free["scale"][0]) + 0.25, -jnp.inf]),
        "offset": jnp.array(-9.0),
    }
    bounded = toy_step(1, lower=lower)[0].parameters
    assert bounded["scale"][0] == lower["scale"][0] > free["scale"][0]
    assert bounded["scale"][1] == free["scale"][1] and bounded["offset"] == free["offset"]


def test_one_bad_window_is_seen_in_the_loss():
    batch = toy_batch()
    batch["window"].values[4] = np.nan
    _, metrics, _ = toy_step(4, batch=batch)
    assert np.isnan(metrics["loss"]) and np.isnan(metrics["gradient_norm"])


TRIAL = {"scale": np.array([-0.5, 1.0], np.float32), "offset": np.float32(0.7)}


def spy():
    """An optimiser whose updates are the slope, at `TRIAL`, of the loss that it is given as a
    function, and whose state becomes the loss there and where the step began."""

    def update(gradient, state, parameters, *, value, value_fn):
        there, slope = jax.value_and_grad(value_fn)(jax.tree.map(jnp.asarray, TRIAL))
        # In a loop, as a search has it.
        again = jax.lax.fori_loop(0, 2, lambda _, total: total + value_fn(TRIAL) / 2, 0.0)
        return slope, {"here": value, "there": there, "again": again}

    nothing = lambda _: {name: jnp.zeros(()) for name in ("here", "there", "again")}
    return optax.GradientTransformationExtraArgs(nothing, update)


@pytest.mark.usefixtures("quick_compilation")
@pytest.mark.parametrize(
    ("devices", "running"), [(1, CHECKED), (8, CHECKED), (2, UNCHECKED), (1, ALONE)]
)
def test_an_optimiser_may_ask_for_the_loss_elsewhere_over_the_same_windows(devices, running):
    state, _, _ = toy_step(devices, running=running, optimiser=spy())
    here, (there, slope) = toy_answer()[0], toy_answer(TRIAL)
    for name, expected in {"here": here, "there": there, "again": there}.items():
        np.testing.assert_allclose(state.optimiser[name], expected, rtol=1e-5)
    for name, value in state.parameters.items():
        np.testing.assert_allclose(value - PARAMETERS[name], slope[name], rtol=1e-4)


def test_elsewhere_ends_at_the_bounds():
    lower = UNBOUNDED | {"scale": np.array([0.0, -np.inf], np.float32)}
    state, _, _ = toy_step(2, lower=lower, optimiser=spy())
    inside = TRIAL | {"scale": np.array([0.0, 1.0], np.float32)}
    loss, slope = toy_answer(inside)
    assert float(state.optimiser["there"]) == pytest.approx(float(loss), rel=1e-5)
    assert state.parameters["scale"][0] == PARAMETERS["scale"][0]
    np.testing.assert_allclose(
        state.parameters["scale"][1] - PARAMETERS["scale"][1], slope["scale"][1], rtol=1e-4
    )


def test_keys_are_of_seed_step_and_window():
    batch = toy_batch()
    data = lambda seed, step: np.asarray(jax.random.key_data(window_keys(seed, step, batch)))
    keys = np.concatenate([data(0, 0), data(0, 1), data(1, 0)])
    assert len(np.unique(keys, axis=0)) == 18
    shuffled = {"index": batch["index"][::-1].copy()}
    np.testing.assert_array_equal(
        jax.random.key_data(window_keys(0, 1, shuffled))[::-1], data(0, 1)
    )


def test_windows_one_by_one_and_in_a_batch_are_the_same():
    x, y = jnp.arange(12.0).reshape(4, 3), jnp.arange(4.0)
    function = lambda x, y: {"sum": x.sum() * y, "sin": jnp.sin(x)}
    apart, together = (over_windows(function, choice, x, y) for choice in (False, True))
    jax.tree.map(np.testing.assert_array_equal, apart, together)


def test_a_cpu_takes_windows_apart_unless_told_otherwise():
    assert jax.default_backend() == "cpu"
    choices = ("auto", "apart", "together")
    assert [prefers_together(choice) for choice in choices] == [False, False, True]


# ---- Runs on meshes ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        AUTOMATON,
        NADAM,
        {"optimiser.name": "levenberg_marquardt"},
    ],
    ids=["nca-nadam", "rda-nadam", "rda-levenberg_marquardt"],
)
def test_twenty_steps_are_the_same_on_one_two_four_and_eight_devices(fields):
    curves = []
    for devices in MESHES:
        run = tiny.Run(tiny.config(**SIX | fields), tiny.data(), devices)
        assert run.mesh.shape[DATA] == devices
        curves.append(run.train(20))
        assert run.step._cache_size() == 1
    first = curves[0]["loss"]
    assert np.isfinite(first).all() and first[0] > 0 and len(set(first)) == 20
    assert first[-3:].mean() < 0.6 * first[0]
    for curve in curves[1:]:
        assert np.abs(curve["loss"] - first).max() <= 1e-5 * first[0]
        if "gradient_norm" in curve:
            # Which a rule like nadam, indifferent to the gradient's scale, would not show.
            np.testing.assert_allclose(
                curve["gradient_norm"], curves[0]["gradient_norm"], rtol=1e-2
            )


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [{"optimiser.name": "lbfgs"}, AUTOMATON | AVERAGED_AND_PRUNED],
    ids=["rda-lbfgs", "nca-pruned"],
)
def test_searches_averages_and_pruning_are_the_same_on_one_and_eight_devices(fields):
    one, eight = (tiny.Run(tiny.config(**SIX | fields), tiny.data(), count) for count in (1, 8))
    expected, found = one.train(20)["loss"], eight.train(20)["loss"]
    assert expected[-3:].mean() < 0.6 * expected[0]
    assert np.abs(found - expected).max() <= 1e-5 * expected[0]
    for a, b in zip(*(jax.tree.leaves(run.state.parameters) for run in (one, eight)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    if "optimiser.optax.average_decay" in fields:
        kernel = lambda tree: np.asarray(tree["update"]["network"]["hidden_0"]["kernel"])
        for run in (one, eight):
            zeros = kernel(run.state.parameters) == 0
            assert zeros.mean() == 0.5
            np.testing.assert_array_equal(kernel(run.state.optimiser.average) == 0, zeros)


@pytest.mark.usefixtures("quick_compilation")
def test_the_fire_mask_is_at_work():
    masked, free = (
        tiny.Run(tiny.config(**SIX | AUTOMATON | {"model.nca.fire_rate": rate}), tiny.data(), 2)
        for rate in (0.5, 1.0)
    )
    assert masked.sought.rule.fire_rate == 0.5
    # Alike until the automaton, which starts by doing nothing, has learnt something.
    first, second = masked.train(4)["loss"], free.train(4)["loss"]
    assert first[0] == second[0] and abs(first[3] - second[3]) > 1e-3 * first[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [AUTOMATON, AUTOMATON | {"model.nca.step_jitter": 1, "training.starts": "pool"}, {}],
    ids=["nadam", "jitter", "levenberg_marquardt"],
)
def test_windows_together_and_apart_train_alike(fields):
    together, apart = (
        tiny.Run(tiny.config(**SIX | fields | {"training.windows": choice}), tiny.data(), 2).train(
            5
        )["loss"]
        for choice in ("together", "apart")
    )
    assert np.abs(together - apart).max() <= 1e-5 * apart[0]


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compilation")
def test_gradients_through_adaptive_steps_are_the_same_on_two_devices():
    """Their loop cannot be checked for what is equal on all devices: the checks are off."""
    fields = {
        "solver.dt": 0.0,
        "solver.name": "dopri5",
        "solver.adaptive.max_steps": 16,
        "optimiser.name": "sgd",
        "optimiser.optax.warmup_steps": 0,
        "training.batch": 3,
    }
    runs = [tiny.Run(tiny.config(**fields), tiny.data(shape=(12,)), devices) for devices in (1, 2)]
    one, two = (run.train(2) for run in runs)
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-5)
    np.testing.assert_allclose(two["gradient_norm"], one["gradient_norm"], rtol=1e-4)


# ---- Diffusion coefficients --------------------------------------------------------------------


def sharpening(coefficients=(0.1, -0.02)) -> Trajectories:
    """Snapshots of two species of which the second runs diffusion backwards: what fits best is a
    negative coefficient."""
    grid = Grid((12,))
    rule = LinearDiffusion(grid)
    right_hand_side = lambda c, x, _: rule.apply({"params": {"coefficient": c}}, x)
    starts = np.random.default_rng(0).uniform(0.2, 0.8, (3, *grid.shape, 2)).astype(np.float32)
    times = 2.0 * np.arange(5)
    run = lambda start: rollout(
        runge_kutta(right_hand_side, "heun", 1.0),
        jnp.array(coefficients),
        start,
        times,
        jax.random.key(0),
    )
    return Trajectories(jax.jit(jax.vmap(run))(starts), times, ("A", "B"), grid)


def coefficients_by_step(fields, truth, steps):
    run = tiny.Run(
        tiny.config(**fields, **{"model.rda.terms": ("diffusion",), "training.batch": 4}), truth, 2
    )
    history = []
    for _ in range(steps):
        run.advance()
        history.append(np.asarray(run.state.parameters["diffusion"]["coefficient"]))
    return np.array(history)


@pytest.mark.usefixtures("quick_compilation")
@pytest.mark.parametrize(
    # Least squares overshoots nothing in a problem that is nearly linear, so it is pushed by data.
    ("name", "truth"),
    [("nadam", 0.0), ("nadam", -0.02), ("levenberg_marquardt", -0.02)],
)
def test_diffusion_coefficients_do_not_fall_below_zero(name, truth, monkeypatch):
    fields = {"optimiser.name": name}
    if name == "nadam":
        # Long strides: from 0.05 down past zero, even where zero itself is the truth.
        fields |= {"optimiser.optax.learning_rate": 0.03, "optimiser.optax.warmup_steps": 0}
    data = sharpening((0.1, truth))
    bounded = coefficients_by_step(fields, data, 12)
    assert (bounded >= 0).all() and (bounded[:, 1] == 0).any()
    assert (bounded[:, 0] > 0).all()
    if name == "levenberg_marquardt":
        np.testing.assert_allclose(bounded[-1], [0.1, 0.0], atol=1e-4)
    # Without the bound the same run goes below, so the test above can fail.
    monkeypatch.setattr(LinearDiffusion, "non_negative", ())
    assert coefficients_by_step(fields, data, 12)[:, 1].min() < -0.01


def test_a_batch_is_drawn_for_its_step():
    run = tiny.Run(tiny.config(**SIX), tiny.data(), 4)
    (batch,) = train.draw_batch(run.batches, 3, run.mesh)
    assert batch["window"].values.shape[0] == 8 and float(batch["weight"].sum()) == 6
    assert len(batch["window"].values.sharding.device_set) == 4
