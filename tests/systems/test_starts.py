import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.systems.starts import random_blobs, random_waves


def test_one_key_draws_one_field_of_blobs_at_every_resolution(quick_compilation):
    key = jax.random.key(3)
    coarse = random_blobs(key, Grid((32, 48)), 16.0, (1.5, 4.0), (0.4, 1.2))
    fine = random_blobs(key, Grid((128, 192), 0.25), 16.0, (1.5, 4.0), (0.4, 1.2))
    averaged = fine.reshape(32, 4, 48, 4).mean((1, 3))
    # A cell's mean and its middle differ by h^2 / 24 of the Laplacian, at most 2 / 1.5^2 a blob.
    assert np.abs(coarse - averaged).max() < 0.08
    assert coarse.max() > 0.4


def test_blobs_wrap_around_a_torus_and_stop_at_walls(quick_compilation):
    arguments = (jax.random.key(5), 8.0, (4.0, 4.0), (1.0, 1.0))

    def jump_across_the_seam(boundary):
        key, *shape = arguments
        field = random_blobs(key, Grid((40,), 0.5, boundary), *shape)
        return abs(field[0] - field[-1]), abs(jnp.diff(field)).max()

    jump, largest_step = jump_across_the_seam("circular")
    assert jump <= largest_step
    jump, largest_step = jump_across_the_seam("symmetric")
    assert jump > 2 * largest_step


@pytest.mark.parametrize("boundary", ["circular", "symmetric", ("symmetric", "circular")])
def test_one_key_draws_one_field_of_waves_at_every_resolution(boundary, quick_compilation):
    key = jax.random.key(2)
    coarse = random_waves(key, Grid((18, 24), 1.0, boundary), 2, 4.0)
    fine = random_waves(key, Grid((54, 72), 1 / 3, boundary), 2, 4.0)
    # Of three cells in a row, the middle one has its centre where the coarse cell has it.
    np.testing.assert_allclose(fine[:, 1::3, 1::3], coarse, atol=1e-4)


@pytest.mark.parametrize("shape", [(256,), (64, 48), (24, 24, 24)])
@pytest.mark.parametrize("boundary", ["circular", "symmetric"])
def test_waves_have_the_stated_moments_and_wavelengths(shape, boundary, quick_compilation):
    fields = random_waves(jax.random.key(0), Grid(shape, 0.5, boundary), 6, 4.0, 8.0)
    assert fields.shape == (6, *shape)
    axes = tuple(range(1, fields.ndim))
    np.testing.assert_allclose(fields.mean(axes), 0, atol=1e-5)
    assert 0.7 < np.var(fields) < 1.4
    if boundary == "circular":
        power = np.abs(np.fft.fftn(fields, axes=axes)) ** 2
        k = np.sqrt(sum(f**2 for f in np.ix_(*(np.fft.fftfreq(n, 0.5) for n in shape))))
        outside = (k < 1 / 8.001) | (k > 1 / 3.999)
        assert power[:, outside].sum() < 1e-6 * power.sum()
        assert power[:, ~outside].min() > 0


def test_waves_of_different_fields_and_keys_are_independent(quick_compilation):
    grid = Grid((64, 64))
    fields = [random_waves(jax.random.key(seed), grid, 2, 4.0) for seed in range(3)]
    correlation = np.corrcoef(np.concatenate(fields).reshape(6, -1))
    assert np.abs(correlation - np.eye(6)).max() < 0.2


@pytest.mark.parametrize(
    ("grid", "message"),
    [(Grid((8, 8), 2.5), "at most 2, half of the shortest"), (Grid((2, 2)), "box too small")],
)
def test_lattices_that_cannot_hold_the_waves_are_refused(grid, message):
    with pytest.raises(InputError, match=message):
        random_waves(jax.random.key(0), grid, 1, 4.0)
