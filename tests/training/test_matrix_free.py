"""Steps by products with the Jacobian are those of the Jacobian itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.flatten_util import ravel_pytree

from diffpattern.data.windows import Window
from diffpattern.grid.forcing import Forcing
from diffpattern.parallel.mesh import SPREAD, fill_up, make_mesh, put
from diffpattern.training import least_squares, matrix_free
from diffpattern.training.least_squares import Fit
from diffpattern.training.matrix_free import ConjugateGradients
from diffpattern.training.step import TrainState, compiled

pytestmark = pytest.mark.usefixtures("quick_compilation")

# Columns of very different size, and fewer windows than some meshes have devices.
START = {"offset": np.float32(1.0), "slopes": np.linspace(-1, 1, 7).astype(np.float32)}
FREE = jax.tree.map(lambda x: np.full_like(x, -np.inf), START)
EXACT = ConjugateGradients(iterations=20, tolerance=1e-7)
WINDOWS, CELLS = 6, 30


def toy_batch():
    """Windows [2, 30, 8]: seven inputs and a target for each of thirty cells, at two times."""
    random = np.random.default_rng(0)
    values = random.normal(size=(WINDOWS, 2, CELLS, 8)).astype(np.float32)
    values[..., :7] *= np.geomspace(0.1, 10, 7, dtype=np.float32)
    forcing = Forcing(time=np.zeros(WINDOWS, np.float32))
    return {"window": Window(values, forcing), "index": np.arange(WINDOWS, dtype=np.int32)}


def linear(parameters, window, key):
    """Residuals of a linear fit."""
    fit = window.values[..., :7] @ parameters["slopes"] + parameters["offset"]
    return (fit - window.values[..., 7]).reshape(-1)


def rows_and_target():
    values = toy_batch()["window"].values.reshape(-1, 8).astype(float)
    return np.column_stack([np.ones(len(values)), values[:, :7]]), values[:, 7]


def flat(parameters):
    return np.asarray(ravel_pytree(parameters)[0])


def toy_step(
    devices, residuals=linear, *, damping=1e-8, lower=FREE, support=None, steps=1, together=False,
    frozen=(), frozen_steps=0, **options,
):  # fmt: skip
    mesh = make_mesh(devices)
    step = matrix_free.make_matrix_free_step(
        residuals, lower, mesh, seed=0, together=together,
        sought_from=least_squares.first_steps(START, frozen, frozen_steps),
        **{"stopping": EXACT} | options,
    )  # fmt: skip
    fit = Fit.start(damping, START)
    if support is not None:
        fit = fit.replace(support=jnp.asarray(support))
    state = put(TrainState(jnp.int32(0), START, fit), mesh)
    batch = put((fill_up(toy_batch(), devices),), mesh, SPREAD)
    step = compiled(step, mesh)
    for _ in range(steps):
        state, metrics = step(state, batch)
    return flat(state.parameters), jax.device_get(metrics), jax.device_get(state)


@pytest.mark.parametrize("devices", [1, 8])
def test_a_linear_fit_is_solved_in_a_step_on_any_mesh(devices):
    found, metrics, state = toy_step(devices)
    rows, target = rows_and_target()
    solution, square, *_ = np.linalg.lstsq(rows, target)
    np.testing.assert_allclose(found, solution, atol=1e-5)
    before = np.mean((rows @ flat(START) - target) ** 2)
    np.testing.assert_allclose(metrics["loss"], before, rtol=1e-5)
    np.testing.assert_allclose(metrics["trial_loss"], square[0] / len(rows), rtol=1e-5)
    assert metrics["accepted"] == 1 and metrics["products"] <= 8 and state.step == 1


def test_windows_together_and_apart_give_the_same_step():
    apart, together = (toy_step(2, together=choice)[0] for choice in (False, True))
    np.testing.assert_allclose(apart, together, rtol=1e-5)


def test_a_few_products_go_as_far_as_conjugate_gradients_do():
    """The best step in the span of M^-1 g, M^-1 A M^-1 g ..., with M as it was guessed."""
    rows, target = rows_and_target()
    rows, r = rows / np.sqrt(len(rows)), (rows @ flat(START) - target) / np.sqrt(len(rows))
    # Where damping is all that counts, a step is -g / (lambda W^2), which tells W.
    far = flat(START) - toy_step(1, damping=1e5, stopping=ConjugateGradients(1, 1e-7))[0]
    squares = rows.T @ r / (far * 1e5 * min(least_squares.TRIED_FACTORS))
    truth = np.sum(rows**2, axis=0)
    assert (np.abs(np.log(squares / truth)) < np.log(5)).all()
    for products in (1, 2, 3):
        stopping = ConjugateGradients(products, 1e-7)
        found, metrics, _ = toy_step(1, damping=1e-9, stopping=stopping)
        vectors = [rows.T @ r / squares]
        for _ in range(products - 1):
            vectors.append(rows.T @ (rows @ vectors[-1]) / squares)
        basis = np.linalg.qr(np.stack(vectors, axis=1))[0]
        amounts = np.linalg.lstsq(rows @ basis, -r)[0]
        np.testing.assert_allclose(found - flat(START), basis @ amounts, rtol=2e-2, atol=1e-2)
        assert metrics["products"] == products


def test_products_end_at_the_tolerance():
    _, rough, _ = toy_step(1, stopping=ConjugateGradients(20, 0.3))
    _, fine, _ = toy_step(1, stopping=ConjugateGradients(20, 1e-3))
    assert rough["products"] < fine["products"] <= 8
    assert fine["remaining"] <= 1e-3 < rough["remaining"] <= 0.3


# Inputs that are nearly dependent, as the derivatives by the weights of a network are.
BASIS = np.linalg.qr(np.random.default_rng(3).normal(size=(7, 7)))[0]
MIXED = np.float32(BASIS * np.geomspace(1.0, 1e-2, 7) @ BASIS.T / np.geomspace(0.1, 10, 7)[:, None])


def mixed(parameters, window, key):
    """Residuals of a linear fit to nearly dependent inputs."""
    inputs = window.values[..., :7] @ MIXED
    fit = inputs @ parameters["slopes"] + parameters["offset"]
    return (fit - window.values[..., 7]).reshape(-1)


def some_rows(parameters, window, key):
    """Two thirds of the rows of the Jacobian, and those not quite right."""
    inputs = jnp.concatenate([window.values[:, first::3, :7] for first in (0, 1)]).reshape(-1, 7)
    rows = jnp.column_stack([jnp.ones(len(inputs)), inputs @ MIXED]) / len(inputs) ** 0.5
    return rows * jnp.linspace(0.7, 1.4, len(inputs))[:, None]


def test_with_a_preconditioner_fewer_products_are_enough():
    few = ConjugateGradients(iterations=20, tolerance=1e-3)
    found, metrics, _ = toy_step(2, mixed, stopping=few, rows=some_rows)
    _, without, _ = toy_step(2, mixed, stopping=few)
    assert metrics["products"] + 1 < without["products"]
    rows, target = rows_and_target()
    rows[:, 1:] = rows[:, 1:] @ MIXED
    best = np.linalg.lstsq(rows, target)[0]
    off, far = (np.linalg.norm(rows @ (x - best)) for x in (found, flat(START)))
    assert off < 0.03 * far
    # In the end it is the same system, and what is not sought stays.
    support = np.arange(8) != 3
    found, *_ = toy_step(2, mixed, rows=some_rows, support=support)
    others = np.linalg.lstsq(rows[:, support], target - rows[:, 3] * flat(START)[3])[0]
    assert found[3] == flat(START)[3]
    assert np.linalg.norm(rows[:, support] @ (found[support] - others)) < 1e-3 * far


def test_bounds_hold_and_are_left_again():
    rows, target = rows_and_target()
    solution = np.linalg.lstsq(rows, target)[0]
    # The first slope starts on its bound, from which the cost falls; the second has to stay on it.
    slopes = np.full(7, -np.inf, np.float32)
    slopes[0] = START["slopes"][0]
    slopes[6] = START["slopes"][6]
    assert solution[1] > slopes[0] and solution[7] < slopes[6]
    found, metrics, _ = toy_step(2, lower=FREE | {"slopes": slopes})
    assert metrics["accepted"] == 1 and found[7] == slopes[6] and found[1] > slopes[0]
    others = np.linalg.lstsq(rows[:, :7], target - rows[:, 7] * slopes[6])[0]
    np.testing.assert_allclose(found[:7], others, atol=1e-5)
    # One that would fall below is set on its bound.
    bound = np.float32(START["slopes"][6] - 0.1)
    slopes = np.full(7, -np.inf, np.float32)
    slopes[6] = bound
    assert toy_step(2, lower=FREE | {"slopes": slopes})[0][7] == bound


def test_parameters_that_are_not_sought_stay():
    support = np.arange(8) != 3
    found, *_ = toy_step(2, support=support)
    rows, target = rows_and_target()
    others = np.linalg.lstsq(rows[:, support], target - rows[:, 3] * flat(START)[3])[0]
    assert found[3] == flat(START)[3]
    np.testing.assert_allclose(found[support], others, atol=1e-5)


def test_frozen_parameters_stay_for_their_steps_and_then_follow():
    frozen = {"frozen": ("offset",), "frozen_steps": 1}
    assert toy_step(2, **frozen)[0][0] == START["offset"]
    assert toy_step(2, **frozen, steps=2)[0][0] != START["offset"]


def test_windows_that_diverge_are_left_out():
    marks = toy_batch()["window"].values[[1, 4], 0, 0, 7]

    def residuals(parameters, window, key):
        marked = jnp.isin(window.values[0, 0, 7], marks)
        return jnp.where(marked, jnp.nan, linear(parameters, window, key))

    found, metrics, _ = toy_step(4, residuals)
    kept = np.repeat(~np.isin(np.arange(WINDOWS), [1, 4]), 2 * CELLS)
    rows, target = rows_and_target()
    np.testing.assert_allclose(found, np.linalg.lstsq(rows[kept], target[kept])[0], atol=1e-5)
    assert metrics["diverged"] == pytest.approx(2 / 6)


def test_trials_that_diverge_are_rejected():
    def residuals(parameters, window, key):
        moved = parameters["offset"] != START["offset"]
        return jnp.where(moved, jnp.nan, linear(parameters, window, key))

    found, metrics, state = toy_step(2, residuals, damping=1e-2)
    np.testing.assert_array_equal(found, flat(START))
    assert metrics["accepted"] == 0
    assert state.optimiser.damping > 1e-2 * max(least_squares.TRIED_FACTORS)


# ---- Sought starts -----------------------------------------------------------------------------


# How far from the best fit its parameters begin: a product of slopes and starts is nearly linear.
NEAR = 1e-2


def carried_on(parameters, window, key):
    """The start, seen through the slopes, is to give a target near to what it gives."""
    start = window.values[0] if window.start is None else window.start
    fit = start[..., :7] @ parameters["slopes"] + parameters["offset"]
    near = window.values[0, :, :7] @ START["slopes"] + START["offset"]
    return fit - near - NEAR * window.values[1, :, 7]


def whole_system(values, weight):
    """The step of the parameters, from where the starts have settled: all unknowns at once."""
    inputs, targets = values[:, 0, :, :7].reshape(-1, 7), NEAR * values[:, 1, :, 7].reshape(-1)
    slopes = np.asarray(START["slopes"], float)
    shifts = targets[:, None] * slopes / (weight + slopes @ slopes)
    r = np.concatenate([shifts @ slopes - targets, (weight**0.5 * shifts).reshape(-1)])
    every = np.eye(len(inputs))
    by_parameters = np.column_stack([np.ones(len(inputs)), inputs + shifts])
    jacobian = np.block(
        [
            [by_parameters, np.kron(every, slopes)],
            [np.zeros((shifts.size, 8)), weight**0.5 * np.eye(shifts.size)],
        ]
    )
    return np.linalg.lstsq(jacobian, -r)[0][:8]


@pytest.mark.parametrize(("devices", "weight"), [(1, 1.0), (8, 4.0)])
def test_starts_are_eliminated_from_the_linear_system(devices, weight):
    """Against the whole system by numpy: parameters, and every start's seven inputs."""
    # Damping above that of rounding; W is guessed, so the damped solution is not compared.
    stopping = ConjugateGradients(iterations=60, tolerance=1e-7)
    found, metrics, _ = toy_step(
        devices, carried_on, damping=1e-8, stopping=stopping, start_weight=weight
    )
    step = whole_system(toy_batch()["window"].values.astype(float), weight)
    sizes = np.linalg.norm(rows_and_target()[0], axis=0)
    error = np.linalg.norm((found - flat(START) - step) * sizes)
    assert error < 0.02 * np.linalg.norm(step * sizes)
    assert metrics["accepted"] == 1
    # The cost of the trial has both the residuals that are left and the starts' ties.
    assert metrics["trial_loss"] < metrics["loss"]


# ---- Rollouts ----------------------------------------------------------------------------------


def run_of(devices, **fields):
    config = tiny.config(
        **{
            "model.rda.terms": ("network", "diffusion"),
            "model.rda.network.hidden": (4,),
            "model.rda.network.last_scale": 0.1,
            "optimiser.levenberg_marquardt.form": "matrix_free",
            "optimiser.levenberg_marquardt.conjugate_gradients.iterations": 6,
            "training.batch": 8,
        }
        | fields
    )
    return tiny.Run(config, tiny.data(), devices)


@pytest.mark.parametrize("start_weight", [0.0, 1.0])
def test_a_fit_through_the_solver_does_not_depend_on_the_mesh(start_weight):
    field = {"optimiser.levenberg_marquardt.start_weight": start_weight}
    one, eight = (run_of(devices, **field) for devices in (1, 8))
    losses = one.train(3)["loss"]
    np.testing.assert_allclose(eight.train(3)["loss"], losses, rtol=1e-5)
    assert losses[-1] < losses[0]
    expected = flat(one.state.parameters)
    np.testing.assert_allclose(
        flat(eight.state.parameters), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()
    )
