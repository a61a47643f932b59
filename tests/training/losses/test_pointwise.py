import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.grid.geometry import Grid
from diffpattern.training.losses import LOSSES, Context

pytestmark = pytest.mark.usefixtures("quick_compilation")

CONTEXT = Context(Grid((4, 4), 0.5), key=jax.random.key(0))
TRUTH = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 4, 2)), jnp.float32)

# All cells, in a random order: what a random subset of them gives on average.
EVERY_CELL = functools.partial(LOSSES["sampled_euclidean"], fraction=1.0)
POINTWISE = {
    name: LOSSES[name] for name in ("l2", "l1", "euclidean", "cosine", "spatial_gradient")
} | {"sampled_euclidean": EVERY_CELL}

ONE_CELL = np.eye(16)[5].reshape(4, 4)
STRIPES = np.tile([0.0, 1.0, 0.0, -1.0], (4, 1))


def error_of(pattern):
    """A prediction that is wrong by `pattern` [4, 4] in the second channel of the last snapshot."""
    return TRUTH.at[2, :, :, 1].add(jnp.asarray(pattern, jnp.float32))


COMPILED = {name: jax.jit(loss) for name, loss in POINTWISE.items()}


def value(name, prediction, truth=TRUTH, context=CONTEXT):
    return float(COMPILED[name](prediction, truth, context))


@pytest.mark.parametrize(
    ("name", "offset", "one_cell", "twice_one_cell"),
    # By hand: 96 numbers in all, 6 fields of 16 cells; a raised cell has two slopes of
    # 1 / (2 h) = 1 along each axis, of 2 x 96 components.
    [
        ("l2", 0.25 / 6, 1 / 96, 4 / 96),
        ("l1", 0.5 / 6, 1 / 96, 2 / 96),
        ("euclidean", 0.5 / 6, 0.25 / 6, 0.5 / 6),
        ("sampled_euclidean", 0.5 / 6, 0.25 / 6, 0.5 / 6),
        ("spatial_gradient", 0.0, 4 / 192, 16 / 192),
    ],
)
def test_values_by_hand(name, offset, one_cell, twice_one_cell):
    # The constant under the root of "euclidean" leaves 1e-6 of each exact field.
    assert value(name, error_of(np.full((4, 4), 0.5))) == pytest.approx(offset, abs=2e-6)
    assert value(name, error_of(ONE_CELL)) == pytest.approx(one_cell, abs=2e-6)
    assert value(name, error_of(2 * ONE_CELL)) == pytest.approx(twice_one_cell, abs=2e-6)
    assert value(name, error_of(np.zeros((4, 4)))) == pytest.approx(0.0, abs=2e-6)


def test_spatial_gradient_sees_edges_and_not_offsets():
    loss = functools.partial(value, "spatial_gradient")
    assert loss(TRUTH + 3.0) == pytest.approx(0.0, abs=1e-10)
    smooth, edge = loss(error_of(0.1 * STRIPES)), loss(error_of(STRIPES))
    assert smooth > 0 and edge == pytest.approx(100 * smooth, rel=1e-3)
    # Central differences are blind to the shortest wave, which l2 sees.
    checkerboard = (-1.0) ** np.indices((4, 4)).sum(0)
    assert loss(error_of(checkerboard)) == pytest.approx(0.0, abs=1e-10)
    assert value("l2", error_of(checkerboard)) > 0.1


def test_walls_with_a_value_give_none_to_errors():
    held = Context(Grid((4, 4), 0.5, {"kind": "value", "value": 7.0}))
    empty = Context(Grid((4, 4), 0.5, "zero"))
    prediction = error_of(ONE_CELL)
    assert value("spatial_gradient", prediction, TRUTH, held) == pytest.approx(
        value("spatial_gradient", prediction, TRUTH, empty)
    )
    assert value("spatial_gradient", TRUTH, TRUTH, held) == 0.0


def test_cosine_is_blind_to_a_factor_and_sees_the_shape():
    assert value("cosine", 3.0 * TRUTH) == pytest.approx(0.0, abs=1e-6)
    assert value("cosine", -TRUTH) == pytest.approx(2.0, abs=1e-6)
    # By hand: one field of six is at an angle of 60 degrees.
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    a[0, 0], b[0, 0], b[0, 1] = 2.0, 0.5, np.sqrt(0.75)
    field = lambda pattern: jnp.ones_like(TRUTH).at[2, :, :, 1].set(pattern)
    assert value("cosine", field(a), field(b)) == pytest.approx(0.5 / 6, abs=1e-6)
    # Where both are empty there is nothing to be wrong about.
    assert value("cosine", 0 * TRUTH, 0 * TRUTH) == pytest.approx(0.0, abs=1e-6)


def test_which_errors_each_weighs_most():
    """The same squared error in one cell and spread over sixteen."""
    spread = np.full((4, 4), 0.25)
    both = lambda name: (value(name, error_of(ONE_CELL)), value(name, error_of(spread)))
    for name in ("l2", "euclidean"):
        assert both(name)[0] == pytest.approx(both(name)[1], rel=1e-4)
    assert both("l1")[1] == pytest.approx(4 * both("l1")[0], rel=1e-5)
    assert both("spatial_gradient")[0] > 1e3 * both("spatial_gradient")[1]


def test_a_sample_sees_its_own_cells_alone_and_others_with_another_key():
    sampled = jax.jit(functools.partial(LOSSES["sampled_euclidean"], fraction=0.25))
    draw = lambda key, pattern: float(
        sampled(error_of(pattern), TRUTH, CONTEXT.replace(key=jax.random.key(key)))
    )
    everything = 0.5 / 6
    seen = [draw(0, 2 * np.eye(16)[cell].reshape(4, 4)) > 1e-3 for cell in range(16)]
    assert sum(seen) == 4
    assert seen != [draw(1, 2 * np.eye(16)[cell].reshape(4, 4)) > 1e-3 for cell in range(16)]
    assert draw(0, ONE_CELL) == draw(0, ONE_CELL)
    assert draw(0, np.full((4, 4), 0.5)) == pytest.approx(everything, abs=2e-6)
    # On average over keys it sees every cell alike: its square is that of euclidean.
    squares = [(6 * draw(key, ONE_CELL)) ** 2 for key in range(64)]
    assert np.mean(squares) == pytest.approx(1 / 16, rel=0.3)


def test_at_least_one_cell_is_drawn():
    few = LOSSES["sampled_euclidean"](TRUTH + 1.0, TRUTH, CONTEXT, fraction=1e-3)
    assert float(few) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("name", POINTWISE)
@pytest.mark.parametrize("shape", [(6,), (4, 4), (3, 4, 5)])
def test_gradients_are_finite_even_without_error(name, shape):
    truth, context = jnp.ones((2, *shape, 2)), Context(Grid(shape), key=jax.random.key(0))
    gradient = jax.jit(jax.grad(POINTWISE[name]))
    for field in (truth, 0 * truth):
        assert np.isfinite(gradient(field, field, context)).all()


def test_the_pull_of_euclidean_does_not_fade():
    pull = lambda name, scale: np.abs(
        jax.grad(POINTWISE[name])(error_of(scale * ONE_CELL), TRUTH, CONTEXT)
    ).max()
    assert pull("euclidean", 1e-2) == pytest.approx(pull("euclidean", 1.0), rel=1e-3)
    assert pull("l2", 1e-2) == pytest.approx(1e-2 * pull("l2", 1.0), rel=1e-3)


@pytest.mark.parametrize("name", POINTWISE)
def test_weights_multiply_the_error_of_each_field(name):
    prediction = TRUTH + jnp.sin(7 * TRUTH)
    fields = [
        value(name, prediction[n : n + 1, ..., c : c + 1], TRUTH[n : n + 1, ..., c : c + 1])
        for n in range(3)
        for c in range(2)
    ]
    weight = np.array([[1.0, 0.0], [2.0, 0.5], [0.0, 3.0]])
    weighted = CONTEXT.replace(weight=jnp.asarray(weight))
    assert value(name, prediction, TRUTH, weighted) == pytest.approx(
        np.mean(weight.reshape(-1) * fields), rel=1e-4
    )
    # A field of weight 0 is not seen at all.
    hidden = prediction.at[0, ..., 1].set(50.0)
    assert value(name, hidden, TRUTH, weighted) == value(name, prediction, TRUTH, weighted)


@pytest.mark.parametrize("name", POINTWISE)
def test_cells_outside_of_the_mask_do_not_count(name):
    """A mask's left half is a lattice of half the size, between mirrors."""
    mask = jnp.zeros((4, 4)).at[:, :2].set(1.0)
    masked = Context(Grid((4, 4), 0.5, "symmetric"), key=jax.random.key(0), mask=mask)
    half = Context(Grid((4, 2), 0.5, "symmetric"), key=jax.random.key(0))
    prediction = (TRUTH + jnp.sin(7 * TRUTH)).at[:, :, 2:].set(50.0)
    inside = value(name, prediction, TRUTH, masked)
    expected = value(name, prediction[:, :, :2], TRUTH[:, :, :2], half)
    assert inside == pytest.approx(expected, rel=1e-5)
    nothing = masked.replace(mask=0 * mask)
    assert value(name, prediction, TRUTH, nothing) == pytest.approx(0.0, abs=2e-6)
