import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.solvers import explicit
from diffpattern.systems import SYSTEMS, GrayScott, system_named
from diffpattern.systems.reaction_diffusion import random_blobs


def test_a_wrong_name_is_answered_with_the_list():
    assert system_named("gray_scott") is GrayScott
    with pytest.raises(InputError, match="'grey_scott', but must be one of .*gray_scott"):
        system_named("grey_scott")


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("shape", [(20,), (12, 14), (6, 7, 8)])
def test_a_system_runs_on_one_two_and_three_axes(name, shape):
    system, grid = system_named(name)(), Grid(shape)
    x = system.start(jax.random.key(0), grid)
    assert x.shape == (len(system.species), *shape)
    assert system.right_hand_side(x, grid, "cross").shape == x.shape


def test_reaction_and_diffusion_of_gray_scott():
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
def test_the_bath_is_at_rest(stencil):
    grid = Grid((8, 8), boundary="symmetric")
    x = jnp.stack([jnp.ones(grid.shape), jnp.zeros(grid.shape)])
    np.testing.assert_array_equal(GrayScott().right_hand_side(x, grid, stencil), 0.0)


def test_fastest_decay_is_that_of_a_small_checkerboard():
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


def test_one_key_draws_one_field_at_every_resolution():
    key = jax.random.key(3)
    coarse = random_blobs(key, Grid((32, 48)), 16.0, (1.5, 4.0), (0.4, 1.2))
    fine = random_blobs(key, Grid((128, 192), 0.25), 16.0, (1.5, 4.0), (0.4, 1.2))
    averaged = fine.reshape(32, 4, 48, 4).mean((1, 3))
    # A cell's mean and its middle differ by h^2 / 24 of the Laplacian, at most 2 / 1.5^2 a blob.
    assert np.abs(coarse - averaged).max() < 0.08
    assert coarse.max() > 0.4


def test_blobs_wrap_around_a_torus_and_stop_at_walls():
    arguments = (jax.random.key(5), 8.0, (4.0, 4.0), (1.0, 1.0))

    def jump_across_the_seam(boundary):
        key, *shape = arguments
        field = random_blobs(key, Grid((40,), 0.5, boundary), *shape)
        return abs(field[0] - field[-1]), abs(jnp.diff(field)).max()

    jump, largest_step = jump_across_the_seam("circular")
    assert jump <= largest_step
    jump, largest_step = jump_across_the_seam("symmetric")
    assert jump > 2 * largest_step


def test_starts_are_bounded_and_differ_between_keys():
    grid = Grid((64, 64))
    starts = [GrayScott().start(jax.random.key(seed), grid) for seed in range(4)]
    for a, b in starts:
        np.testing.assert_allclose(a + b, 1.0, rtol=1e-6)
        assert b.min() >= 0 and 0.3 < b.max() < 1
    for other in starts[1:]:
        assert np.corrcoef(starts[0][1].ravel(), other[1].ravel())[0, 1] < 0.5


@pytest.mark.parametrize("shape", [(16, 16), (32, 32)])
def test_patterns_of_every_start_survive(shape):
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


@pytest.mark.parametrize("field", ["diffusion_a", "gamma"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), "much"])
def test_parameters_must_be_numbers_from_zero_on(field, value):
    with pytest.raises(InputError, match=f"^{field} is "):
        GrayScott(**{field: value})
