import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.flatten_util import ravel_pytree

from diffpattern import problem
from diffpattern.data import statistics
from diffpattern.data.trajectories import Trajectories
from diffpattern.data.windows import Window
from diffpattern.errors import InputError
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.parallel.mesh import SPREAD, fill_up, make_mesh, put
from diffpattern.training import least_squares
from diffpattern.training.least_squares import Fit
from diffpattern.training.step import TrainState, compiled

pytestmark = pytest.mark.usefixtures("quick_compilation")

MESHES = (1, 2, 4, 8)


def random_problem(seed, rows=40, columns=6):
    """A Jacobian with columns of very different size, and residuals."""
    random = np.random.default_rng(seed)
    jacobian = random.normal(size=(rows, columns)) * np.geomspace(1e-2, 1e2, columns)
    return random.normal(size=rows), jacobian


# ---- Triangular factors ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 5), (6, 5), (100, 5), (1000, 7), (4001, 3)])
def test_triangle_is_the_factor_of_the_whole(shape):
    with jax.enable_x64(True):
        r, jacobian = random_problem(0, *shape)
        factor = np.asarray(least_squares.triangle(jnp.asarray(r), jnp.asarray(jacobian)))
    rows = np.column_stack([jacobian, r])
    columns = shape[1] + 1
    assert factor.shape == (columns, columns)
    np.testing.assert_array_equal(factor, np.triu(factor))
    np.testing.assert_allclose(factor.T @ factor, rows.T @ rows, rtol=1e-10, atol=1e-9)
    if shape[0] >= columns:
        whole = np.linalg.qr(rows, mode="r")
        np.testing.assert_allclose(np.abs(factor), np.abs(whole), rtol=1e-8, atol=1e-10)


def test_triangle_keeps_in_single_precision_what_normal_equations_lose():
    random = np.random.default_rng(0)
    base = random.normal(size=(2000, 1))
    jacobian = (base + 1e-4 * random.normal(size=(2000, 4))).astype(np.float32)  # condition 1e4
    r = random.normal(size=2000).astype(np.float32)
    factor = np.asarray(least_squares.triangle(jnp.asarray(r), jnp.asarray(jacobian)), float)
    truth = np.linalg.svd(jacobian.astype(float), compute_uv=False)
    np.testing.assert_allclose(np.linalg.svd(factor[:-1, :-1], compute_uv=False), truth, rtol=1e-2)
    squares = np.linalg.eigvalsh((jacobian.T @ jacobian).astype(float))
    assert np.abs(squares / truth[::-1] ** 2 - 1).max() > 0.5


# ---- The damped step ---------------------------------------------------------------------------


@jax.jit
def _damped_step(r, jacobian, damping, flat, lower):
    return least_squares.damped_step(least_squares.triangle(r, jacobian), damping, flat, lower)


def damped_step(*arguments):
    with jax.enable_x64(True):
        return np.asarray(_damped_step(*arguments))


def augmented(r, jacobian, damping):
    """Rows and right-hand side whose least squares solution is the damped step."""
    ridge = np.sqrt(damping) * np.diag(np.linalg.norm(jacobian, axis=0))
    return np.vstack([jacobian, ridge]), np.concatenate([-r, np.zeros(len(ridge))])


@pytest.mark.parametrize("damping", [1e-9, 1e-3, 1.0, 1e3])
def test_a_free_step_is_that_of_numpy(damping):
    r, jacobian = random_problem(1)
    flat = np.linspace(-1, 1, 6)
    new = damped_step(r, jacobian, damping, flat, np.full(6, -np.inf))
    expected = flat + np.linalg.lstsq(*augmented(r, jacobian, damping), rcond=None)[0]
    np.testing.assert_allclose(new, expected, rtol=1e-8)


def test_a_parameter_without_influence_stays():
    r, jacobian = random_problem(2)
    jacobian[:, 3] = 0.0
    new = damped_step(r, jacobian, 1e-3, np.ones(6), np.full(6, -np.inf))
    assert new[3] == pytest.approx(1.0) and np.isfinite(new).all() and (new[:3] != 1).all()


def brute_force(r, jacobian, damping, flat, lower):
    """The best of all points at which some parameters lie on their bounds."""
    rows, target = augmented(r, jacobian, damping)
    candidates = []
    bounded = np.flatnonzero(np.isfinite(lower))
    for count in range(len(bounded) + 1):
        for fixed in itertools.combinations(bounded, count):
            free = np.setdiff1d(np.arange(len(flat)), fixed)
            step = np.zeros(len(flat))
            step[list(fixed)] = (lower - flat)[list(fixed)]
            step[free] = np.linalg.lstsq(rows[:, free], target - rows @ step, rcond=None)[0]
            if (flat + step >= lower - 1e-12).all():
                candidates.append((np.sum((rows @ step - target) ** 2), step))
    return flat + min(candidates, key=lambda pair: pair[0])[1]


@pytest.mark.parametrize("bounded", [1, 2, 3])
def test_a_bounded_step_is_the_best_within_the_bounds(bounded):
    on_bounds = set()
    for seed in range(60):
        r, jacobian = random_problem(seed)
        mixing = np.random.default_rng(seed).normal(size=(6, 6))
        jacobian = jacobian @ (np.eye(6) + 0.5 * mixing / np.linalg.norm(mixing))
        flat = np.abs(np.random.default_rng(seed + 100).normal(size=6)) * 0.05
        lower = np.where(np.arange(6) < bounded, 0.0, -np.inf)
        new = damped_step(r, jacobian, 1e-2, flat, lower)
        expected = brute_force(r, jacobian, 1e-2, flat, lower)
        assert (new >= lower).all()
        np.testing.assert_allclose(new, expected, rtol=1e-6, atol=1e-9)
        on_bounds.add(int((new == lower).sum()))
    assert on_bounds == set(range(bounded + 1))


# ---- A step whose result is known --------------------------------------------------------------

START = {"offset": np.float32(1.0), "slope": np.array([0.5, -0.5], np.float32)}
FREE = jax.tree.map(lambda x: np.full_like(x, -np.inf), START)


def toy_batch(count=6):
    """Windows [2, 9, 3]: two inputs and a target for each of nine cells, at two times."""
    random = np.random.default_rng(0)
    values = random.normal(size=(count, 2, 9, 3)).astype(np.float32)
    forcing = Forcing(time=np.zeros(count, np.float32))
    return {"window": Window(values, forcing), "index": np.arange(count, dtype=np.int32)}


def linear(parameters, window, key):
    """Residuals of a linear fit; what is random in them depends on the window's key."""
    fit = window.values[..., :2] @ parameters["slope"] + parameters["offset"]
    return (fit - window.values[..., 2] + 0.1 * jax.random.normal(key, fit.shape)).reshape(-1)


def backwards(residuals):
    """Residuals and Jacobian by reverse mode: differentiated by what devices share, each would get
    the sum over all of them."""

    def linearise(parameters, window, key):
        flat, unravel = ravel_pytree(parameters)
        function = lambda flat: residuals(unravel(flat), window, key)
        return function(flat), jax.jacrev(function)(flat)

    return linearise


def toy_step(
    devices, residuals=linear, linearise=None, *, batch=None, damping=1e-3, lower=FREE, steps=1,
    together=False, support=None, frozen=(), frozen_steps=0,
):  # fmt: skip
    mesh = make_mesh(devices)
    linearise = linearise or least_squares.by_forward_mode(residuals)
    step = least_squares.make_least_squares_step(
        residuals, linearise, lower, mesh, seed=0, together=together,
        sought_from=least_squares.first_steps(START, frozen, frozen_steps),
    )  # fmt: skip
    fit = Fit.start(damping, START)
    if support is not None:
        fit = fit.replace(support=jnp.asarray(support))
    state = put(TrainState(jnp.int32(0), START, fit), mesh)
    parts = batch if isinstance(batch, tuple) else (batch or toy_batch(),)
    batch = put(tuple(fill_up(part, devices) for part in parts), mesh, SPREAD)
    step = compiled(step, mesh)
    for _ in range(steps):
        state, metrics = step(state, batch)
    return jax.device_get(state.parameters), jax.device_get(metrics), jax.device_get(state)


def toy_solution(which=slice(None)):
    """Parameters and cost of the linear fit, by numpy, at the keys of the first step."""
    batch = toy_batch()
    key = jax.random.fold_in(jax.random.key(0), 0)
    keys = [jax.random.fold_in(key, index) for index in batch["index"]]
    noise = np.stack([0.1 * jax.random.normal(key, (2, 9)) for key in keys])
    x, y = (
        batch["window"].values[which, ..., :2].reshape(-1, 2),
        batch["window"].values[which, ..., 2],
    )
    y = (y - noise[which]).reshape(-1)
    rows = np.column_stack([np.ones(len(x)), x]).astype(float)
    solution, square, *_ = np.linalg.lstsq(rows, y, rcond=None)
    first = np.mean((rows @ [1.0, 0.5, -0.5] - y) ** 2)
    return solution, first, square[0] / len(y)


@pytest.mark.parametrize("devices", MESHES)
@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_a_linear_fit_is_solved_in_a_step_on_any_mesh(mode, devices):
    linearise = None if mode == "forward" else backwards(linear)
    parameters, metrics, state = toy_step(devices, linearise=linearise, damping=1e-8)
    solution, first, last = toy_solution()
    found = [parameters["offset"], *parameters["slope"]]
    np.testing.assert_allclose(found, solution, atol=2e-6)
    np.testing.assert_allclose(metrics["loss"], first, rtol=1e-5)
    np.testing.assert_allclose(metrics["trial_loss"], last, rtol=1e-5)
    assert metrics["accepted"] == 1 and metrics["diverged"] == pytest.approx(0, abs=1e-6)
    assert state.step == 1
    moved = np.subtract(found[1:], START["slope"])
    assert metrics["step_norm/slope"] == pytest.approx(np.linalg.norm(moved), rel=1e-5)


def test_windows_of_several_sizes_are_fitted_in_one_step():
    """As all their numbers together would be, each window with the same weight."""
    one = toy_batch()
    other = {
        "window": dataclasses.replace(one["window"], values=one["window"].values[:, :, :4]),
        "index": one["index"] + 6,
    }
    alike = lambda parameters, window, key: linear(parameters, window, jax.random.key(0))
    rows, targets = [], []
    for size in (9, 4):
        values = one["window"].values[:, :, :size].astype(float)
        noise = 0.1 * np.asarray(jax.random.normal(jax.random.key(0), (2, size)))
        weight = np.sqrt(1 / noise.size)
        x = values[..., :2].reshape(-1, 2)
        rows.append(weight * np.column_stack([np.ones(len(x)), x]))
        targets.append(weight * (values[..., 2] - noise).reshape(-1))
    solution, *_ = np.linalg.lstsq(np.concatenate(rows), np.concatenate(targets), rcond=None)
    for devices in MESHES:
        parameters, metrics, _ = toy_step(devices, alike, batch=(one, other), damping=1e-8)
        found = [parameters["offset"], *parameters["slope"]]
        np.testing.assert_allclose(found, solution, atol=2e-6)
        assert metrics["diverged"] == pytest.approx(0, abs=1e-6)


def test_windows_together_and_apart_give_the_same_step():
    apart, together = (toy_step(2, together=choice)[0] for choice in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), apart, together)


def test_the_factor_does_not_depend_on_the_mesh():
    """Ill-conditioned and hardly damped: what the sums' rounding did to J'J would show."""
    batch = toy_batch()
    batch["window"].values[..., 1] = (
        batch["window"].values[..., 0] + 1e-3 * batch["window"].values[..., 1]
    )
    one, *others = (toy_step(n, batch=batch, damping=1e-9)[0]["slope"] for n in MESHES)
    assert np.abs(one).max() > 10
    for other in others:
        np.testing.assert_allclose(other, one, rtol=1e-4)


def test_bounds_hold():
    solution, *_ = toy_solution()
    slope = np.array([solution[1] + 0.2, -np.inf], np.float32)
    parameters, _, _ = toy_step(2, lower=FREE | {"slope": slope}, damping=1e-8)
    assert parameters["slope"][0] == slope[0]
    assert abs(parameters["offset"] - solution[0]) < 0.1


def test_parameters_that_are_not_sought_stay():
    support = np.array([True, False, True])
    parameters, _, state = toy_step(2, damping=1e-8, support=support)
    assert parameters["slope"][0] == START["slope"][0]
    # The others are fitted as if it were known.
    batch = toy_batch()["window"].values
    key = jax.random.fold_in(jax.random.key(0), 0)
    noise = [0.1 * jax.random.normal(jax.random.fold_in(key, n), (2, 9)) for n in range(6)]
    y = (batch[..., 2] - np.stack(noise) - START["slope"][0] * batch[..., 0]).reshape(-1)
    rows = np.column_stack([np.ones(len(y)), batch[..., 1].reshape(-1)])
    found = [parameters["offset"], parameters["slope"][1]]
    np.testing.assert_allclose(found, np.linalg.lstsq(rows, y, rcond=None)[0], atol=2e-6)
    np.testing.assert_array_equal(state.optimiser.support, support)


def test_frozen_parameters_stay_for_their_steps_and_then_follow():
    frozen = {"frozen": ("slope",), "damping": 1e-8}
    throughout, *_ = toy_step(2, **frozen, steps=3)
    np.testing.assert_array_equal(throughout["slope"], START["slope"])
    assert throughout["offset"] != START["offset"]
    two, *_ = toy_step(2, **frozen, frozen_steps=2, steps=2)
    np.testing.assert_array_equal(two["slope"], START["slope"])
    three, *_ = toy_step(2, **frozen, frozen_steps=2, steps=3)
    assert (three["slope"] != START["slope"]).all()


@pytest.mark.parametrize(
    ("names", "told"),
    [(("slopes",), "names 'slopes', but .* are offset, slope;"), (("slope", "offset"), "nothing")],
)
def test_what_cannot_be_frozen_is_refused(names, told):
    with pytest.raises(InputError, match=f"levenberg_marquardt.frozen .*{told}"):
        least_squares.first_steps(START, names, 0)


def failing_beyond(reach):
    """Residuals that are NaN as soon as the offset has moved by more than `reach`."""

    def residuals(parameters, window, key):
        moved = jnp.abs(parameters["offset"] - START["offset"]) > reach
        return jnp.where(moved, jnp.nan, linear(parameters, window, key))

    return residuals


def test_a_trial_that_diverges_is_rejected_and_damping_grows():
    parameters, metrics, state = toy_step(2, failing_beyond(0.0), damping=1e-2)
    jax.tree.map(np.testing.assert_array_equal, parameters, START)
    assert metrics["accepted"] == 0 and np.isinf(metrics["trial_loss"])
    assert metrics["loss"] == pytest.approx(toy_solution()[1], rel=1e-5)
    assert state.optimiser.damping > 1e-2 * max(least_squares.TRIED_FACTORS)


def test_damping_grows_until_a_trial_is_within_reach():
    parameters, metrics, _ = toy_step(2, failing_beyond(0.05), damping=1e-2, steps=4)
    assert 0 < abs(parameters["offset"] - START["offset"]) <= 0.05
    assert np.isfinite(metrics["loss"])


def failing_on(windows):
    """Residuals that are NaN on the windows that these indices mark in their last input."""
    marks = toy_batch()["window"].values[list(windows), 0, 0, 2]

    def residuals(parameters, window, key):
        marked = jnp.isin(window.values[0, 0, 2], marks)
        return jnp.where(marked, jnp.nan, linear(parameters, window, key))

    return residuals


@pytest.mark.parametrize("devices", [1, 4])
def test_windows_that_diverge_are_left_out(devices):
    parameters, metrics, _ = toy_step(devices, failing_on([1, 4]), damping=1e-8)
    solution, *_ = toy_solution([0, 2, 3, 5])
    np.testing.assert_allclose(parameters["slope"], solution[1:], rtol=2e-5)
    assert metrics["diverged"] == pytest.approx(2 / 6)
    assert metrics["accepted"] == 1


def test_where_all_windows_diverge_nothing_moves():
    parameters, metrics, _ = toy_step(2, failing_on(range(6)))
    jax.tree.map(np.testing.assert_array_equal, parameters, START)
    assert metrics["diverged"] == 1 and metrics["accepted"] == 0


# ---- Derivatives of rollouts -------------------------------------------------------------------


def polynomial_problem(order=2, shape=(16,), species=("u",), **fields):
    """A small PDE of polynomial reaction, and statistics of data that it could have made."""
    config = tiny.config(
        **{
            "model.rda.polynomial.order": order,
            "solver.dt": 0.25,
            "model.rda.diffusion.laplacian": "cross",
        }
        | fields
    )
    values = np.random.default_rng(0).uniform(0.1, 0.9, (1, 2, *shape, len(species)))
    data = Trajectories(values, np.arange(2.0), species, Grid(shape))
    return problem.build(config, statistics.summarise([data], problem.whitened_degrees(config)))


def window_of(sought, snapshots=3):
    grid, species = sought.statistics.grid, sought.statistics.species
    values = np.random.default_rng(1).uniform(0.1, 0.9, (snapshots, *grid.shape, len(species)))
    return Window(jnp.asarray(values, jnp.float32), Forcing(time=jnp.float32(0.0)))


def moved(sought):
    random = np.random.default_rng(2)
    return jax.tree.map(lambda x: x + random.uniform(0.02, 0.1, x.shape), sought.initialise(0))


@pytest.mark.parametrize(
    "fields",
    [{}, {"model.rda.terms": ("network", "advection")}],
    ids=["polynomial", "network and advection"],
)
def test_carried_sensitivities_are_the_jacobian(fields):
    sought = polynomial_problem(species=("u", "v"), shape=(5, 4), **fields)
    times = np.array([0.0, 1.0, 2.0])
    with jax.enable_x64(True):
        parameters = moved(sought)
        count = ravel_pytree(parameters)[0].size
        window = jax.tree.map(lambda x: x.astype(jnp.float64), window_of(sought))
        arguments = parameters, window, jax.random.key(0)
        plain = least_squares.by_forward_mode(sought.residuals(times))
        r, jacobian = jax.jit(sought.linearisation(times))(*arguments)
        expected_r, expected = jax.jit(plain)(*arguments)
    assert jacobian.shape == (2 * 5 * 4 * 2, count)
    np.testing.assert_allclose(r, expected_r, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(jacobian, expected, rtol=1e-9, atol=1e-11)


def test_what_was_not_seen_has_no_residual():
    sought = polynomial_problem()
    times, known = np.array([0.0, 0.5, 1.0]), jnp.array([[1.0], [0.0], [1.0]])
    whole = window_of(sought, 3)
    window = dataclasses.replace(whole, known=known)
    parameters, key = moved(sought), jax.random.key(0)
    for linearise in (
        sought.linearisation(times),
        least_squares.by_forward_mode(sought.residuals(times)),
    ):
        (r, jacobian), (all_r, all_jacobian) = (
            jax.jit(linearise)(parameters, one, key) for one in (window, whole)
        )
        unseen = len(r) // 2
        assert not r[:unseen].any() and not jacobian[:unseen].any() and all_r[:unseen].any()
        np.testing.assert_allclose(r[unseen:], all_r[unseen:], rtol=1e-5)
        np.testing.assert_allclose(jacobian[unseen:], all_jacobian[unseen:], rtol=1e-4, atol=1e-6)
    residuals, linearise = least_squares.derivative_fit(lambda window: sought.rule, 0.5)
    pair = jax.tree.map(lambda x: x[:2] if x.ndim else x, window)
    assert not residuals(parameters, pair, key).any()
    assert not linearise(parameters, pair, key)[1].any()


@pytest.mark.parametrize("carried", [True, False], ids=["sensitivities", "forward mode"])
def test_weights_act_on_squares(carried):
    """A channel that counts three times and a snapshot that counts nine times, of means 1."""
    weights = {"loss.channel_weights": (3.0, 1.0), "loss.time_weights": (9.0, 1.0)}
    plain, weighed = (polynomial_problem(species=("u", "v"), **fields) for fields in ({}, weights))
    times, window, key = np.array([0.0, 0.5, 1.0]), window_of(plain, 3), jax.random.key(0)
    by_forward_mode = lambda sought: least_squares.by_forward_mode(sought.residuals(times))
    linearised = lambda sought: sought.linearisation(times) if carried else by_forward_mode(sought)
    parameters = moved(plain)
    (r, jacobian), (expected_r, expected) = (
        jax.jit(linearised(sought))(parameters, window, key) for sought in (weighed, plain)
    )
    factor = np.sqrt(np.outer([1.8, 0.2], [1.5, 0.5]))[:, None]
    np.testing.assert_allclose(
        r.reshape(2, 16, 2), factor * expected_r.reshape(2, 16, 2), rtol=1e-5, atol=1e-7
    )
    shape = 2, 16, 2, -1
    np.testing.assert_allclose(
        jacobian.reshape(shape), factor[..., None] * expected.reshape(shape), rtol=1e-4, atol=1e-6
    )


def test_the_derivative_fit_compares_with_the_difference_quotient():
    sought = polynomial_problem()
    residuals, linearise = least_squares.derivative_fit(lambda window: sought.rule, 0.5)
    parameters, window = moved(sought), window_of(sought, 2)
    r, jacobian = jax.jit(linearise)(parameters, window, None)
    first, second = window.values
    middle = jnp.moveaxis((first + second) / 2, -1, 0)
    slope = jnp.moveaxis((second - first) / 0.5, -1, 0)
    expected = jax.jit(sought.rule.apply)({"params": parameters}, middle) - slope
    np.testing.assert_allclose(r, expected.reshape(-1), rtol=1e-4, atol=1e-6)
    again, numeric = jax.jit(least_squares.by_forward_mode(residuals))(parameters, window, None)
    np.testing.assert_allclose(again, r, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(jacobian, numeric, rtol=1e-4, atol=1e-6)


# ---- Whole fits --------------------------------------------------------------------------------


def test_the_coefficients_of_a_polynomial_pde_are_recovered():
    """Fisher's equation with a source, du/dt = 0.3 lap u + 0.02 + 0.5 u - 0.6 u^2."""
    fields = {
        "model.rda.polynomial.order": 2,
        "solver.dt": 0.25,
        "model.rda.diffusion.laplacian": "cross",
        "training.batch": 6,
        "training.window": 2,
    }
    truth = {
        "diffusion": {"coefficient": jnp.array([0.3])},
        "polynomial": {"coefficients": jnp.array([[0.02, 0.5, -0.6]])},
    }
    sought, times = polynomial_problem(shape=(24,)), np.arange(7.0)
    starts = np.random.default_rng(3).uniform(0.0, 1.2, (2, 24, 1)).astype(np.float32)
    simulate = jax.vmap(lambda x: sought.predict(truth, x, times, jax.random.key(0)))
    data = Trajectories(jax.jit(simulate)(starts), times, ("u",), Grid((24,)))
    run = tiny.Run(tiny.config(**fields), data, 4)
    metrics = run.train(8)
    for found, expected in zip(
        jax.tree.leaves(run.state.parameters), jax.tree.leaves(truth), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert metrics["loss"][-1] < 1e-8 * metrics["loss"][0]


def test_a_rule_with_too_many_parameters_is_refused():
    least_squares.check_size({"a": np.zeros((40, 50))})
    with pytest.raises(InputError, match="at most 2000 .* has 2001; take .*'matrix_free'"):
        least_squares.check_size({"a": np.zeros((40, 50)), "b": np.zeros(1)})


@pytest.mark.slow
def test_data_of_a_finer_lattice_give_nearly_their_coefficients():
    """Data and fit share neither stencil nor step: what remains is the error of the stencil."""
    data = tiny.data(
        shape=(16, 16), interval=8.0, end_time=128.0, train=4, refinement=2, laplacian="cross"
    )
    config = tiny.config(
        **{
            "model.rda.diffusion.laplacian": "fourth_order",
            "training.batch": 8,
            "training.window": 2,
        }
    )
    run = tiny.Run(config, data, devices=8)
    assert run.train(steps=8)["loss"][-1] < 2e-5
    found = np.asarray(run.state.parameters["diffusion"]["coefficient"])
    np.testing.assert_allclose(found, [0.1, 0.05], rtol=0.03)
