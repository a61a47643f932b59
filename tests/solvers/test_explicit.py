import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.solvers import explicit

ORDERS = {"euler": 1, "heun": 2, "tsit5": 5, "dopri5": 5, "dopri8": 8}
# Durations, and counts of steps few enough for the error to stay above rounding.
RUNS = {name: (2.0, np.array([10, 20, 40])) for name in ORDERS}
RUNS["dopri8"] = (4.0, np.array([8, 12, 16]))
DIFFRAX = {
    "euler": diffrax.Euler(),
    "heun": diffrax.Heun(),
    "tsit5": diffrax.Tsit5(),
    "dopri5": diffrax.Dopri5(),
    "dopri8": diffrax.Dopri8(),
}


def integrate(name, right_hand_side, state, duration, count):
    """`right_hand_side(x, t)`, with t counted from the start of the integration."""
    dt = duration / count

    def one(n, x):
        return explicit.step(name, lambda x, elapsed: right_hand_side(x, n * dt + elapsed), x, dt)

    return jax.lax.fori_loop(0, count, one, state)


def orders_of_convergence(name, right_hand_side, start, exact, duration, counts):
    solve = lambda count: integrate(name, right_hand_side, jnp.float64(start), duration, count)
    errors = np.array([abs(float(solve(count)) - exact) for count in counts])
    return np.log(errors[:-1] / errors[1:]) / np.log(counts[1:] / counts[:-1])


def logistic(x, _):
    return x * (1.0 - x)


def test_all_solvers_are_tested():
    assert set(explicit.NAMES) == set(ORDERS)


@pytest.mark.parametrize("name", ORDERS)
def test_order_of_convergence_on_the_logistic_equation(name):
    duration, counts = RUNS[name]
    exact = 1 / (1 + 9 * np.exp(-duration))  # from x(0) = 0.1
    orders = orders_of_convergence(name, logistic, 0.1, exact, duration, counts)
    np.testing.assert_allclose(orders, ORDERS[name], atol=0.3)
    assert abs(orders[-1] - ORDERS[name]) <= abs(orders[0] - ORDERS[name]) + 0.02


@pytest.mark.parametrize("name", ORDERS)
def test_order_of_convergence_where_the_right_hand_side_depends_on_time(name):
    duration, counts = RUNS[name]
    exact = np.exp(np.sin(duration))
    finer = counts if name == "dopri8" else 4 * counts
    orders = orders_of_convergence(name, lambda x, t: x * jnp.cos(t), 1.0, exact, duration, finer)
    np.testing.assert_allclose(orders[-1], ORDERS[name], atol=0.3)


@pytest.mark.parametrize("name", ORDERS)
def test_equal_to_diffrax_at_constant_step(name):
    matrix = jnp.array([[-0.3, 1.0], [-1.0, -0.2]])
    right_hand_side = lambda x, t: matrix @ x - 0.1 * jnp.cos(t) * x**3
    start = jnp.array([1.0, -0.5])
    theirs = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, x, _: right_hand_side(x, t)),
        DIFFRAX[name],
        t0=0.0,
        t1=3.0,
        dt0=0.25,
        y0=start,
        stepsize_controller=diffrax.ConstantStepSize(),
    )
    ours = integrate(name, right_hand_side, start, 3.0, 12)
    np.testing.assert_allclose(ours, theirs.ys[0], rtol=1e-13)


@pytest.mark.parametrize("name", ORDERS)
def test_a_state_may_be_any_pytree(name):
    # The same oscillator, as one vector and as a tuple that holds a dictionary.
    start = jnp.array([1.0, 0.5])
    vector = explicit.step(name, lambda x, _: jnp.array([x[1], -x[0]]), start, 0.3)
    tree = explicit.step(
        name,
        lambda s, _: (s[1]["v"], {"v": -s[0]}),
        (jnp.float64(1.0), {"v": jnp.float64(0.5)}),
        0.3,
    )
    np.testing.assert_allclose([tree[0], tree[1]["v"]], vector, rtol=1e-14)


@pytest.mark.parametrize(
    ("name", "stages"), [("euler", 1), ("heun", 2), ("tsit5", 6), ("dopri5", 6), ("dopri8", 13)]
)
def test_stages_that_no_result_needs_are_not_evaluated(name, stages):
    calls = []

    def right_hand_side(x, elapsed):
        calls.append(elapsed)
        return -x

    explicit.step(name, right_hand_side, jnp.float64(1.0), 0.1)
    assert len(calls) == stages
    nodes = [0.0, *DIFFRAX[name].tableau.c] if name != "euler" else [0.0]
    np.testing.assert_allclose(calls, 0.1 * np.array(nodes[:stages]), rtol=1e-14)
    rows, weights = explicit.tableau(name)
    assert len(rows) == len(weights) == stages
    assert [len(row) for row in rows] == list(range(stages))


@pytest.mark.parametrize(
    # The negative real axis' end of the region of stability, from Hairer and Wanner's polynomials:
    # of degree 1 and 2 it is 2; Dopri5's is 3.3066.
    ("name", "limit"),
    [("euler", 2.0), ("heun", 2.0), ("dopri5", 3.3066)],
)
def test_stability_limit(name, limit):
    assert explicit.stability_limit(name, 0.5) == pytest.approx(limit / 0.5, abs=5e-3)


@pytest.mark.parametrize("name", ORDERS)
def test_decay_is_stable_below_the_limit_and_grows_above(name):
    rate = 7.0
    limit = explicit.stability_limit(name, rate)
    after = lambda dt: abs(
        float(integrate(name, lambda x, _: -rate * x, jnp.float64(1.0), 400 * dt, 400))
    )
    assert after(0.99 * limit) < 0.9
    assert after(1.02 * limit) > 10


@pytest.mark.parametrize("use", ["step", "tableau", "stability_limit"])
def test_an_unknown_name_is_refused_with_the_list(use):
    calls = {
        "step": lambda: explicit.step("rk4", lambda x, _: x, jnp.float64(1.0), 0.1),
        "tableau": lambda: explicit.tableau("rk4"),
        "stability_limit": lambda: explicit.stability_limit("rk4", 1.0),
    }
    with pytest.raises(InputError, match="'rk4'.*euler, heun, tsit5, dopri5, dopri8"):
        calls[use]()
