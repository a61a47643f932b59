"""What becomes of the data's mask before a rule meets it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.models.masks import MASKS, signed_distance

GRID = Grid((3, 4))
MASK = np.arange(12.0).reshape(3, 4) % 2
FIELDS = np.arange(24.0).reshape(2, 3, 4)


def met(name, forcing):
    """The forcing that a rule meets, and the mask's first parameters."""
    mask = MASKS[name](GRID)
    variables = mask.init(jax.random.key(0), forcing)
    return mask.apply(variables, forcing), variables.get("params", {})


@pytest.mark.parametrize("given", [None, MASK])
def test_a_given_mask_is_the_datas(given):
    forcing, parameters = met("given", Forcing(mask=given))
    assert forcing.mask is given and parameters == {}


@pytest.mark.parametrize("environment", [None, FIELDS])
def test_a_soft_mask_is_the_last_field_that_is_seen(environment):
    forcing, parameters = met("soft", Forcing(mask=jnp.array(MASK), environment=environment))
    assert forcing.mask is None and parameters == {}
    fields = [] if environment is None else list(FIELDS)
    np.testing.assert_array_equal(forcing.environment, np.stack([*fields, MASK]))
    assert met("soft", Forcing(environment=environment))[0].environment is environment


def test_a_trainable_mask_lies_within_the_datas_and_has_a_slope():
    forcing, parameters = met("trainable", Forcing(mask=jnp.array(MASK)))
    own = jax.nn.sigmoid(parameters["logits_3x4"])
    assert ((own > 0.5) & (own < 1.0)).all()
    np.testing.assert_allclose(forcing.mask, own * MASK)
    np.testing.assert_allclose(met("trainable", Forcing())[0].mask, own)
    coverage = lambda parameters: MASKS["trainable"](GRID).apply(
        {"params": parameters}, method="coverage"
    )
    slope = jax.grad(lambda parameters: coverage(parameters).sum())(parameters)
    assert (slope["logits_3x4"] > 0.05).all()


def test_distance_from_an_edge_is_that_of_the_centres_less_half_a_cell():
    """As scipy's transform has it, as far as three cells, in units of length."""
    mask = np.zeros((16, 20), np.float32)
    mask[4:13, 3:15] = 1.0
    mask[9:, 12:] = 0.0
    grid = Grid(mask.shape, (0.5, 0.5), boundary=("zero", "zero"))
    away = np.asarray(signed_distance(jnp.asarray(mask), grid))
    inside = ndimage.distance_transform_edt(mask, sampling=0.5)
    outside = ndimage.distance_transform_edt(1 - mask, sampling=0.5)
    expected = np.where(mask > 0, inside - 0.25, 0.25 - outside)
    near = np.abs(expected) < 1.25
    np.testing.assert_allclose(away[near], expected[near], rtol=1e-6)
    assert (np.abs(away[~near]) >= 1.25).all()
    assert (np.sign(away) == np.where(mask > 0, 1, -1)).all()


def test_a_mask_goes_on_beyond_walls_as_a_coefficient_does():
    mask = jnp.zeros((8, 12)).at[:, :4].set(1.0)
    away = lambda walls: signed_distance(mask, Grid((8, 12), boundary=walls))[4, 0]
    assert away("circular") == 0.5
    assert away("symmetric") == away("zero") == 3.0


def test_a_learnt_edge_starts_at_the_datas_and_moves_by_parts_of_a_cell():
    mask = jnp.zeros((12, 12)).at[3:9, 3:9].set(1.0)
    grid = Grid((12, 12), 0.5, boundary="zero")
    learnt = MASKS["edge"](grid)
    parameters = learnt.init(jax.random.key(0), Forcing(mask=mask))["params"]
    met = lambda margin: learnt.apply({"params": {"margin": margin}}, Forcing(mask=mask)).mask
    assert parameters == {"margin": 0.0}
    np.testing.assert_array_equal(met(0.0), mask)
    for margin, row in ((0.2, [0, 0.4, 1, 1]), (0.75, [0.5, 1, 1, 1]), (-0.3, [0, 0, 0.4, 1])):
        np.testing.assert_allclose(met(margin)[1:5, 5], row, atol=1e-6)
        slope = jax.grad(lambda margin: met(margin)[:, 5].sum())(margin)
        assert slope == pytest.approx(2 * 2)  # two edges, 1 / spacing each
    assert jax.grad(lambda margin: met(margin)[:, 5].sum())(0.0) > 0
