"""Four systems against other people's solvers, py-pde and exponax, at equal spacing.

Each within 1% of the reference at a fixed time; the reference's own error, from a run of it with
half its step, is far smaller.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.grid.geometry import Grid
from diffpattern.solvers import explicit
from diffpattern.systems import CahnHilliard, KuramotoSivashinsky, NavierStokes, SwiftHohenberg


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def ours(system, start, grid, dt, end_time):
    def step(_, x):
        return explicit.step("heun", lambda x, _: system.right_hand_side(x, grid, "cross"), x, dt)

    return jax.jit(lambda x: jax.lax.fori_loop(0, round(end_time / dt), step, x))(start)


def difference(x, reference):
    """Relative to how much the reference varies in space, in the root of the mean square."""
    return float(np.std(x - reference) / np.std(reference))


def assert_agrees(system, start, grid, end_time, reference, *, dt, reference_dt, own_error):
    """`reference(start, dt, end_time)` and our own run end within 1% of each other."""
    coarse, fine = (reference(start, step, end_time) for step in (reference_dt, reference_dt / 2))
    assert difference(coarse, fine) < own_error
    end = ours(system, start, grid, dt, end_time)
    assert difference(end, fine) < 0.01
    assert difference(start, fine) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cahn_hilliard", "swift_hohenberg"])
def test_py_pde_agrees(name):
    pde = pytest.importorskip("pde")
    system, equation = {
        "cahn_hilliard": (CahnHilliard(), pde.CahnHilliardPDE(interface_width=1.0)),
        "swift_hohenberg": (
            SwiftHohenberg(0.3, 0.5),
            pde.SwiftHohenbergPDE(rate=0.3, kc2=1.0, delta=0.5),
        ),
    }[name]
    grid = Grid((24, 24))
    lattice = pde.CartesianGrid([[0, 24], [0, 24]], [24, 24], periodic=True)

    def reference(start, dt, end_time):
        field = pde.ScalarField(lattice, np.asarray(start[0]))
        options = {"solver": "runge-kutta", "adaptive": False, "backend": "numpy", "tracker": None}
        return equation.solve(field, t_range=end_time, dt=dt, **options).data[None]

    start = system.start(jax.random.key(0), grid)
    assert_agrees(system, start, grid, 8.0, reference, dt=0.02, reference_dt=0.02, own_error=1e-6)


@pytest.mark.slow
def test_exponax_agrees_on_kuramoto_sivashinsky():
    exponax = pytest.importorskip("exponax")
    system, grid = KuramotoSivashinsky(), Grid((128,), 0.25)

    def reference(start, dt, end_time):
        stepper = exponax.stepper.KuramotoSivashinsky(1, 32.0, 128, dt)
        return exponax.repeat(stepper, round(end_time / dt))(start)

    start = system.start(jax.random.key(0), grid)
    assert_agrees(system, start, grid, 10.0, reference, dt=4e-4, reference_dt=0.05, own_error=2e-4)


@pytest.mark.slow
def test_exponax_agrees_on_navier_stokes():
    exponax = pytest.importorskip("exponax")
    system, grid = NavierStokes(viscosity=0.4), Grid((128, 128), 0.5)

    def reference(start, dt, end_time):
        # Their vorticity has the opposite sign, as ours has with x and y exchanged.
        stepper = exponax.stepper.NavierStokesVorticity(2, 64.0, 128, dt, diffusivity=0.4)
        return exponax.repeat(stepper, round(end_time / dt))(jnp.asarray(start))

    start = system.start(jax.random.key(0), grid)
    assert_agrees(system, start, grid, 1.0, reference, dt=0.02, reference_dt=0.02, own_error=2e-4)
