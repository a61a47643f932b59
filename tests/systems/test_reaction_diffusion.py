import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.solvers import explicit
from diffpattern.systems import Chhabra, ComplexGinzburgLandau, GrayScott


def test_reaction_and_diffusion_of_gray_scott(quick_compilation):
    system, grid = GrayScott(0.2, 0.1, 0.03, 0.05), Grid((16, 24), 0.5)
    a = 0.6
    b = 0.3 + 0.01 * jnp.cos(2 * jnp.pi * (jnp.arange(24) + 0.5) / 24)
    x = jnp.stack([jnp.full(grid.shape, a), jnp.broadcast_to(b, grid.shape)])
    # What the five-point stencil makes of a cosine: an eigenvalue of (2 cos(k h) - 2) / h^2.
    laplacian_b = (2 * np.cos(2 * np.pi / 24) - 2) / 0.25 * (b - 0.3)
    da, db = system.right_hand_side(x, grid, "cross")
    np.testing.assert_allclose(da[3], -a * b**2 + 0.03 * (1 - a), rtol=1e-5)
    np.testing.assert_allclose(db[3], 0.1 * laplacian_b + a * b**2 - 0.08 * b, rtol=1e-5)


@pytest.mark.parametrize("stencil", ["cross", "fourth_order"])
def test_the_bath_of_gray_scott_is_at_rest(stencil, quick_compilation):
    grid = Grid((8, 8), boundary="symmetric")
    x = jnp.stack([jnp.ones(grid.shape), jnp.zeros(grid.shape)])
    np.testing.assert_array_equal(GrayScott().right_hand_side(x, grid, stencil), 0.0)


def test_fastest_decay_is_that_of_a_small_checkerboard(quick_compilation):
    system, grid = GrayScott(), Grid((8, 8))
    checkerboard = (-1.0) ** np.indices(grid.shape).sum(0)
    bath = np.stack([np.ones(grid.shape), np.zeros(grid.shape)])
    for species in range(2):
        wave = np.zeros_like(bath)
        wave[species] = 1e-3 * checkerboard
        rate = -system.right_hand_side(jnp.array(bath + wave), grid, "cross")[species] / 1e-3
        rates = np.asarray(rate * checkerboard)
        assert rates.max() <= system.fastest_decay(8.0) * 1.01
        if species == 0:
            np.testing.assert_allclose(rates, system.fastest_decay(8.0), rtol=1e-2)


def test_starts_of_gray_scott_are_bounded_and_differ_between_keys(quick_compilation):
    grid = Grid((64, 64))
    starts = [GrayScott().start(jax.random.key(seed), grid) for seed in range(4)]
    for a, b in starts:
        np.testing.assert_allclose(a + b, 1.0, rtol=1e-6)
        assert b.min() >= 0 and 0.3 < b.max() < 1
    for other in starts[1:]:
        assert np.corrcoef(starts[0][1].ravel(), other[1].ravel())[0, 1] < 0.5


@pytest.mark.parametrize("shape", [(16, 16), (32, 32)])
def test_patterns_of_every_start_of_gray_scott_survive(shape):
    system, grid = GrayScott(), Grid(shape)

    def later(key):
        def advance(_, x):
            return explicit.step(
                "heun", lambda x, _: system.right_hand_side(x, grid, "cross"), x, 1.0
            )

        return jax.lax.fori_loop(0, 400, advance, system.start(key, grid))

    final = jax.jit(jax.vmap(later))(jax.random.split(jax.random.key(0), 24))
    assert (final[:, 1].max((1, 2)) > 0.3).all()
    assert (final[:, 1].std((1, 2)) > 0.05).all()


def test_an_activator_that_dies_out_is_refused():
    with pytest.raises(
        InputError, match=r"^production_a is 0.002, but must be at least 0.00223607"
    ):
        Chhabra(production_a=0.002)
    Chhabra(production_a=0.00224)


def test_a_plane_wave_of_ginzburg_landau_turns_at_its_frequency(quick_compilation):
    """A = R exp(i (k x - w t)) with R^2 = 1 - q and w = dispersion q + detuning R^2 is exact."""
    with jax.enable_x64(True):
        system, grid = ComplexGinzburgLandau(0.7, -0.4), Grid((6, 24))
        k = 2 * np.pi / 24
        q = 2 - 2 * np.cos(k)
        wave = np.sqrt(1 - q) * np.exp(1j * k * np.indices(grid.shape)[1])
        frequency = 0.7 * q - 0.4 * (1 - q)
        expected = -1j * frequency * wave
        derivative = system.right_hand_side(jnp.stack([wave.real, wave.imag]), grid, "cross")
        np.testing.assert_allclose(derivative[0], expected.real, atol=1e-12)
        np.testing.assert_allclose(derivative[1], expected.imag, atol=1e-12)
