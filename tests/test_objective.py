"""What a config makes of losses and regularisers, and what a train step makes of that."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import random_vgg
import tiny

from diffpattern import configuration, objective, problem
from diffpattern.data import statistics
from diffpattern.data.windows import Window
from diffpattern.errors import InputError
from diffpattern.grid.forcing import UNFORCED, Forcing
from diffpattern.parallel.mesh import make_mesh
from diffpattern.training.losses import LOSSES, Context

pytestmark = pytest.mark.usefixtures("quick_compilation")

NCA = {
    "optimiser.name": "nadam",
    "model.name": "nca",
    "model.nca.channels": 4,
    "model.nca.network.hidden": (4,),
    "model.nca.steps_per_interval": 2,
    "training.window": 2,
    "training.batch": 2,
}
RANDOM = np.random.default_rng(0)
KEY = jax.random.key(7)


def build(trajectories=None, **changes):
    """A checked config's problem, parameters and objective."""
    trajectories = trajectories or tiny.data()
    config = tiny.config(**NCA | changes)
    configuration.check(config)
    summary = statistics.summarise([trajectories], problem.whitened_degrees(config))
    sought = problem.build(config, summary)
    return sought, objective.build(config, sought, summary.sizes, make_mesh(1))


def window(channels=2, known=None, mask=None):
    values = RANDOM.normal(size=(3, 8, 8, channels)).astype(np.float32)
    return Window(jnp.asarray(values), Forcing(mask=mask), known)


def states(channels=4):
    return jnp.asarray(RANDOM.normal(size=(2, 8, 8, channels)), jnp.float32)


def test_the_data_channels_are_compared_and_hidden_ones_free():
    sought, loss = build()
    seen, predicted = window(), states()
    expected = float(jnp.mean((predicted[..., :2] - seen.values[1:]) ** 2))
    assert float(loss(predicted, seen, KEY, {})) == pytest.approx(expected, rel=1e-6)
    hidden = predicted.at[..., 2:].set(100.0)
    assert float(loss(hidden, seen, KEY, {})) == pytest.approx(expected, rel=1e-6)


def test_losses_have_their_weights_and_settings():
    seen, predicted = window(), states()
    _, loss = build(**{
        "loss.l2": 0.5,
        "loss.multi_scale": 2.0,
        "loss.settings.multi_scale.of": "l1",
        "loss.settings.multi_scale.scales": (2, 8),
    })  # fmt: skip
    context = Context(tiny.data().grid)
    pair = predicted[..., :2], seen.values[1:]
    expected = 0.5 * LOSSES["l2"](*pair, context)
    expected += 2.0 * LOSSES["multi_scale"](*pair, context, of="l1", scales=(2, 8))
    assert float(loss(predicted, seen, KEY, {})) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "known", "expected"),
    [
        ({}, [[1, 1], [1, 0], [0, 1]], [[1, 0], [0, 1]]),
        ({"loss.channel_weights": (3.0, 1.0)}, None, [[1.5, 0.5], [1.5, 0.5]]),
        ({"loss.time_weights": (0.0, 1.0)}, None, [[0, 0], [2, 2]]),
        (
            {"loss.channel_weights": (3.0, 1.0), "loss.time_weights": (0.0, 1.0)},
            [[1, 1], [1, 1], [0, 1]],
            [[0, 0], [0, 1]],
        ),
    ],
)
def test_weights_of_channels_and_times_and_what_is_known(changes, known, expected):
    _, loss = build(**changes)
    seen = window(known=None if known is None else jnp.asarray(known, jnp.float32))
    predicted = states()
    squares = jnp.mean((predicted[..., :2] - seen.values[1:]) ** 2, (1, 2))
    by_hand = float(jnp.mean(jnp.array(expected) * squares))
    assert float(loss(predicted, seen, KEY, {})) == pytest.approx(by_hand, rel=1e-5)


def test_regularisers_are_added_with_their_weights():
    predicted, seen = states(), window()
    _, plain = build()
    _, loss = build(**{"regulariser.out_of_range": 2.0, "regulariser.sparsity": 3.0})
    parameters = {"rule": {"kernel": jnp.array([1.0, -2.0])}, "mask": {"logits": jnp.ones(5)}}
    beyond = float(jnp.mean(jnp.abs(predicted - jnp.clip(predicted, 0, 1))))
    expected = float(plain(predicted, seen, KEY, parameters)) + 2.0 * beyond + 3.0 * 1.5
    assert float(loss(predicted, seen, KEY, parameters)) == pytest.approx(expected, rel=1e-5)


def test_outside_of_the_data_s_mask_losses_see_nothing_and_a_regulariser_does():
    mask = np.zeros((8, 8), np.float32)
    mask[2:6, 2:6] = 1.0
    masked = dataclasses.replace(tiny.data(), mask=np.stack([mask] * 3))
    _, loss = build(masked, **{"data.mask": "ellipse"})
    _, regularised = build(masked, **{"data.mask": "ellipse", "regulariser.outside": 1.0})
    predicted, seen = states(), window(mask=jnp.asarray(mask))
    inside = predicted * mask[..., None]
    assert loss(inside, seen, KEY, {}) == loss(predicted, seen, KEY, {})
    squares = (predicted[..., :2] - seen.values[1:])[:, 2:6, 2:6] ** 2
    assert float(loss(predicted, seen, KEY, {})) == pytest.approx(float(squares.mean()), rel=1e-5)
    assert regularised(inside, seen, KEY, {}) == loss(inside, seen, KEY, {})
    assert regularised(predicted, seen, KEY, {}) > 0.1 + loss(predicted, seen, KEY, {})


def test_chance_in_a_loss_comes_from_the_window_s_key_and_not_from_the_rollout_s():
    _, loss = build(**{"loss.l2": 0.0, "loss.sampled_euclidean": 1.0})
    predicted, seen = states(), window()
    value = lambda key: float(loss(predicted, seen, key, {}))
    assert value(KEY) == value(KEY) != value(jax.random.key(8))
    context = lambda key: Context(tiny.data().grid, key=key)
    with_key = functools.partial(
        LOSSES["sampled_euclidean"], predicted[..., :2], seen.values[1:], fraction=0.1
    )
    assert value(KEY) not in [float(with_key(context(key))) for key in jax.random.split(KEY)]


@pytest.mark.slow
def test_a_train_step_is_the_same_on_one_and_on_eight_devices():
    """With all losses that need no files, and windows in one batch or one after the other."""
    weights = {f"loss.{name}": 1.0 for name in LOSSES if name not in ("vgg_gram", "lpips")}
    small = {"loss.settings.patches.size": 3, "loss.settings.patches.scales": (1, 2)}
    fields = NCA | weights | small | {"loss.channel_weights": (1.0, 2.0), "training.batch": 8}
    one, eight = (
        tiny.Run(tiny.config(**fields | {"training.windows": windows}), tiny.data(), devices)
        for windows, devices in (("together", 1), ("apart", 8))
    )
    one, eight = one.train(2), eight.train(2)
    assert np.isfinite(one["loss"]).all() and (one["gradient_norm"] > 0).all()
    np.testing.assert_allclose(eight["loss"], one["loss"], rtol=1e-4)
    np.testing.assert_allclose(eight["gradient_norm"], one["gradient_norm"], rtol=1e-3)


@pytest.mark.slow
def test_a_trained_network_s_eyes_in_a_train_step(tmp_path):
    """Its weights are constants of the step, the same on every device."""
    path = str(tmp_path / "vgg.npz")
    np.savez(path, **random_vgg.state_dict())
    fields = {
        "loss.l2": 0.0,
        "loss.vgg_gram": 1.0,
        "loss.lpips": 1.0,
        "loss.settings.perceptual.files": (path,),
        "loss.settings.perceptual.red_green_blue": (0, 1, 1),
    }
    config = tiny.config(**NCA | fields)
    metrics = tiny.Run(config, tiny.data(shape=(16, 16)), devices=2).train(2)
    assert (metrics["loss"] > 0).all() and (metrics["gradient_norm"] > 0).all()
    assert metrics["loss"][0] != metrics["loss"][1]


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"loss.l2": 0.0}, "weights under loss"),
        ({"loss.channel_weights": (1.0, 2.0, 3.0)}, "loss.channel_weights .* 2 channels"),
        ({"loss.time_weights": (1.0,)}, "loss.time_weights .* 2 snapshots"),
        ({"loss.vgg_gram": 1.0}, "loss.settings.perceptual.files is empty"),
        (
            {"loss.lpips": 1.0, "loss.settings.perceptual.files": ("nowhere/vgg.pth",)},
            "no file of weights nowhere/vgg.pth",
        ),
        ({"loss.patches": 1.0}, "loss.settings.patches takes patches of 5 .* only 8"),
        (
            {"loss.multi_scale": 1.0, "loss.settings.multi_scale.scales": (1, 5)},
            "loss.settings.multi_scale.scales has 5",
        ),
    ],
    ids=str,
)
def test_what_does_not_suit_the_data_is_said_before_training(changes, hint):
    with pytest.raises(InputError, match=hint):
        build(**changes)


def test_unforced_windows_have_no_mask():
    _, loss = build()
    seen = Window(window().values, UNFORCED)
    assert np.isfinite(loss(states(), seen, KEY, {}))
