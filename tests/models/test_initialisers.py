import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.models.initialisers import INITIALISERS, named
from diffpattern.models.networks import PointwiseNetwork

SHAPES = [(6, 6), (4, 12), (12, 4), (3, 7)]


def weights(name, shape, seed=0):
    return np.asarray(named(name)(jax.random.key(seed), shape))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_orthogonal_has_unit_singular_values(shape):
    np.testing.assert_allclose(np.linalg.svd(weights("orthogonal", shape))[1], 1.0, rtol=1e-5)


@pytest.mark.parametrize("name", ["diagonal", "permuted"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_near_the_identity(name, shape):
    """Each output has its own inputs, as few as can be, all inputs are used, and none twice."""
    w = weights(name, shape)
    main = np.abs(w) > 0.35
    assert main.sum() == max(shape) and main.any(0).all() and main.any(1).all()
    np.testing.assert_allclose((w**2 * main).sum(0), 1.0, atol=0.4)
    noise = w[~main]
    assert 0 < noise.std() < 0.2 * shape[0] ** -0.5
    if name == "diagonal":
        assert all(main[n, n] for n in range(min(shape)))
    # Copies of a unit are told apart.
    assert len(np.unique(w, axis=1).T) == shape[1]


def test_permuted_is_in_another_order_for_each_key():
    orders = {tuple(np.argmax(weights("permuted", (8, 8), seed), 0)) for seed in range(5)}
    assert len(orders) == 5 and tuple(range(8)) not in orders


def test_normal_has_its_deviation():
    assert weights("normal", (200, 200)).std() == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize("name", INITIALISERS)
def test_networks_start_with_it_and_at_zero_where_the_last_layer_does(name):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5)))
    network = PointwiseNetwork((4,), 2, last_scale=0.0, initialiser=name)
    value, variables = network.init_with_output(jax.random.key(0), x)
    np.testing.assert_array_equal(value, 0.0)
    assert np.abs(variables["params"]["hidden_0"]["kernel"]).min() > 0
    scaled = lambda scale: PointwiseNetwork((4,), 2, last_scale=scale, initialiser=name)
    small, large = (
        scaled(scale).init_with_output(jax.random.key(0), x)[0] for scale in (0.01, 1.0)
    )
    np.testing.assert_allclose(100 * small, large, rtol=1e-6)


def test_an_unknown_one_is_refused():
    with pytest.raises(InputError, match="'xavier', but must be one of lecun_normal, orthogonal"):
        PointwiseNetwork((4,), 2, initialiser="xavier").init(jax.random.key(0), jnp.zeros((3, 5)))
