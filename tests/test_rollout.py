import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.grid.stencils import laplacian
from diffpattern.rollout import (
    Adaptive,
    Jittered,
    Stepped,
    exponential,
    rollout,
    runge_kutta,
)
from diffpattern.solvers import spectral

RATES = {"first": 0.3, "second": -0.7}
TIMES = {"equal": [0.0, 0.5, 1.0, 1.5], "unequal": [2.0, 2.5, 3.0, 4.0, 5.0, 5.25]}
KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def double_precision(quick_compilation):
    with jax.enable_x64(True):
        yield


def grow_and_decay(parameters, x, forcing=None):
    """Each of two channels follows its own rate, at every cell."""
    rates = jnp.array([parameters["first"], parameters["second"]])
    return rates.reshape((2,) + (1,) * (x.ndim - 1)) * x


def adaptive(right_hand_side):
    return Adaptive(right_hand_side, "tsit5", 1e-9, 1e-10, 64)


def start(*space):
    return jnp.asarray(np.random.default_rng(0).uniform(0.5, 1.5, (*space, 2)))


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
@pytest.mark.parametrize("kind", ["fixed", "adaptive"])
def test_snapshots_are_those_of_the_exact_solution_at_their_times(kind, times):
    fixed = runge_kutta(grow_and_decay, "dopri5", 0.125)
    dynamics = fixed if kind == "fixed" else adaptive(grow_and_decay)
    x = start(3, 4)
    states = rollout(dynamics, RATES, x, np.array(times), KEY)
    assert states.shape == (len(times), 3, 4, 2)
    elapsed = (np.array(times) - times[0])[:, None, None, None]
    exact = x * np.exp(elapsed * np.array([0.3, -0.7]))
    np.testing.assert_allclose(states, exact, rtol=1e-7)
    np.testing.assert_array_equal(states[0], x)


@pytest.mark.parametrize("space", [(5,), (3, 4), (2, 3, 4)])
def test_one_to_three_axes(space):
    x = start(*space)
    states = rollout(runge_kutta(grow_and_decay, "heun", 0.25), RATES, x, np.arange(3.0), KEY)
    z = 0.25 * np.array([0.3, -0.7])
    np.testing.assert_allclose(states[2], x * (1 + z + z**2 / 2) ** 8, rtol=1e-12)


def test_jitted_and_not_are_the_same():
    dynamics = runge_kutta(grow_and_decay, "tsit5", 0.25)
    run = lambda parameters, x: rollout(dynamics, parameters, x, np.array(TIMES["unequal"]), KEY)
    np.testing.assert_allclose(jax.jit(run)(RATES, start(4)), run(RATES, start(4)), rtol=1e-14)


@pytest.mark.parametrize("dt", [0.3, 0.7, 2.0])
def test_a_step_that_does_not_divide_the_interval_is_refused(dt):
    dynamics = runge_kutta(grow_and_decay, "euler", dt)
    with pytest.raises(InputError, match=rf"steps of {dt:g} .* do not divide the 1 .*solver.dt"):
        rollout(dynamics, RATES, start(4), np.array([0.0, 1.0]), KEY)


def test_the_count_of_steps_bears_rounding():
    assert Stepped(lambda *args: None, 0.1).count(0.3) == 3
    assert Stepped(lambda *args: None, 1 / 3).count(16.0) == 48


@pytest.mark.parametrize("times", [[0.0], [0.0, 0.0], [1.0, 0.5]])
def test_times_must_increase(times):
    with pytest.raises(InputError, match="two or more and increase"):
        rollout(runge_kutta(grow_and_decay, "euler", 0.5), RATES, start(4), np.array(times), KEY)


@pytest.mark.parametrize("unit", [1.0, 1e-10])
def test_intervals_that_rounding_sets_apart_are_compiled_once(unit):
    times = unit * (0.1 * np.arange(200)).astype(np.float32).astype(np.float64)
    slope = lambda parameters, x, forcing: x / (20.0 * unit)
    dynamics = runge_kutta(slope, "heun", unit * 0.1)
    run = lambda start: rollout(dynamics, None, start, times, KEY)
    start = jnp.ones((2, 1))
    # The loop over snapshots, and in it that over steps.
    assert str(jax.make_jaxpr(run)(start)).count("scan[") == 2
    np.testing.assert_allclose(jax.jit(run)(start)[-1], np.exp(19.9 / 20), rtol=1e-4)


def test_an_unknown_solver_is_refused_before_anything_runs():
    with pytest.raises(InputError, match="solver.name is 'rk4'"):
        runge_kutta(grow_and_decay, "rk4", 0.5)
    with pytest.raises(InputError, match="solver.name is 'euler'"):
        Adaptive(grow_and_decay, "euler", 1e-3, 1e-3, 16)


def noise():
    """Adds a normal number to every cell in each step."""
    return Stepped(lambda parameters, x, key, forcing: x + jax.random.normal(key, x.shape), 0.5)


def test_every_step_of_every_interval_draws_from_a_key_of_its_own():
    zeros = jnp.zeros((64, 1))
    states = rollout(noise(), None, zeros, np.array([0.0, 0.5, 1.0, 1.5, 2.5, 3.0]), KEY)
    one_step = np.diff(states[..., 0], axis=0)
    assert np.abs(np.corrcoef(one_step) - np.eye(5)).max() < 0.5
    # The interval of two steps has the variance of both.
    assert 1.2 < np.std(one_step[3]) < 1.7
    again = rollout(noise(), None, zeros, np.array([0.0, 0.5, 1.0]), KEY)
    np.testing.assert_array_equal(again, states[:3])
    other = rollout(noise(), None, zeros, np.array([0.0, 0.5, 1.0]), jax.random.key(1))
    assert np.abs(np.corrcoef(other[1, :, 0], states[1, :, 0])[0, 1]) < 0.5


def test_gradients_through_the_checkpointed_rollout_are_finite_differences():
    grid = Grid((5, 4))

    def right_hand_side(parameters, x, forcing):
        spread = parameters["diffusion"].reshape(2, 1, 1) * laplacian(x, grid)
        return spread + jnp.tanh(parameters["rate"] * x * x[::-1])

    dynamics = runge_kutta(right_hand_side, "heun", 0.25)
    parameters = {"diffusion": jnp.array([0.2, 0.1]), "rate": jnp.array(0.7)}

    @jax.jit
    def loss(parameters, x):
        states = rollout(dynamics, parameters, x, np.array([0.0, 0.5, 1.0, 2.0]), KEY)
        return jnp.mean(states[1:] ** 3)

    arguments = parameters, start(5, 4)
    gradient = jax.jit(jax.grad(loss, (0, 1)))(*arguments)
    random = np.random.default_rng(1)
    for _ in range(3):
        direction = jax.tree.map(lambda x: jnp.asarray(random.normal(size=x.shape)), arguments)
        moved = lambda by, d=direction: jax.tree.map(lambda x, v: x + by * v, arguments, d)
        difference = (loss(*moved(1e-5)) - loss(*moved(-1e-5))) / 2e-5
        slope = sum(
            jnp.vdot(g, d)
            for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
        )
        np.testing.assert_allclose(slope, difference, rtol=1e-7)


def test_a_rollout_stores_one_lattice_a_step_for_its_gradient():
    dynamics = runge_kutta(lambda p, x, forcing: jnp.tanh(p * x) ** 2 - jnp.sin(x), "tsit5", 0.125)
    loss = lambda p, x: jnp.sum(rollout(dynamics, p, x, np.array([0.0, 4.0]), KEY))
    x = jnp.ones((1000, 1))
    _, pull = jax.vjp(loss, jnp.array(0.5), x)
    stored = sum(leaf.size for leaf in jax.tree.leaves(pull))
    assert 32 * x.size <= stored < 34 * x.size  # of 32 steps, whose six stages are not kept


@pytest.mark.parametrize("kind", ["fixed", "adaptive"])
def test_forcing_arrives_at_the_time_of_every_stage(kind):
    """dx/dt = 5 t^4 from a start at t = 2: exact to the order of the solver, at unequal times."""
    driven = lambda parameters, x, forcing: 5.0 * forcing.time**4 * jnp.ones_like(x)
    dynamics = runge_kutta(driven, "dopri5", 0.125) if kind == "fixed" else adaptive(driven)
    times = np.array(TIMES["unequal"])
    x = start(3)
    states = rollout(dynamics, None, x, times, KEY, Forcing(time=jnp.array(2.0)))
    exact = x + (times**5 - 2.0**5)[:, None, None]
    np.testing.assert_allclose(states, exact, rtol=1e-8)


def test_what_is_prepared_is_made_of_the_parameters_and_taken_by_every_step():
    step = lambda rate, x, key, forcing: x + 0.5 * rate * x
    dynamics = Stepped(step, 0.5, prepare=lambda parameters: parameters["first"])
    states = rollout(dynamics, RATES, start(4), np.array([0.0, 1.0, 1.5]), KEY)
    np.testing.assert_allclose(states[2], start(4) * 1.15**3, rtol=1e-12)


def test_jittered_steps_are_drawn_for_each_interval():
    """Each step adds 1, so the lattice counts the steps; each count is as likely."""
    steps = Stepped(lambda rate, x, key, forcing: x + 1.0, 0.25)
    dynamics = Jittered(steps, 2)
    run = jax.jit(
        jax.vmap(lambda key: rollout(dynamics, None, jnp.zeros((1, 1)), np.arange(4.0), key))
    )
    counts = np.diff(run(jax.random.split(KEY, 200))[..., 0, 0], axis=1).astype(int)
    shares = np.bincount(counts.reshape(-1), minlength=7)[2:] / counts.size
    assert counts.min() == 2 and counts.max() == 6
    assert (np.abs(shares - 0.2) < 4 * np.sqrt(0.16 / counts.size)).all()
    gradient = jax.grad(
        lambda rate: rollout(
            Jittered(Stepped(lambda rate, x, key, forcing: rate * x, 0.25), 1),
            rate,
            jnp.ones((1, 1)),
            np.array([0.0, 1.0]),
            KEY,
        )[1, 0, 0]
    )(1.0)
    assert gradient in (3.0, 4.0, 5.0)


@pytest.mark.parametrize("jitter", [4, 9])
def test_jitter_that_might_leave_no_step_is_refused(jitter):
    dynamics = Jittered(Stepped(lambda rate, x, key, forcing: x, 0.25), jitter)
    with pytest.raises(InputError, match=f"Up to {jitter} steps .* than 4 .* leave none"):
        rollout(dynamics, None, start(4), np.array([0.0, 1.0]), KEY)


def test_an_exponential_solver_takes_the_linear_part_exactly():
    grid = Grid((6, 5))
    transform = spectral.Transform(grid)
    eigenvalues = jnp.asarray(transform.eigenvalues("cross"))
    rates = lambda parameters: parameters["first"] * eigenvalues[None] * jnp.ones((2, 1, 1))
    remainder = lambda parameters, x, forcing: jnp.zeros_like(x)
    dynamics = exponential(rates, remainder, "etdrk2", 0.5, transform)
    fine = runge_kutta(
        lambda parameters, x, forcing: parameters["first"] * laplacian(x, grid), "tsit5", 1 / 64
    )
    times = np.array(TIMES["unequal"][:4])
    states, expected = (rollout(d, RATES, start(6, 5), times, KEY) for d in (dynamics, fine))
    np.testing.assert_allclose(states, expected, rtol=1e-9)
