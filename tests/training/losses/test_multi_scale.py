import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.training.losses import LOSSES, Context
from diffpattern.training.losses.multi_scale import AT_EACH_SCALE, multi_scale

pytestmark = pytest.mark.usefixtures("quick_compilation")

ALL = tuple(AT_EACH_SCALE)
GRID = Grid((8, 8), 0.5)
TRUTH = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 2)), jnp.float32)
CHECKERBOARD = jnp.asarray((-1.0) ** np.indices((8, 8)).sum(0), jnp.float32)[..., None]


compiled = jax.jit(multi_scale, static_argnames=("of", "scales"))


def value(prediction, scales, of="l2", context=None, truth=TRUTH):
    return float(compiled(prediction, truth, context or Context(GRID), of=of, scales=scales))


def test_coarse_scales_are_blind_to_fine_grain_and_see_broad_shapes():
    assert value(TRUTH + CHECKERBOARD, (2, 4)) == pytest.approx(0.0, abs=1e-9)
    assert value(TRUTH + CHECKERBOARD, (1,)) == pytest.approx(1.0, rel=1e-5)
    assert value(TRUTH + CHECKERBOARD, (1, 2, 4)) == pytest.approx(1 / 3, rel=1e-5)
    assert value(TRUTH + 0.5, (1, 2, 4, 8)) == pytest.approx(0.25, rel=1e-5)


def test_a_coarse_scale_leads_from_afar():
    """Of two cells that do not touch, l2 does not say which way, block means do."""
    spot = lambda column: jnp.zeros((1, 8, 8, 1)).at[0, 4, column, 0].set(1.0)
    near, far = spot(1), spot(3)
    fine = [value(x, (1,), truth=spot(0)) for x in (near, far)]
    coarse = [value(x, (4,), truth=spot(0)) for x in (near, spot(5))]
    assert fine[0] == pytest.approx(fine[1]) and coarse[0] < coarse[1]


@pytest.mark.parametrize("of", ALL)
def test_it_is_the_loss_of_coarser_lattices(of):
    prediction = TRUTH + jnp.sin(5 * TRUTH)
    means = lambda x: x.reshape(2, 4, 2, 4, 2, 2).mean((2, 4))
    coarse = Context(Grid((4, 4), 1.0))
    expected = (
        LOSSES[of](prediction, TRUTH, Context(GRID))
        + LOSSES[of](means(prediction), means(TRUTH), coarse)
    ) / 2
    assert value(prediction, (1, 2), of) == pytest.approx(float(expected), rel=1e-5)


def test_blocks_count_as_far_as_they_are_inside():
    mask = jnp.ones((8, 8)).at[:, 3:].set(0.0)
    context = Context(GRID, mask=mask)
    prediction = (TRUTH + 0.5).at[:, :, 3:].set(50.0)
    for of, expected in (("euclidean", 0.5), ("spatial_gradient", 0.0)):
        assert value(prediction, (1, 2, 4), of, context) == pytest.approx(expected, abs=1e-5)


def test_gradients_are_finite():
    context = Context(GRID, mask=jnp.zeros((8, 8)).at[0, 0].set(1.0))

    def loss(prediction):
        values = (multi_scale(prediction, TRUTH, context, of=of, scales=(4,)) for of in ALL)
        return sum(values)

    assert np.isfinite(jax.jit(jax.grad(loss))(TRUTH)).all()


@pytest.mark.parametrize(
    ("scales", "hint"),
    [((), "is empty"), ((1, 3), "has 3, but blocks of 3 cells do not divide .* 8 x 8")],
)
def test_scales_that_do_not_fit_are_refused(scales, hint):
    with pytest.raises(InputError, match=f"loss.settings.multi_scale.scales {hint}"):
        value(TRUTH, scales)
