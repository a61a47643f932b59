import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.training.losses import Context, wasserstein

pytestmark = pytest.mark.usefixtures("quick_compilation")

GRID = Grid((12, 12))
TRUTH = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 12, 3)), jnp.float32)


def context(key=0, grid=GRID, **fields):
    return Context(grid, key=jax.random.key(key), **fields)


HERE = context()
compiled_colours = jax.jit(wasserstein.colours, static_argnames="projections")
compiled_patches = jax.jit(wasserstein.patches, static_argnames=("projections", "size", "scales"))


def colours(prediction, truth=TRUTH, context=HERE, projections=64):
    return float(compiled_colours(prediction, truth, context, projections=projections))


def patches(prediction, truth=TRUTH, context=HERE, size=3, scales=(1, 2), projections=16):
    settings = {"projections": projections, "size": size, "scales": scales}
    return float(compiled_patches(prediction, truth, context, **settings))


def shuffled(x, seed=1):
    """The cells of each snapshot in a random order."""
    order = np.random.default_rng(seed).permutation(144)
    return x.reshape(2, 144, -1)[:, order].reshape(x.shape)


# --- What they see, and what not ----------------------------------------------------------------


def test_colours_are_blind_to_place_and_patches_see_it():
    assert colours(shuffled(TRUTH)) == pytest.approx(0.0, abs=1e-8)
    # Smooth waves, of which a shuffling leaves the colours alone.
    x = 2 * np.pi * np.arange(12) / 12
    waves = jnp.asarray(np.sin(x)[None, :, None, None] + 0 * TRUTH, jnp.float32)
    assert colours(shuffled(waves), waves) == pytest.approx(0.0, abs=1e-8)
    assert patches(shuffled(waves), waves) > 0.05


def test_patches_are_blind_to_where_they_lie():
    # Tiles of 3 x 3 cells: however the torus is cut open, all 9 patches lie in it 9 times.
    tiled = jnp.tile(TRUTH[:, :3, :3], (1, 4, 4, 1))
    settings = {"size": 4, "scales": (1,)}
    moved = jnp.roll(tiled, (1, 2), (1, 2))
    assert patches(moved, tiled, **settings) == pytest.approx(0.0, abs=1e-8)
    assert patches(shuffled(tiled), tiled, **settings) > 0.02
    assert patches(jnp.flip(tiled, 1), tiled, **settings) > 0.02


def test_offsets_and_spreads_by_hand():
    """In units of l2: an offset a of every channel gives a^2 on average over lines."""
    offset = [colours(TRUTH + 0.5, context=context(key), projections=128) for key in range(4)]
    assert np.mean(offset) == pytest.approx(0.25, rel=0.15)
    # One channel, one line: sorted numbers less sorted numbers.
    one, other = TRUTH[..., :1], 3.0 * TRUTH[..., 1:2]
    by_hand = np.mean(
        [
            (np.sort(np.ravel(a)) - np.sort(np.ravel(b))) ** 2
            for a, b in zip(one, other, strict=True)
        ]
    )
    assert colours(one, other) == pytest.approx(by_hand, rel=1e-5)


def test_colours_see_which_values_occur_together():
    """Each channel alone has the same values; their combinations differ."""
    turned = jnp.stack([TRUTH[..., 0], TRUTH[..., 0], TRUTH[..., 2]], -1)
    apart = jnp.stack([TRUTH[..., 0], shuffled(TRUTH[..., :1])[..., 0], TRUTH[..., 2]], -1)
    for channel in range(3):
        alone = colours(turned[..., channel, None], apart[..., channel, None])
        assert alone == pytest.approx(0.0, abs=1e-8)
    assert colours(turned, apart) > 0.05


def test_patches_of_one_dimension_and_of_three():
    for shape in ((40,), (6, 6, 6)):
        truth = jnp.asarray(np.random.default_rng(3).normal(size=(1, *shape, 2)), jnp.float32)
        under = context(grid=Grid(shape))
        assert patches(truth + 1.0, truth, under) > 0.05
        assert colours(truth, truth, under) == pytest.approx(0.0, abs=1e-9)


def test_lines_are_drawn_anew_with_each_key():
    other = jnp.sin(TRUTH)
    values = [patches(other, context=context(key)) for key in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    assert values[0] == pytest.approx(values[2], rel=0.5)


def test_a_circular_lattice_is_cut_open_elsewhere_each_time():
    """A step between the last column and the first is a step only where the torus is whole."""
    ramp = jnp.broadcast_to(jnp.arange(12.0)[:, None], (1, 12, 12))[..., None]
    same = functools.partial(patches, ramp, ramp, scales=(1,))
    assert same(context=context(grid=Grid((12, 12), boundary="symmetric"))) == 0.0
    assert max(same(context=context(key)) for key in range(3)) > 0.1


# --- Sizes, masks, weights ----------------------------------------------------------------------


def test_a_truth_of_another_size_is_compared_by_its_quantiles():
    prediction, large = TRUTH, jnp.repeat(jnp.repeat(TRUTH, 3, 1), 2, 2)
    # Of each value there are six: quantiles that are read off between them are off by little.
    assert colours(prediction, large) < 0.02 * colours(prediction, large + 0.5)
    smaller = jnp.asarray(np.random.default_rng(5).normal(size=(2, 9, 7, 3)), jnp.float32)
    assert colours(TRUTH, smaller) < 0.2 * colours(TRUTH, smaller + 1.0)
    assert patches(TRUTH, smaller, scales=(1,)) < patches(TRUTH, smaller + 1.0, scales=(1,))


@pytest.mark.parametrize(("count", "wanted"), [(5, 5), (5, 8), (8, 5), (1, 4), (7, 1)])
def test_quantiles_are_those_of_numpy(count, wanted):
    values = np.sort(np.random.default_rng(count).normal(size=8)).astype(np.float32)
    levels = (np.arange(wanted) + 0.5) / wanted
    expected = np.quantile(values[:count], levels, method="hazen")
    for given in (count, jnp.int32(count)):
        result = wasserstein._quantiles(jnp.asarray(values[:count]), given, wanted)
        np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("count", [1, 5, 4096])
def test_the_order_is_that_of_a_sort(count):
    random = np.random.default_rng(count)
    values = random.normal(size=(3, count)).astype(np.float32) * [[1e-3], [1.0], [1e6]]
    values = values.astype(np.float32)
    reach = np.ptp(values, axis=-1, keepdims=True)
    order = np.asarray(wasserstein._order(jnp.asarray(values), None))
    np.testing.assert_array_equal(np.sort(order), np.tile(np.arange(count), (3, 1)))
    sorted_values = np.take_along_axis(values, order, -1)
    assert (np.abs(sorted_values - np.sort(values)) <= 4e-6 * reach).all()
    # Those that are outside come last.
    inside = random.random(count) < 0.5
    order = np.asarray(wasserstein._order(jnp.asarray(values), jnp.asarray(inside)))
    assert inside[order[:, : inside.sum()]].all()
    # Equal values stay in their order.
    np.testing.assert_array_equal(wasserstein._order(jnp.ones((1, count)), None)[0], range(count))


def test_what_lies_outside_of_the_mask_does_not_count():
    """Half of a lattice inside a mask is a lattice of half the size."""
    walls = {"boundary": "symmetric"}
    mask = jnp.zeros((12, 12)).at[:, :8].set(1.0)
    masked, half = (
        context(grid=Grid((12, 12), **walls), mask=mask),
        context(grid=Grid((12, 8), **walls)),
    )
    prediction = jnp.sin(2 * TRUTH)
    elsewhere = prediction.at[:, :, 8:].set(50.0)
    for loss, settings in ((colours, {}), (patches, {"size": 2, "scales": (1, 4)})):
        inside = loss(elsewhere, TRUTH, masked, **settings)
        assert inside == pytest.approx(loss(prediction, TRUTH, masked, **settings), rel=1e-5)
        expected = loss(prediction[:, :, :8], TRUTH[:, :, :8], half, **settings)
        # Quantiles of it, rather than each of its values.
        assert inside == pytest.approx(expected, rel=0.1)


def test_an_empty_mask_and_one_into_which_no_patch_fits_give_zero():
    settings = {"projections": 4, "size": 3, "scales": (1,)}
    differentiated = jax.jit(
        jax.value_and_grad(lambda x, under: wasserstein.patches(x, TRUTH, under, **settings))
    )
    nothing, walled = jnp.zeros((12, 12)), Grid((12, 12), boundary="symmetric")
    for mask in (nothing, nothing.at[3, 3].set(1.0)):
        value, gradient = differentiated(TRUTH + 1.0, context(grid=walled, mask=mask))
        assert value == 0.0 and (gradient == 0.0).all()
    # A patch fits into a hole of its own size.
    mask = nothing.at[3:6, 3:6].set(1.0)
    value, gradient = differentiated(TRUTH + 1.0, context(grid=walled, mask=mask))
    assert value > 0.1 and (gradient[:, 3:6, 3:6] != 0.0).any() and (gradient[:, 7:] == 0.0).all()


def test_weights_multiply_squares_and_hide_what_is_unknown():
    prediction = jnp.sin(2 * TRUTH)
    weight = jnp.array([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    hidden = prediction.at[1].set(9.0).at[0, ..., 1].set(9.0)
    weighted = context(weight=weight)
    assert patches(hidden, context=weighted) == patches(prediction, context=weighted)
    assert patches(hidden) > 10 * patches(prediction)
    # A weight for all is a factor on squares.
    assert colours(prediction, context=context(weight=jnp.full((2, 3), 4.0))) == pytest.approx(
        4.0 * colours(prediction), rel=1e-4
    )


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"scales": ()}, "scales is empty"),
        ({"size": 5, "scales": (1, 4)}, "patches of 5 cells at a scale of 4.* only 12 .* have 20"),
    ],
)
def test_patches_that_do_not_fit_are_refused(settings, hint):
    with pytest.raises(InputError, match=f"loss.settings.patches.*{hint}"):
        patches(TRUTH, **settings)


# --- Learning by them ---------------------------------------------------------------------------


def test_gradients_move_each_value_to_its_partner():
    """Of one channel the gradient is known: 2 (x - partner) / N, partners in sorted order."""
    x = jnp.array([3.0, -1.0, 0.5, 2.0]).reshape(1, 4, 1)
    truth = jnp.array([0.0, 1.0, -2.0, 10.0]).reshape(1, 4, 1)
    loss = lambda x: wasserstein.colours(x, truth, context(grid=Grid((4,))), projections=7)
    partners = np.array([10.0, -2.0, 0.0, 1.0])
    expected = 2 * (np.ravel(x) - partners) / 4
    np.testing.assert_allclose(np.ravel(jax.jit(jax.grad(loss))(x)), expected, rtol=1e-5)


def test_gradients_are_finite_without_error_and_on_flat_fields():
    flat = jnp.ones((1, 12, 12, 2))
    loss = lambda x: wasserstein.patches(x, flat, context(), projections=4, size=3, scales=(1, 2))
    for prediction in (flat, 0 * flat):
        assert np.isfinite(jax.jit(jax.grad(loss))(prediction)).all()


def test_patches_alone_make_a_texture_out_of_noise():
    """Stripes three cells wide, of which the colours alone would make noise in two colours."""
    stripes = jnp.asarray((np.arange(24) // 3) % 2, jnp.float32)
    truth = jnp.broadcast_to(stripes[:, None], (24, 24))[None, ..., None]
    grid = Grid((24, 24))
    optimiser = optax.adam(0.05)

    def learn(loss):
        @jax.jit
        def step(x, state, key):
            gradient = jax.grad(lambda x: loss(x, truth, Context(grid, key=key)))(x)
            updates, state = optimiser.update(gradient, state)
            return optax.apply_updates(x, updates), state

        x = 0.5 + 0.1 * jax.random.normal(jax.random.key(1), truth.shape)
        state = optimiser.init(x)
        for key in jax.random.split(jax.random.key(2), 150):
            x, state = step(x, state, key)
        return np.asarray(x[0, ..., 0])

    settings = {"projections": 16, "size": 4, "scales": (1, 2)}
    made = learn(functools.partial(wasserstein.patches, **settings))
    noise = learn(functools.partial(wasserstein.colours, projections=1))
    alike = lambda x, way, axis: np.mean(np.round(x) == np.round(np.roll(x, way, axis)))
    # The colours are right in both, half of them 0 and half 1.
    assert noise.mean() == pytest.approx(0.5, abs=0.05)
    assert made.mean() == pytest.approx(0.5, abs=0.05)
    # Along stripes all is alike, and a stripe's width across them all is different.
    assert alike(made, 1, 1) > 0.9 and alike(made, 3, 0) < 0.2
    assert alike(noise, 1, 1) < 0.65 and alike(noise, 3, 0) > 0.35
