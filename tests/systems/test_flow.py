import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.data.simulation import Simulation, simulate
from diffpattern.errors import InputError
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Boundary, Grid
from diffpattern.grid.stencils import divergence
from diffpattern.solvers import explicit
from diffpattern.systems import KuramotoSivashinsky, NavierStokes


def later(system, x, grid, laplacian, dt, steps):
    def step(_, x):
        return explicit.step("heun", lambda x, _: system.right_hand_side(x, grid, laplacian), x, dt)

    return jax.jit(lambda x: jax.lax.fori_loop(0, steps, step, x))(x)


def taylor_green(grid):
    """w = 2 cos x cos y in a box of 2 pi, and its velocities along y and x, since psi = w / 2."""
    y, x = (np.indices(grid.shape) + 0.5) * grid.spacing[0]
    velocity = np.stack([np.sin(x) * np.cos(y), -np.cos(x) * np.sin(y)])
    return jnp.asarray(2 * np.cos(x) * np.cos(y))[None], velocity


def test_the_velocity_of_taylor_green_vortices(quick_compilation):
    grid = Grid((64, 64), 2 * np.pi / 64)
    vorticity, expected = taylor_green(grid)
    velocity = jax.jit(lambda x: NavierStokes().velocity(x, grid))(vorticity)
    np.testing.assert_allclose(velocity[0], expected, atol=2e-3)
    np.testing.assert_allclose(divergence(velocity, grid), 0, atol=1e-5)


def test_taylor_green_vortices_decay_in_place():
    """An exact solution: w(t) = exp(-2 viscosity t) w(0)."""
    system, grid = NavierStokes(viscosity=0.05), Grid((48, 48), 2 * np.pi / 48)
    start, _ = taylor_green(grid)
    end = later(system, start, grid, "cross", 0.02, 500)
    np.testing.assert_allclose(end, np.exp(-2 * 0.05 * 10.0) * start, atol=0.01 * np.exp(-1.0) * 2)


def test_a_mean_vorticity_moves_nothing_and_the_circulation_stays():
    system, grid = NavierStokes(), Grid((32, 32))
    start = system.start(jax.random.key(0), grid) + 0.25
    velocity = jax.jit(lambda x: system.velocity(x, grid))
    np.testing.assert_allclose(velocity(start), velocity(start - 0.25), atol=1e-5)
    end = later(system, start, grid, "cross", 0.1, 1000)
    assert np.asarray(end, np.float64).mean() == pytest.approx(0.25, rel=1e-5)


def test_a_fluid_between_walls_is_refused_though_they_be_of_two_kinds():
    grid = Grid((8, 8), boundary=[("zero", "symmetric"), "circular"])
    with pytest.raises(
        InputError, match="zero and symmetric, circular, but navier_stokes runs on a torus"
    ):
        NavierStokes().check(grid)


def test_without_viscosity_the_enstrophy_stays(quick_compilation):
    with jax.enable_x64(True):
        system, grid = NavierStokes(viscosity=0.0), Grid((32, 32))
        w = jax.jit(lambda key: system.start(key, grid))(jax.random.key(1))
        change = jax.jit(lambda w: system.right_hand_side(w, grid))(w)
        assert np.abs(change).max() > 0.1
        # d/dt of the integral of w^2 / 2, against what its parts could add up to.
        assert abs((w * change).sum()) < 1e-12 * np.abs(w * change).sum()


@pytest.mark.parametrize("walls", ["zero", Boundary("value", 0.5)], ids=["zero", "value"])
def test_no_wall_holds_the_height_of_a_front(walls):
    system = KuramotoSivashinsky()
    with pytest.raises(InputError, match="moves, and no wall can hold its height; take circular"):
        Simulation.recommended(system, boundary=("circular", ("symmetric", walls)))
    Simulation.recommended(system, boundary=("replicate", Boundary("flux", 0.1)))


def test_a_fluid_in_a_mask_is_refused():
    with pytest.raises(InputError, match="a mask, but the velocities .* set data.mask to 'none'"):
        Simulation.recommended(NavierStokes(), mask="ellipse")
    now = Grid((8, 8)).under(Forcing(mask=jnp.ones((8, 8))))
    with pytest.raises(InputError, match="a mask, but the velocities"):
        NavierStokes().right_hand_side(jnp.ones((1, 8, 8)), now)


def test_a_front_in_a_mask_stays_in_its_frame():
    settings = Simulation.recommended(
        KuramotoSivashinsky(), shape=(24, 24), mask="ellipse", end_time=16.0, train=1
    )
    data = simulate(settings)["train"]
    inside = data.mask[0] > 0
    front = data.values[0][:, inside, 0].astype(np.float64)
    assert inside.mean() < 0.9 and np.std(front[-1]) > 0.5
    np.testing.assert_allclose(front.mean(1), front[0].mean(), atol=1e-5)


@pytest.mark.parametrize("shape", [(128,), (24, 32)])
def test_the_front_of_kuramoto_sivashinsky_stays_in_its_frame(shape):
    system, grid = KuramotoSivashinsky(), Grid(shape)
    end = later(system, system.start(jax.random.key(0), grid), grid, "cross", 0.02, 2500)
    assert 0.5 < np.std(end) < 10
    assert abs(np.asarray(end, np.float64).mean()) < 1e-5 * np.std(end)
