"""VGG16's features against what PyTorch, torchvision and lpips gave for the same weights."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import random_vgg

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.training.losses import Context, perceptual

pytestmark = pytest.mark.usefixtures("quick_compilation")

REFERENCE = Path(__file__).parent / "torch" / "reference.npz"
FIRST, SECOND = random_vgg.pictures(1), random_vgg.pictures(2)
CONTEXT = Context(Grid(FIRST.shape[1:3]))
RGB = (0, 1, 2)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A file with random weights of the shapes of VGG16 and LPIPS."""
    path = tmp_path_factory.mktemp("weights") / "vgg16.npz"
    np.savez(path, **random_vgg.state_dict(random_vgg.WIDTHS))
    return path


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """A file with random weights of a network as deep and less wide."""
    path = tmp_path_factory.mktemp("weights") / "narrow.npz"
    np.savez(path, **random_vgg.state_dict())
    return path


@pytest.fixture(scope="module")
def reference():
    return np.load(REFERENCE)


def distance(loss, network, prediction=FIRST, truth=SECOND, context=CONTEXT):
    function = jax.jit(
        lambda p, t, context: loss(p, t, context, network=network, red_green_blue=RGB)
    )
    return float(function(prediction, truth, context))


def test_gram_distances_are_those_of_pytorch(full, reference):
    network = perceptual.load([full], "vgg_gram")
    expected = pytest.approx(reference["vgg_gram"], rel=1e-4)
    assert distance(perceptual.vgg_gram, network) == expected
    smaller = random_vgg.pictures(3, (2, 24, 32, 3))
    expected = pytest.approx(reference["vgg_gram_of_another_size"], rel=1e-4)
    assert distance(perceptual.vgg_gram, network, truth=smaller) == expected
    means = [np.mean(features) for features in jax.jit(lambda x: network(x))(FIRST)]
    assert means == pytest.approx(reference["means"][::2], rel=1e-4)


def test_lpips_is_that_of_its_authors(full, reference):
    network = perceptual.load([full], "lpips")
    assert distance(perceptual.lpips, network) == pytest.approx(reference["lpips"], rel=1e-4)
    features = jax.jit(lambda x: network(x))(FIRST)
    assert [np.mean(f) for f in features] == pytest.approx(reference["means"][1::2], rel=1e-4)
    assert features[-1][0, 0, 0, :8] == pytest.approx(reference["deepest"], rel=1e-3, abs=1e-4)


def test_gram_matrices_are_blind_to_place_and_lpips_sees_it(narrow):
    gram, similarity = (perceptual.load([narrow], name) for name in ("vgg_gram", "lpips"))
    # Periodic stripes, moved by the four halvings' 16 cells: only the frame of zeros around the
    # picture tells, and in the middle of a wide one it is far.
    waves = np.sin(2 * np.pi * np.arange(96) / 16)[None, :, None, None]
    stripes = np.broadcast_to(0.5 + 0.5 * waves, (1, 96, 96, 3)).astype(np.float32)
    context = Context(Grid((96, 96)))
    values = {}
    for name, other in {
        "same": stripes,
        "moved": np.roll(stripes, 8, 1),
        "turned": np.swapaxes(stripes, 1, 2),
        "flat": np.full_like(stripes, 0.5),
    }.items():
        values[name] = (
            distance(perceptual.vgg_gram, gram, stripes, other, context),
            distance(perceptual.lpips, similarity, stripes, other, context),
        )
    assert values["same"] == pytest.approx((0.0, 0.0), abs=1e-9)
    assert values["moved"][0] < 0.05 * min(values["turned"][0], values["flat"][0])
    assert values["moved"][1] > 0.3 * values["flat"][1]
    assert values["flat"][1] > 0.01


@pytest.mark.parametrize("name", ["vgg_gram", "lpips"])
def test_gradients_are_finite_even_where_all_features_are_zero(narrow, name):
    network = perceptual.load([narrow], name)
    # Without biases every feature of a picture of the mean colour is zero.
    without = jax.tree.map(lambda x: x if x.ndim > 1 else jnp.zeros_like(x), network.parameters)
    bare = perceptual.Network(network.features, without, network.linear)
    picture = jnp.broadcast_to(jnp.array([0.485, 0.456, 0.406]), (1, 16, 16, 3))
    assert max(float(jnp.abs(features).max()) for features in bare(picture)) == 0.0

    def loss(prediction):
        function = getattr(perceptual, name)
        context = Context(Grid((16, 16)))
        return function(prediction, picture, context, network=bare, red_green_blue=RGB)

    assert np.isfinite(jax.jit(jax.grad(loss))(picture)).all()


@pytest.mark.parametrize("name", ["vgg_gram", "lpips"])
def test_only_what_is_shown_known_and_inside_counts(narrow, name):
    network, grid = perceptual.load([narrow], name), Grid((16, 16))
    first, second = (random_vgg.pictures(seed, (2, 16, 16, 4)) for seed in (1, 2))
    everywhere, all_alike = jnp.ones((16, 16)), jnp.ones((2, 4))
    compiled = jax.jit(
        functools.partial(getattr(perceptual, name), network=network, red_green_blue=(1, 1, 2))
    )

    def value(prediction, truth, mask=everywhere, weight=all_alike):
        return float(compiled(prediction, truth, Context(grid, weight=weight, mask=mask)))

    plain = value(first, second)
    assert plain > 1e-3
    # Channels 0 and 3 are not shown.
    assert value(first * np.float32([9, 1, 1, 9]), second) == pytest.approx(plain)
    # The second channel of the first snapshot was not seen.
    unseen, weight = second.copy(), all_alike.at[0, 1].set(0.0)
    unseen[0, ..., 1] = 7.0
    hidden = value(first, second, weight=weight)
    assert value(first, unseen, weight=weight) == pytest.approx(hidden)
    assert value(first, unseen) > 1.2 * plain
    # The first snapshot counts nothing.
    first_changed, weight = first.copy(), all_alike.at[0].set(0.0)
    first_changed[0] += 1.0
    assert value(first_changed, second, weight=weight) == pytest.approx(
        value(first, second, weight=weight)
    )
    # What lies outside of the mask does not count.
    elsewhere, mask = first.copy(), everywhere.at[:, 8:].set(0.0)
    elsewhere[:, :, 8:] += 1.0
    assert value(elsewhere, second, mask) == pytest.approx(value(first, second, mask))


@pytest.mark.parametrize(
    ("shape", "red_green_blue", "hint"),
    [
        ((15, 32), RGB, "pictures of 16 x 16 cells or more, but the lattice has 15 x 32"),
        ((64,), RGB, "but the lattice has 64"),
        ((16, 16), (0, 1, 3), r"red_green_blue is \(0, 1, 3\).* three channels out of 3"),
        ((16, 16), (0, 1), "three channels"),
    ],
)
def test_lattices_that_are_no_pictures_are_refused(narrow, shape, red_green_blue, hint):
    network = perceptual.load([narrow], "lpips")
    x = jnp.zeros((1, *shape, 3))
    with pytest.raises(InputError, match=hint):
        perceptual.lpips(x, x, Context(Grid(shape)), network=network, red_green_blue=red_green_blue)


def test_several_files_are_taken_together(tmp_path, narrow):
    arrays = random_vgg.state_dict()
    linear = {name: array for name, array in arrays.items() if name.startswith("lin")}
    convolutions = {name: array for name, array in arrays.items() if name not in linear}
    np.savez(tmp_path / "vgg.npz", **convolutions)
    np.savez(tmp_path / "lin.npz", **linear)
    apart = perceptual.load([tmp_path / "vgg.npz", tmp_path / "lin.npz"], "lpips")
    together = perceptual.load([narrow], "lpips")
    assert distance(perceptual.lpips, apart) == distance(perceptual.lpips, together)
    perceptual.load([tmp_path / "vgg.npz"], "vgg_gram")
    with pytest.raises(InputError, match=r"vgg.npz, where there is no lin0.model.1.weight"):
        perceptual.load([tmp_path / "vgg.npz"], "lpips")


@pytest.mark.parametrize(
    ("changed", "hint"),
    [
        ({"features.7.bias": None}, "where there is no features.7.bias"),
        (
            {"features.5.weight": np.zeros((4, 9, 3, 3))},
            r"shape \(4, 9, 3, 3\), .*\(any, 4, 3, 3\)",
        ),
        ({"features.0.bias": np.zeros(9)}, r"features.0.bias has the shape \(9,\)"),
        ({"lin4.model.1.weight": np.zeros((1, 9, 1, 1))}, r"lin4.model.1.weight has the shape"),
        (
            {"features.2.bias": np.full(4, np.nan)},
            "features.2.bias has numbers that are not finite",
        ),
    ],
    ids=lambda value: str(value)[:20],
)
def test_files_that_hold_another_network_are_refused(tmp_path, changed, hint):
    arrays = random_vgg.state_dict() | changed
    path = tmp_path / "other.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(InputError, match=hint) as error:
        perceptual.load([path], "lpips")
    assert str(path) in str(error.value) and str(error.value).endswith(".")


def test_no_file_is_an_error_that_says_where_to_name_one():
    with pytest.raises(InputError, match="loss.lpips takes .* loss.settings.perceptual.files is"):
        perceptual.load((), "lpips")
