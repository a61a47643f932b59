import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.training.losses import LOSSES, weighted_sum

pytestmark = pytest.mark.usefixtures("quick_compilation")

GRID = Grid((4, 4), 0.5)
TRUTH = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 4, 2)), jnp.float32)


def error_of(pattern):
    """A prediction that is wrong by `pattern` [4, 4] in the second channel of the last snapshot."""
    return TRUTH.at[2, :, :, 1].add(jnp.asarray(pattern, jnp.float32))


ONE_CELL = np.eye(16)[5].reshape(4, 4)
STRIPES = np.tile([0.0, 1.0, 0.0, -1.0], (4, 1))


@pytest.mark.parametrize(
    ("name", "offset", "one_cell", "twice_one_cell"),
    # By hand: 96 numbers in all, 6 fields of 16 cells; a raised cell has two slopes of
    # 1 / (2 h) = 1 along each axis, of 2 x 96 components.
    [
        ("l2", 0.25 / 6, 1 / 96, 4 / 96),
        ("l1", 0.5 / 6, 1 / 96, 2 / 96),
        ("euclidean", 0.5 / 6, 0.25 / 6, 0.5 / 6),
        ("spatial_gradient", 0.0, 4 / 192, 16 / 192),
    ],
)
def test_values_by_hand(name, offset, one_cell, twice_one_cell):
    loss = LOSSES[name]
    value = lambda pattern: float(loss(error_of(pattern), TRUTH, GRID))
    # The constant under the root of "euclidean" leaves 1e-6 of each exact field.
    assert value(np.full((4, 4), 0.5)) == pytest.approx(offset, abs=2e-6)
    assert value(ONE_CELL) == pytest.approx(one_cell, abs=2e-6)
    assert value(2 * ONE_CELL) == pytest.approx(twice_one_cell, abs=2e-6)
    assert value(np.zeros((4, 4))) == pytest.approx(0.0, abs=2e-6)


def test_spatial_gradient_sees_edges_and_not_offsets():
    loss = LOSSES["spatial_gradient"]
    assert float(loss(TRUTH + 3.0, TRUTH, GRID)) == pytest.approx(0.0, abs=1e-10)
    smooth, edge = loss(error_of(0.1 * STRIPES), TRUTH, GRID), loss(error_of(STRIPES), TRUTH, GRID)
    assert float(smooth) > 0 and float(edge) == pytest.approx(100 * float(smooth), rel=1e-3)
    # Central differences are blind to the shortest wave, which l2 sees.
    checkerboard = (-1.0) ** np.indices((4, 4)).sum(0)
    assert float(loss(error_of(checkerboard), TRUTH, GRID)) == pytest.approx(0.0, abs=1e-10)
    assert float(LOSSES["l2"](error_of(checkerboard), TRUTH, GRID)) > 0.1


def test_which_errors_each_weighs_most():
    """The same squared error in one cell and spread over sixteen."""
    value = lambda name, pattern: float(LOSSES[name](error_of(pattern), TRUTH, GRID))
    spread = np.full((4, 4), 0.25)
    assert value("l2", ONE_CELL) == pytest.approx(value("l2", spread), rel=1e-5)
    assert value("euclidean", ONE_CELL) == pytest.approx(value("euclidean", spread), rel=1e-4)
    assert value("l1", spread) == pytest.approx(4 * value("l1", ONE_CELL), rel=1e-5)
    assert value("spatial_gradient", ONE_CELL) > 1e3 * value("spatial_gradient", spread)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shape", [(6,), (4, 4), (3, 4, 5)])
def test_gradients_are_finite_even_without_error(name, shape):
    truth = jnp.ones((2, *shape, 2))
    gradient = jax.jit(jax.grad(LOSSES[name]), static_argnums=2)(truth, truth, Grid(shape))
    assert np.isfinite(gradient).all()


def test_the_pull_of_euclidean_does_not_fade():
    pull = lambda name, scale: np.abs(
        jax.grad(LOSSES[name])(error_of(scale * ONE_CELL), TRUTH, GRID)
    ).max()
    assert pull("euclidean", 1e-2) == pytest.approx(pull("euclidean", 1.0), rel=1e-3)
    assert pull("l2", 1e-2) == pytest.approx(1e-2 * pull("l2", 1.0), rel=1e-3)


def test_a_weighted_sum():
    prediction = error_of(ONE_CELL)
    weights = {"l2": 2.0, "l1": 0.0, "euclidean": 0.5, "spatial_gradient": 0.0}
    expected = 2 / 96 + 0.5 * 0.25 / 6
    assert float(weighted_sum(weights)(prediction, TRUTH, GRID)) == pytest.approx(
        expected, rel=1e-4
    )


def test_a_loss_of_weight_zero_is_not_computed():
    squares_overflow = jnp.full_like(TRUTH, 1e30)
    assert np.isinf(LOSSES["l2"](squares_overflow, TRUTH, GRID))
    assert np.isfinite(weighted_sum({"l1": 1.0, "l2": 0.0})(squares_overflow, TRUTH, GRID))


@pytest.mark.parametrize(
    "weights", [{}, {"l2": 0.0}, {"l2": 1.0, "l1": -1.0}, {"l2": float("nan")}]
)
def test_weights_that_make_no_loss_are_refused(weights):
    with pytest.raises(InputError, match="weights under loss are .* one must be positive"):
        weighted_sum(weights)


def test_an_unknown_loss_is_refused_with_the_list():
    with pytest.raises(InputError, match="'l3'.*l2, l1, euclidean, spatial_gradient"):
        weighted_sum({"l2": 1.0, "l3": 0.0})
