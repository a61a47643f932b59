"""Diffusion between walls of given values and fluxes, against closed forms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.grid import fluxes, stencils
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Boundary, Grid
from diffpattern.grid.stencils import LAPLACIANS

pytestmark = pytest.mark.usefixtures("quick_compilation")


def centres(grid, axis):
    """Distance of each cell's centre from the face of the axis' lower wall."""
    positions = grid.spacing[axis] * (np.arange(grid.shape[axis]) + 0.5)
    return positions.reshape((-1,) + (1,) * (grid.ndim - 1 - axis))


def walled(ndim, axis, lower, upper):
    """A lattice with these walls along one axis and mirrors along the others."""
    boundary = ["symmetric"] * ndim
    boundary[axis] = lower, upper
    return Grid((7, 6, 5)[:ndim], 0.5, tuple(boundary))


AXES = [(1, 0), (2, 0), (2, 1), (3, 1)]


@pytest.mark.parametrize(("ndim", "axis"), AXES)
def test_between_given_values_a_straight_line_is_steady(ndim, axis):
    """It takes the values where `value` cells have their centres, half a cell beyond the faces."""
    grid = walled(ndim, axis, Boundary("value", -1.0), Boundary("value", 2.0))
    position = centres(grid, axis)
    length = (grid.shape[axis] + 1) * grid.spacing[axis]
    line = np.broadcast_to(-1.0 + 3.0 * (position + 0.25) / length, grid.shape)

    @jax.jit
    def changes(x):
        compact = {name: stencils.laplacian(x, grid, name) for name in LAPLACIANS[:3]}
        return compact | {"flux": fluxes.flux_divergence(jnp.ones(grid.shape), x, grid)}

    for name, change in changes(line).items():
        np.testing.assert_allclose(change, 0.0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(("ndim", "axis"), AXES)
def test_between_given_fluxes_a_parabola_grows_evenly(ndim, axis):
    """x = a s^2 + b s has the slopes -b and 2 a L + b out of its walls, and the Laplacian 2 a."""
    a, b = 0.7, -0.3
    size = walled(ndim, axis, "zero", "zero").shape[axis] * 0.5
    grid = walled(ndim, axis, Boundary("flux", -b), Boundary("flux", 2 * a * size + b))
    position = centres(grid, axis)
    x = np.broadcast_to(a * position**2 + b * position, grid.shape)

    @jax.jit
    def operators(x):
        laplacians = {name: stencils.laplacian(x, grid, name) for name in LAPLACIANS[:3]}
        slope = stencils.gradient(x, grid)[axis]
        return laplacians | {"flux": fluxes.flux_divergence(jnp.ones(grid.shape), x, grid)}, slope

    changes, slope = operators(x)
    for name, change in changes.items():
        np.testing.assert_allclose(change, 2 * a, atol=1e-11, err_msg=name)
    np.testing.assert_allclose(slope, np.broadcast_to(2 * a * position + b, x.shape), atol=1e-12)


@pytest.mark.parametrize("stencil", LAPLACIANS)
@pytest.mark.parametrize("kernel_scale", [1.0, 1.5])
def test_what_enters_by_the_walls_is_what_is_gained(stencil, kernel_scale):
    grid = Grid((7, 6), 0.5, (("symmetric", Boundary("flux", 2.0)), Boundary("flux", -0.5)))
    x = np.random.default_rng(0).normal(size=(3, 7, 6))
    gained = jax.jit(
        lambda x: stencils.laplacian(x, grid, stencil, kernel_scale=kernel_scale).sum((1, 2))
    )(x)
    # Slope times length of the walls over the area of a cell.
    np.testing.assert_allclose(gained, (2.0 * 3.0 - 2 * 0.5 * 3.5) / 0.25, rtol=1e-11)


def heun(rate, x, start, end, steps):
    """Heun's method for dx/dt = rate(time, x)."""
    dt = (end - start) / steps

    def step(x, number):
        time = start + number * dt
        slope = rate(time, x)
        return x + 0.5 * dt * (slope + rate(time + dt, x + dt * slope)), None

    return jax.lax.scan(step, x, jnp.arange(steps))[0]


def stokes_error(cells, kind, ndim):
    """Largest error of a lattice beside an oscillating wall, after a period.

    Stokes' second problem: exp(-k s) cos(w t - k s) with k = sqrt(w / 2 D) solves the heat equation
    beside a wall at s = 0 that holds cos(w t), or has the outward slope k (cos(w t) - sin(w t)).
    """
    length, diffusivity, wavenumber = 1.5, 0.8, 3.0
    spacing = length / cells
    rate = 2 * diffusivity * wavenumber**2
    # Where the wall stands: `value` cells hold it at their centres, fluxes pass the face.
    offset = spacing if kind == "value" else 0.5 * spacing
    position = offset + spacing * np.arange(cells)
    shape = (cells,) + (1,) * (ndim - 1)

    def wave(time, place):
        return jnp.exp(-wavenumber * place) * jnp.cos(rate * time - wavenumber * place)

    times = np.linspace(0.0, 2 * np.pi / rate, 401)
    far = position[-1] + spacing
    if kind == "value":
        given = np.cos(rate * times)
    else:
        given = wavenumber * (np.cos(rate * times) - np.sin(rate * times))
    walls = (
        Boundary(kind, given.tolist(), times.tolist()),
        Boundary("value", np.asarray(wave(times, far)).tolist(), times.tolist()),
    )
    grid = Grid(shape, spacing, (walls,) + ("symmetric",) * (ndim - 1))

    def change(time, x):
        return diffusivity * stencils.laplacian(x, grid.under(Forcing(time=time)), "cross")

    start = wave(0.0, position).reshape(shape)
    end = jax.jit(lambda x: heun(change, x, 0.0, times[-1], 600))(start)
    return np.max(np.abs(end - start))


@pytest.mark.parametrize(("kind", "ndim"), [("value", 1), ("value", 2), ("flux", 1), ("flux", 3)])
def test_an_oscillating_wall_sends_out_stokes_waves(kind, ndim):
    coarse, fine = (stokes_error(cells, kind, ndim) for cells in (15, 30))
    assert fine < 0.005
    assert np.log2(coarse / fine) == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize("shape", [(6,), (5, 4), (4, 3, 2)])
@pytest.mark.parametrize("kind", ["value", "flux"])
def test_derivatives_by_a_walls_value_and_by_time(kind, shape):
    """Finite differences in time, and what a step later at the wall's slope is worth."""
    ndim = len(shape)
    moving = Boundary(kind, (0.5, 2.5), (0.0, 4.0))
    grid = Grid(shape, 0.5, ((moving, "symmetric"),) + ("circular",) * (ndim - 1))
    x = np.random.default_rng(0).normal(size=(2, *shape))
    weights = np.random.default_rng(1).normal(size=(2, *shape))

    def total(time, stencil):
        now = grid.under(Forcing(time=time))
        return jnp.sum(weights * stencils.laplacian(x, now, stencil))

    @jax.jit
    def derivatives(time):
        return {
            name: (
                jax.grad(partial(total, stencil=name))(time),
                (total(time + 0.5, name) - total(time - 0.5, name)),
            )
            for name in LAPLACIANS
        }

    for name, (slope, difference) in derivatives(1.0).items():
        assert abs(slope) > 0.01, name
        np.testing.assert_allclose(slope, difference, rtol=1e-9, err_msg=name)


def test_each_trajectory_has_its_own_moment():
    grid = Grid((5, 4), 0.5, (Boundary("flux", (0.0, 1.0), (0.0, 1.0)), "circular"))
    x = np.random.default_rng(0).normal(size=(3, 5, 4))
    times = np.array([0.0, 0.25, 2.0])
    laplacian = lambda time, x: stencils.laplacian(x, grid.under(Forcing(time=time)))
    values = jax.jit(jax.vmap(laplacian))(times, x)
    for value, lattice, given in zip(values, x, [0.0, 0.25, 1.0], strict=True):
        steady = Grid((5, 4), 0.5, (Boundary("flux", given), "circular"))
        np.testing.assert_allclose(value, stencils.laplacian(lattice, steady), atol=1e-13)


def test_a_large_lattice_does_not_blur_the_derivative_by_its_wall():
    """In single precision, where sums over the whole lattice would cancel."""
    moving = Boundary("value", (0.0, 1.0), (0.0, 1.0))
    grid = Grid((256,), 1.0, ((moving, "symmetric"),))
    x = np.full(256, 1000.0, np.float32)

    def total(time):
        laplacian = stencils.laplacian(jnp.asarray(x), grid.under(Forcing(time=time)))
        return jnp.sum(1e4 * laplacian * jnp.arange(1, 257, dtype=np.float32))

    np.testing.assert_allclose(jax.jit(jax.grad(total))(np.float32(0.5)), 1e4, rtol=1e-6)
