import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.grid.geometry import Grid
from diffpattern.training.losses import LOSSES, Context

pytestmark = pytest.mark.usefixtures("quick_compilation")

SHAPES = [(7,), (8, 6), (6, 5), (4, 3, 6)]


compiled_amplitude = jax.jit(LOSSES["spectral"])
compiled_phase = jax.jit(LOSSES["spectral_phase"])


def amplitude(prediction, truth, context):
    return float(compiled_amplitude(prediction, truth, context))


def phase(prediction, truth, context):
    return float(compiled_phase(prediction, truth, context))


def fields(shape, seed=0):
    values = np.random.default_rng(seed).normal(size=(2, *shape, 3))
    return jnp.asarray(values, jnp.float32), Context(Grid(shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_amplitude_and_phase_together_are_l2(shape):
    """Parseval, for odd and even numbers of cells; with weights and a mask too."""
    truth, context = fields(shape)
    prediction = fields(shape, seed=1)[0]
    mask = jnp.asarray(np.random.default_rng(2).integers(0, 2, shape), jnp.float32)
    weight = jnp.array([[1.0, 0.0, 2.0], [0.5, 3.0, 1.0]])
    for under in (context, context.replace(mask=mask), context.replace(mask=mask, weight=weight)):
        parts = amplitude(prediction, truth, under), phase(prediction, truth, under)
        assert min(parts) > 0.05
        assert sum(parts) == pytest.approx(float(LOSSES["l2"](prediction, truth, under)), rel=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_amplitudes_are_blind_to_place_and_phases_see_it(shape):
    truth, context = fields(shape)
    for moved in (jnp.roll(truth, 2, 1), jnp.flip(truth, range(1, 1 + len(shape))), -truth):
        assert amplitude(moved, truth, context) == pytest.approx(0.0, abs=1e-9)
        assert phase(moved, truth, context) == pytest.approx(
            float(LOSSES["l2"](moved, truth, context)), rel=1e-4
        )


def test_phases_are_blind_to_strength_and_amplitudes_see_it():
    truth, context = fields((8, 6))
    assert phase(2.5 * truth, truth, context) == pytest.approx(0.0, abs=1e-5)
    assert amplitude(2.5 * truth, truth, context) == pytest.approx(
        2.25 * float(jnp.mean(truth**2)), rel=1e-4
    )
    # A wave that the prediction lacks has no phase.
    assert phase(0 * truth, truth, context) == 0.0


def test_a_wave_of_another_length_by_hand():
    x = 2 * np.pi * np.arange(8) / 8
    wave = lambda count: jnp.asarray(np.cos(count * x), jnp.float32)[None, :, None]
    context = Context(Grid((8,)))
    # Both have a mean square of 1/2, in modes of which the other has nothing.
    assert amplitude(wave(1), wave(2), context) == pytest.approx(1.0, rel=1e-5)
    assert phase(wave(1), wave(2), context) == pytest.approx(0.0, abs=1e-6)


def test_a_quarter_wave_by_hand():
    x = 2 * np.pi * np.arange(8) / 8
    cosine, sine = (jnp.asarray(f(x), jnp.float32)[None, :, None] for f in (np.cos, np.sin))
    context = Context(Grid((8,)))
    assert amplitude(cosine, sine, context) == pytest.approx(0.0, abs=1e-6)
    assert phase(cosine, sine, context) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("name", ["spectral", "spectral_phase"])
def test_gradients_are_finite_where_modes_are_zero(name):
    truth, context = jnp.ones((2, 6, 4, 2)), Context(Grid((6, 4)))
    gradient = jax.jit(jax.grad(LOSSES[name]))
    for prediction in (truth, 0 * truth):
        assert np.isfinite(gradient(prediction, truth, context)).all()
