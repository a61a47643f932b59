import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.data.simulation import Simulation, simulate
from diffpattern.grid.geometry import Boundary, Grid
from diffpattern.models.phase_field import PhaseField
from diffpattern.solvers import explicit
from diffpattern.systems import AllenCahn, CahnHilliard, SwiftHohenberg


def later(system, x, grid, laplacian, dt, steps):
    """`x` after so many steps of Euler's method."""

    def step(_, x):
        return explicit.step(
            "euler", lambda x, _: system.right_hand_side(x, grid, laplacian), x, dt
        )

    return jax.jit(lambda x: jax.lax.fori_loop(0, steps, step, x))(x)


def interface_energy(u, stiffness):
    """Mean over the lattice of (u^2 - 1)^2 / 4 + stiffness |grad u|^2 / 2; cells of width 1."""
    slopes = sum((np.roll(u, 1, axis) - u) ** 2 for axis in (-2, -1))
    return ((u**2 - 1) ** 2 / 4 + stiffness * slopes / 2).mean((-2, -1))


def swift_hohenberg_energy(u, growth):
    """Of which dE/du is minus the right-hand side, with the five-point Laplacian."""
    curvature = sum(np.roll(u, shift, axis) for shift in (1, -1) for axis in (-2, -1)) - 4 * u
    return ((u + curvature) ** 2 / 2 - growth * u**2 / 2 + u**4 / 4).mean((-2, -1))


@pytest.mark.parametrize(
    ("system", "energy"),
    [
        (CahnHilliard(), lambda u: interface_energy(u, 1.0)),
        (AllenCahn(), lambda u: interface_energy(u, 1.0)),
        (SwiftHohenberg(), lambda u: swift_hohenberg_energy(u, 0.3)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_energy_falls(system, energy):
    settings = Simulation.recommended(
        system, laplacian="cross", dt=0.02, interval=0.5, end_time=20.0, train=1, test=1
    )
    energies = energy(simulate(settings)["train"].values[0, ..., 0].astype(np.float64))
    assert (np.diff(energies) < 0).all()
    assert energies[-1] < energies[0] - 0.01


def test_cahn_hilliard_conserves_its_amount():
    settings = Simulation.recommended(CahnHilliard(), end_time=64.0, train=2, test=1)
    for boundary in ("circular", "symmetric"):
        simulated = simulate(Simulation(**vars(settings) | {"boundary": boundary}))
        amounts = simulated["train"].values.mean((2, 3), dtype=np.float64)
        np.testing.assert_allclose(amounts, amounts[:, :1] + np.zeros_like(amounts), atol=1e-5)


@pytest.mark.parametrize(
    "boundary", ["zero", Boundary("value", 0.6), Boundary("flux", 0.2)], ids=str
)
def test_no_matter_passes_a_wall_that_holds_cahn_hilliard(boundary, quick_compilation):
    """And it is the phase field that is learnt, with mu = u^3 - u and kappa = 1."""
    grid, system = Grid((6, 5), boundary=boundary), CahnHilliard()
    x = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (1, 6, 5)))
    slope = jax.jit(lambda x: system.right_hand_side(x, grid, "isotropic"))(x)
    assert abs(slope.sum()) < 1e-5 < np.abs(slope).max()
    field = PhaseField(grid, laplacian="isotropic")
    parameters = {"coefficients": jnp.array([[-1.0, 0.0, 1.0]]), "kappa": jnp.ones(1)}
    learnt = jax.jit(lambda x: field.apply({"params": parameters}, x))(x)
    np.testing.assert_allclose(slope, learnt, rtol=1e-4, atol=1e-5)


def test_a_straight_wall_of_allen_cahn_rests():
    """tanh(x / sqrt(2 stiffness)): the lattice's own wall differs from it by order h^2."""
    system, errors = AllenCahn(stiffness=2.0), []
    with jax.enable_x64(True):
        for cells in (40, 80):
            grid = Grid((cells,), 20.0 / cells, "symmetric")
            places = (np.arange(cells) + 0.5) * grid.spacing[0] - 10.0
            wall = jnp.tanh(places / np.sqrt(2 * system.stiffness))[None]
            dt = 0.2 * grid.spacing[0] ** 2
            errors.append(
                np.abs(later(system, wall, grid, "cross", dt, round(5 / dt)) - wall).max()
            )
    assert errors[1] < 3e-3
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.2)


def test_a_drop_of_allen_cahn_shrinks_by_its_curvature():
    """d(r^2)/dt = -2 mobility stiffness, as long as it is much wider than its wall."""
    system, grid = AllenCahn(mobility=0.5, stiffness=2.0), Grid((80, 80), 0.5)
    radius = np.hypot(*((np.indices(grid.shape) + 0.5) * 0.5 - 20.0))
    drop = jnp.tanh((14.0 - radius) / np.sqrt(2 * system.stiffness))[None]

    def squared_radius(x):
        return float((x + 1).mean() / 2) * 1600 / np.pi

    times = np.array([4.0, 24.0])
    states = [later(system, drop, grid, "isotropic", 0.05, round(t / 0.05)) for t in times]
    shrunk = squared_radius(states[0]) - squared_radius(states[1])
    assert shrunk / np.diff(times)[0] == pytest.approx(2 * 0.5 * 2.0, rel=0.01)


@pytest.mark.slow
def test_domains_of_cahn_hilliard_coarsen_with_the_cube_root_of_time():
    """Their size, the mean wavelength of the structure factor, over a decade of time."""
    system, grid, dt = CahnHilliard(stiffness=0.5), Grid((256, 256)), 0.07
    k = 2 * np.pi * np.hypot(*np.ix_(*(np.fft.fftfreq(cells) for cells in grid.shape)))
    k[0, 0] = np.inf
    times = np.geomspace(400.0, 4000.0, 9)

    # A long way to go, for which XLA's best loops are worth their while.
    @functools.partial(jax.jit, compiler_options={"xla_cpu_use_fusion_emitters": True})
    def advance(x, steps):
        def step(_, x):
            return explicit.step(
                "euler", lambda x, _: system.right_hand_side(x, grid, "isotropic"), x, dt
            )

        return jax.lax.fori_loop(0, steps, step, x)

    sizes = []
    for seed in range(2):
        x, done = system.start(jax.random.key(seed), grid), 0
        for steps in np.round(times / dt).astype(int):
            x, done = advance(x, steps - done), steps
            power = np.abs(np.fft.fft2(x[0])) ** 2
            power[0, 0] = 0.0
            sizes.append(2 * np.pi * (power / k).sum() / power.sum())
    mean_size = np.reshape(sizes, (2, -1)).mean(0)
    exponent = np.polyfit(np.log(times), np.log(mean_size), 1)[0]
    assert exponent == pytest.approx(0.33, abs=0.03)
