"""What becomes of the data's mask before a rule meets it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.models.masks import MASKS

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
