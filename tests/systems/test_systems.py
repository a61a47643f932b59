"""What holds for every known PDE: registering one is enough to have it tested."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.data.simulation import Simulation, simulate
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Boundary, Grid
from diffpattern.grid.stencils import laplacian
from diffpattern.solvers import explicit
from diffpattern.systems import SYSTEMS, GrayScott, system_named

# Systems that live on two axes alone.
PLANAR = ("navier_stokes",)


def brusselator(q, s):
    u = s.a
    return [[s.b - 1 - s.diffusion_x * q, u**2], [-s.b, -(u**2) - s.diffusion_y * q]]


def schnakenberg(q, s):
    u = s.a + s.b
    made = 2 * s.b / u
    return [[made - 1 - s.diffusion_u * q, u**2], [-made, -(u**2) - s.diffusion_v * q]]


def gierer_meinhardt(q, s):
    a = (s.decay_h + s.source) / s.decay_a
    h = a**2 / s.decay_h
    return [
        [2 * a / h - s.decay_a - s.diffusion_a * q, -(a**2) / h**2],
        [2 * a, -s.decay_h - s.diffusion_h * q],
    ]


def chhabra(q, s):
    # At rest A / (threshold + I) = decay_a / production_a, of whose two solutions A is the larger.
    candidates = np.roots(
        [
            s.decay_a * s.production_i / s.decay_i,
            -s.production_a,
            s.decay_a * s.threshold,
        ]
    )
    a, share = max(candidates), s.decay_a / s.production_a
    return [
        [2 * s.production_a * share - s.decay_a - s.diffusion_a * q, -s.production_a * share**2],
        [2 * s.production_i * a, -s.decay_i - s.diffusion_i * q],
    ]


def hillen_painter(q, s):
    signal = 1 / (1 + s.production_saturation)
    mobility = s.sensitivity * (1 - 1 / s.crowding) / (1 + s.receptor_saturation * signal) ** 2
    return [[-s.growth - s.cell_diffusion * q, mobility * q], [signal**2, -1 - q]]


# What becomes of a small wave on the state of rest, d(amplitudes)/dt = J amplitudes, for the
# eigenvalue -q of its Laplacian: by hand, from the equations.
JACOBIANS = {
    "gray_scott": lambda q, s: np.diag([-0.1 * q - s.alpha, -0.05 * q - s.alpha - s.gamma]),
    "brusselator": brusselator,
    "schnakenberg": schnakenberg,
    "gierer_meinhardt": gierer_meinhardt,
    "chhabra": chhabra,
    "fitzhugh_nagumo": lambda q, s: [[1 - q, -1], [s.rate, -s.rate * s.damping - 20 * q]],
    "complex_ginzburg_landau": lambda q, s: [
        [1 - q, s.dispersion * q],
        [-s.dispersion * q, 1 - q],
    ],
    "cahn_hilliard": lambda q, s: [[q - q**2]],
    "allen_cahn": lambda q, s: [[1 - q]],
    "swift_hohenberg": lambda q, s: [[s.growth - (1 - q) ** 2]],
    "keller_segel": lambda q, s: [[-s.growth - q, s.sensitivity * q], [1, -1 - q]],
    "hillen_painter": hillen_painter,
    "kuramoto_sivashinsky": lambda q, s: [[q - q**2]],
    "navier_stokes": lambda q, s: [[-s.viscosity * q]],
}


@functools.partial(jax.jit, static_argnums=(0, 1))
def start_and_derivative(system, grid, key):
    x = system.start(key, grid)
    return x, system.right_hand_side(x, grid, "cross")


def test_a_wrong_name_is_answered_with_the_list():
    assert system_named("gray_scott") is GrayScott
    with pytest.raises(InputError, match="'grey_scott', but must be one of .*gray_scott"):
        system_named("grey_scott")


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize(
    ("shape", "boundary"), [((20,), "symmetric"), ((12, 14), "circular"), ((6, 7, 8), "symmetric")]
)
def test_a_system_runs_on_one_two_and_three_axes(name, shape, boundary, quick_compilation):
    system, grid = system_named(name)(), Grid(shape, boundary=boundary)
    if name in PLANAR and len(shape) != 2:
        for act in (system.check, lambda grid: system.start(jax.random.key(0), grid)):
            with pytest.raises(InputError, match=r"navier_stokes runs on a torus of two axes"):
                act(grid)
        return
    x, derivative = start_and_derivative(system, grid, jax.random.key(0))
    assert x.shape == derivative.shape == (len(system.species), *shape)
    assert x.dtype == derivative.dtype == jnp.float32
    assert np.isfinite(x).all() and np.isfinite(derivative).all()
    assert np.abs(derivative).max() > 0


WALLED = [name for name in SYSTEMS if name not in PLANAR]


@pytest.mark.parametrize("laplacian", ["isotropic", "fourth_order"])
@pytest.mark.parametrize("name", WALLED)
def test_a_flat_state_that_its_walls_hold_feels_no_walls(name, laplacian, quick_compilation):
    system, shape = system_named(name)(), (5, 4)
    slope = jax.jit(system.right_hand_side, static_argnums=(1, 2))
    x = jnp.full((len(system.species), *shape), 0.5)
    for walls in (Boundary("value", 0.5), Boundary("flux", 0.0), "replicate"):
        held = slope(x, Grid(shape, boundary=(walls, "symmetric")), laplacian)
        np.testing.assert_allclose(held, slope(x, Grid(shape), laplacian), atol=1e-6)


@pytest.mark.parametrize("laplacian", ["isotropic", "fourth_order"])
@pytest.mark.parametrize("name", ["cahn_hilliard", "swift_hohenberg", "kuramoto_sivashinsky"])
def test_walls_that_hold_a_field_of_fourth_order_feed_no_waves(name, laplacian):
    """None grows faster than the fastest does on a torus."""
    system = system_named(name)()
    q = np.linspace(0.0, 20.0, 2001)
    fastest = system.linear_rates(-q).max()
    for walls in ("zero", Boundary("value", 0.4), Boundary("flux", 0.1)):
        grid = Grid((6, 5), boundary=(walls, ("symmetric", walls)))
        slope = lambda x, grid=grid: system.right_hand_side(x, grid, laplacian)
        jacobian = jax.jit(jax.jacfwd(slope))(jnp.zeros((1, 6, 5))).reshape(30, 30)
        rates = np.linalg.eigvals(np.asarray(jacobian, np.float64))
        assert rates.real.max() < fastest + 1e-4 and np.abs(rates.imag).max() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_its_gradient_is_a_finite_difference_and_finite_where_all_is_flat(name, quick_compilation):
    system, grid = SYSTEMS[name](), Grid((8, 8))
    with jax.enable_x64(True):
        rest = np.reshape(system.rest, (-1, 1, 1)) * np.ones((1, 8, 8))
        random = np.random.default_rng(0)
        x = jnp.asarray(rest + 0.1 + 0.05 * random.uniform(size=rest.shape))
        weights, direction = random.normal(size=(2, *rest.shape))
        total = lambda x: jnp.sum(weights * system.right_hand_side(x, grid, "isotropic"))
        both = jax.jit(jax.value_and_grad(total))
        step = 1e-6
        numeric = (both(x + step * direction)[0] - both(x - step * direction)[0]) / (2 * step)
        assert np.vdot(both(x)[1], direction) == pytest.approx(float(numeric), rel=1e-6)
        assert np.isfinite(both(jnp.asarray(rest))[1]).all()


@pytest.mark.parametrize("name", SYSTEMS)
def test_one_key_draws_one_start_at_every_resolution(name, quick_compilation):
    start = jax.jit(system_named(name)().start, static_argnums=1)
    coarse = start(jax.random.key(3), Grid((18, 24)))
    fine = start(jax.random.key(3), Grid((54, 72), 1 / 3))
    # Of three cells in a row, the middle one has its centre where the coarse cell has it.
    np.testing.assert_allclose(fine[:, 1::3, 1::3], coarse, rtol=1e-4, atol=1e-4)
    other = start(jax.random.key(4), Grid((18, 24)))
    assert np.abs(other - coarse).max() > 0.05


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_right_hand_side_is_the_linear_rates_and_the_remainder(name, quick_compilation):
    system, grid = system_named(name)(), Grid((12, 16))

    @jax.jit
    def both(key):
        x = system.start(key, grid)
        raised = jnp.zeros(grid.shape).at[0, 0].set(1.0)
        symbol = jnp.fft.fft2(laplacian(raised, grid, "oono_puri")).real
        linear = jnp.fft.ifft2(system.linear_rates(symbol) * jnp.fft.fft2(x)).real
        expected = linear + system.remainder(x, grid, "oono_puri")
        return system.right_hand_side(x, grid, "oono_puri"), expected

    with jax.enable_x64(True):
        np.testing.assert_allclose(*both(jax.random.key(1)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_small_wave_grows_as_the_dispersion_relation_says(name, quick_compilation):
    """Within 1%, on the way from the state of rest by the recommended steps."""
    system = system_named(name)()
    settings = Simulation.recommended(system, shape=(4, 12))
    grid, spacing = settings.grid, settings.spacing[1]
    q = (2 - 2 * np.cos(2 * np.pi / 12)) / spacing**2
    rates, vectors = np.linalg.eig(np.array(JACOBIANS[name](q, system), dtype=complex))
    leading = np.argmax(rates.real)
    expected, vector = rates[leading].real, vectors[:, leading].real
    steps = round(min(0.5 / abs(expected), settings.end_time) / settings.dt)
    wave = np.broadcast_to(np.cos(2 * np.pi * (np.arange(12) + 0.5) / 12), grid.shape)

    def right_hand_side(x, _=0.0):
        return system.right_hand_side(x, grid, settings.laplacian)

    def step(_, x):
        return explicit.step(settings.solver, right_hand_side, x, settings.dt)

    with jax.enable_x64(True):
        rest = np.array(system.rest)[:, None, None]
        np.testing.assert_allclose(jax.jit(right_hand_side)(rest + 0 * wave), 0, atol=1e-12)
        start = rest + 1e-6 * vector[:, None, None] * wave
        x = jax.jit(lambda x: jax.lax.fori_loop(0, steps, step, x))(start)
        amplitude = np.mean((x - rest) * wave, (1, 2)) / np.mean(wave**2)
        # Complex rates come with a wave of both species that turns without changing its length.
        grown = np.linalg.norm(amplitude) / np.linalg.norm(1e-6 * vector)
    assert np.log(grown) / (steps * settings.dt) == pytest.approx(expected, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_the_recommended_settings_form_patterns(name):
    """In half of their time, on half of their cells."""
    settings = Simulation.recommended(
        system_named(name)(), shape=(48, 48), train=1, validation=1, test=1
    )
    settings = dataclasses.replace(settings, end_time=settings.end_time / 2)
    values = simulate(settings)["train"].values[0, :, ..., 0]
    start, end = values[0].std(), values[-1].std()
    assert end > 0.2 * start if name in PLANAR else end > 1.2 * start
    assert end > 0.15
    # They are seen by the lattice: what varies does so over more than three cells.
    power = np.abs(np.fft.fft2(values[-1] - values[-1].mean())) ** 2
    frequency = np.hypot(np.fft.fftfreq(48)[:, None], np.fft.fftfreq(48)[None])
    assert power[frequency > 1 / 3].sum() < 0.01 * power.sum()
    # And they are no longer those of the start.
    assert np.corrcoef(values[0].ravel(), values[-1].ravel())[0, 1] < 0.8


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), "much", True])
def test_parameters_must_be_finite_numbers(name, value):
    system = system_named(name)
    for field in dataclasses.fields(system):
        with pytest.raises(InputError, match=f"^{field.name} is {value!r}, but must be "):
            system(**{field.name: value})


@pytest.mark.parametrize("name", SYSTEMS)
def test_parameters_keep_to_their_ranges(name):
    system = system_named(name)
    for field in dataclasses.fields(system):
        if field.name in system.signed:
            system(**{field.name: -0.1})
            continue
        with pytest.raises(InputError, match=f"^{field.name} is -0.1, but must be finite and "):
            system(**{field.name: -0.1})
        if field.name in system.positive:
            with pytest.raises(InputError, match=f"^{field.name} is 0, .* positive"):
                system(**{field.name: 0})
