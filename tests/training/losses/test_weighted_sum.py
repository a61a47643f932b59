import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.configs import default
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.training.losses import ANY_SIZE, LOSSES, Context, weighted_sum

pytestmark = pytest.mark.usefixtures("quick_compilation")

CONTEXT = Context(Grid((8, 8)), key=jax.random.key(0))
TRUTH = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 8, 2)), jnp.float32)


def test_a_weighted_sum():
    prediction = TRUTH.at[0, 0, 0, 0].add(1.0)
    loss = weighted_sum({"l2": 2.0, "l1": 0.0, "euclidean": 0.5})
    expected = 2 / 384 + 0.5 * 0.125 / 6
    assert float(loss(prediction, TRUTH, CONTEXT)) == pytest.approx(expected, rel=1e-4)


def test_settings_reach_the_losses_that_they_are_of():
    prediction = TRUTH.at[0, 0, 0, 0].add(1.0)
    settings = {"multi_scale": {"of": "l1", "scales": (8,)}}
    loss = weighted_sum({"multi_scale": 1.0, "l2": 0.0}, settings)
    assert float(loss(prediction, TRUTH, CONTEXT)) == pytest.approx(1 / 64 / 6, rel=1e-4)


def test_a_loss_of_weight_zero_is_not_computed():
    squares_overflow = jnp.full_like(TRUTH, 1e30)
    assert np.isinf(LOSSES["l2"](squares_overflow, TRUTH, CONTEXT))
    assert np.isfinite(weighted_sum({"l1": 1.0, "l2": 0.0})(squares_overflow, TRUTH, CONTEXT))


def test_plain_l2_makes_the_program_of_a_mean_square():
    """Weights, masks and a key that are not needed cost nothing."""
    plain = lambda p, t, context: sum([1.0 * jnp.mean((p - t) ** 2)])
    loss = weighted_sum({"l2": 1.0, "patches": 0.0})
    programs = [jax.make_jaxpr(function)(TRUTH, TRUTH, CONTEXT) for function in (loss, plain)]
    steps = [[step.primitive.name for step in program.eqns] for program in programs]
    assert steps[0] == steps[1]


@pytest.mark.parametrize(
    "weights", [{}, {"l2": 0.0}, {"l2": 1.0, "l1": -1.0}, {"l2": float("nan")}]
)
def test_weights_that_make_no_loss_are_refused(weights):
    with pytest.raises(InputError, match="weights under loss are .* one must be positive"):
        weighted_sum(weights)


def test_an_unknown_loss_is_refused_with_the_list():
    with pytest.raises(InputError, match="'l3'.*l2, l1, euclidean, .*patches"):
        weighted_sum({"l2": 1.0, "l3": 0.0})


@pytest.mark.parametrize("name", sorted(set(LOSSES) - set(ANY_SIZE)))
def test_cell_by_cell_a_truth_of_another_size_is_refused(name):
    with pytest.raises(InputError, match=rf"loss.{name} compares cell by cell.*colours, patches"):
        weighted_sum({name: 1.0})(TRUTH, TRUTH[:, :4], CONTEXT)


def test_the_config_has_a_weight_for_every_loss():
    fields = default.get_config().loss
    assert {name for name in fields if isinstance(fields[name], float)} == set(LOSSES)
