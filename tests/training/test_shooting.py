"""Starts of windows that are sought beside the parameters."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from diffpattern.data.measurement import noisy
from diffpattern.data.trajectories import Trajectories
from diffpattern.data.windows import Window
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.training.shooting import settled, tied

CELLS, CHANNELS = 6, 2
KEY = None  # nothing here draws


def window_of(seed=0, **given):
    values = np.random.default_rng(seed).normal(size=(3, CELLS, CHANNELS)).astype(np.float32)
    return Window(jnp.asarray(values), Forcing(time=jnp.float32(0)), **given)


def propagators():
    """What carries a start to the two later snapshots, [2, N, N]: it smoothes."""
    random = np.random.default_rng(1)
    basis = np.linalg.qr(random.normal(size=(CELLS * CHANNELS,) * 2))[0]
    decays = np.geomspace(1.0, 1e-3, CELLS * CHANNELS)
    return np.stack([(basis * decays**power) @ basis.T for power in (0.5, 1.0)])


def linear(parameters, window, key):
    """x(s; p) = p Phi s, minus the later snapshots."""
    start = window.values[0] if window.start is None else window.start
    predicted = parameters * jnp.asarray(propagators(), jnp.float32) @ start.reshape(-1)
    return (predicted - window.values[1:].reshape(2, -1)).reshape(-1)


def dense(parameters, window, weight):
    """The shift that solves (w + Phi'Phi) q = Phi'(X - x(X_0))."""
    matrix = parameters * propagators().reshape(-1, CELLS * CHANNELS)
    r = np.asarray(linear(parameters, window, KEY), float)
    tie = np.ones((CELLS, CHANNELS)) if window.known is None else window.known[0]
    ties = weight * np.diag(np.broadcast_to(tie, (CELLS, CHANNELS)).reshape(-1))
    return np.linalg.solve(ties + matrix.T @ matrix, -matrix.T @ r)


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_a_start_settles_where_the_linear_problem_says(weight):
    window = window_of()
    found = settled(tied(linear, weight), 1.5, jnp.zeros(CELLS * CHANNELS), window, KEY)
    np.testing.assert_allclose(found, dense(1.5, window, weight), atol=2e-5)


def test_a_start_settles_where_the_dynamics_are_not_linear():
    """The slope of the whole is zero there."""

    def residuals(parameters, window, key):
        r = linear(parameters, window, key)
        return r + 0.02 * r**2

    window, function = window_of(), tied(residuals, 1.0)
    cost = lambda shift: jnp.sum(function(1.5, shift, window, KEY) ** 2)
    begin = jnp.zeros(CELLS * CHANNELS)
    found = settled(function, 1.5, begin, window, KEY)
    for _ in range(3):
        found = settled(function, 1.5, found, window, KEY)
    assert cost(found) < 0.9 * cost(begin)
    slope = jnp.linalg.norm(jax.grad(cost)(found))
    assert slope < 1e-3 * jnp.linalg.norm(jax.grad(cost)(begin))


def test_residuals_begin_at_the_moved_start_and_end_with_its_tie():
    window, shift = window_of(), jnp.linspace(-1.0, 1.0, CELLS * CHANNELS)
    found = tied(linear, 4.0)(2.0, shift, window, KEY)
    moved = window.values[0] + shift.reshape(CELLS, CHANNELS)
    expected = linear(2.0, dataclasses.replace(window, start=moved), KEY)
    np.testing.assert_array_equal(found[: expected.size], expected)
    np.testing.assert_allclose(found[expected.size :], 2 * shift)


def test_without_weight_residuals_are_as_they_were():
    window = window_of()
    np.testing.assert_array_equal(
        tied(linear, 0.0)(2.0, jnp.zeros(0), window, KEY), linear(2.0, window, KEY)
    )


def test_what_was_not_seen_at_the_start_is_not_tied():
    known = jnp.asarray([[1.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
    window, shift = window_of(known=known), jnp.ones(CELLS * CHANNELS)
    found = tied(linear, 4.0)(2.0, shift, window, KEY)[-CELLS * CHANNELS :]
    np.testing.assert_array_equal(found.reshape(CELLS, CHANNELS), np.array([[2.0, 0.0]] * CELLS))


# ---- A fit to noisy data -----------------------------------------------------------------------

DIFFUSION, DECAY, INTERVAL, NOISE = 0.2, 0.05, 1.0, 0.2


def fitted(start_weight):
    """Diffusion and decay, from noisy snapshots of a field that spreads and decays."""
    data = noisy(decaying(), np.array([NOISE]), (0,))
    config = tiny.config(
        **{
            "model.rda.terms": ("polynomial", "diffusion"),
            "model.rda.polynomial.order": 1,
            "model.rda.diffusion.laplacian": "cross",
            "optimiser.levenberg_marquardt.form": "matrix_free",
            "optimiser.levenberg_marquardt.start_weight": start_weight,
            "solver.dt": 0.5,
            "training.batch": 64,
            "training.sampling": "uniform",
        }
    )
    run = tiny.Run(config, data, devices=2)
    losses = run.train(4)["loss"]
    assert losses[-1] < losses[0]
    parameters = jax.device_get(run.state.parameters)
    rates = parameters["polynomial"]["coefficients"][0]
    return parameters["diffusion"]["coefficient"][0], -rates[1]


def decaying():
    """du/dt = 0.2 lap u - 0.05 u, from white noise on a ring of cells."""
    random = np.random.default_rng(0)
    waves = 2 * np.pi * np.fft.fftfreq(32)
    rates = -DIFFUSION * (2 - 2 * np.cos(waves)) - DECAY
    times = INTERVAL * np.arange(9)
    spectrum = np.fft.fft(random.normal(size=(8, 32)))
    values = np.fft.ifft(spectrum[:, None] * np.exp(rates * times[:, None])).real
    return Trajectories(values[..., None].astype(np.float32), times, ("u",), Grid((32,)))


def test_sought_starts_take_the_bias_of_noise_out_of_a_fit():
    """Without them noise that is forgotten passes for what spreads and decays fast."""
    (plain, plain_decay), (sought, decay) = fitted(0.0), fitted(1.0)
    assert plain > 1.15 * DIFFUSION and plain_decay > 1.5 * DECAY
    assert abs(sought - DIFFUSION) < 0.5 * abs(plain - DIFFUSION)
    assert abs(decay - DECAY) < 0.5 * abs(plain_decay - DECAY)
