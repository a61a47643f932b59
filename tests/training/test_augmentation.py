import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from diffpattern.data.windows import Window
from diffpattern.errors import InputError
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.training.augmentation import Augmentation

KEYS = jax.random.split(jax.random.key(2), 12)
SHAPE = (6, 6)


def window(shape=SHAPE):
    """A window whose fields say of each cell where it was at first."""
    place = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    values = np.stack([np.stack([place, -place], -1) + 100 * t for t in range(3)])
    forcing = Forcing(
        time=jnp.float32(0), mask=jnp.asarray(place % 2), environment=jnp.asarray(place[None])
    )
    start = jnp.asarray(np.concatenate([values[0], 0.5 + place[..., None]], -1))
    return Window(jnp.asarray(values), forcing, None, start)


def belongs_together(changed, species=2):
    """All fields have been moved alike."""
    place = np.asarray(changed.forcing.environment[0])
    np.testing.assert_array_equal(changed.values[2, ..., 0], place + 200)
    np.testing.assert_array_equal(changed.values[1, ..., 1], 100 - place)
    np.testing.assert_array_equal(changed.forcing.mask, place % 2)
    np.testing.assert_array_equal(changed.start[..., 2], place + 0.5)
    return place


@pytest.mark.parametrize("shape", [(6, 6), (4, 6), (8,), (4, 4, 3)])
def test_shifts_and_turns_move_everything_alike_and_are_undone(shape):
    augmentation = Augmentation(shift=True, turn=True)
    seen = set()
    for key in KEYS:
        changed, undo = augmentation.apply(window(shape), Grid(shape), key)
        seen.add(belongs_together(changed).tobytes())
        np.testing.assert_array_equal(undo(changed.start), window(shape).start)
    assert len(seen) > 6


def test_turns_of_a_square_are_all_eight():
    turned = {
        np.asarray(
            Augmentation(turn=True).apply(window(), Grid(SHAPE), key)[0].start[..., 2]
        ).tobytes()
        for key in jax.random.split(KEYS[0], 100)
    }
    place = np.asarray(window().start[..., 2])
    all_eight = [np.rot90(x, k) for x in (place, place.T) for k in range(4)]
    assert turned == {np.ascontiguousarray(x).tobytes() for x in all_eight}


def test_a_crop_is_a_part_of_everything():
    corners = set()
    for key in KEYS:
        changed, _ = Augmentation(crop=3).apply(window(), Grid(SHAPE), key)
        place = belongs_together(changed)
        assert place.shape == (3, 3)
        np.testing.assert_array_equal(place - place[0, 0], [[0, 1, 2], [6, 7, 8], [12, 13, 14]])
        corners.add(float(place[0, 0]))
    assert len(corners) > 4
    grid = Augmentation(crop=3).cropped(Grid((6, 8), 0.5))
    assert grid.shape == (3, 3) and grid.spacing == (0.5, 0.5)


def test_damage_empties_a_disc_of_old_starts_in_all_channels():
    damaged = 0
    for key in KEYS:
        augmentation = Augmentation(damage=0.5)
        changed, _ = augmentation.apply(window((20, 20)), Grid((20, 20)), key, True)
        empty = np.asarray((changed.start == 0).all(-1))
        damaged += empty.any()
        rows, columns = np.nonzero(empty)
        if len(rows) > 4:  # as tall as wide, unless the lattice's edge cuts it
            assert empty.sum() >= 0.6 * (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        np.testing.assert_array_equal(changed.values, window((20, 20)).values)
        young, _ = augmentation.apply(window((20, 20)), Grid((20, 20)), key, jnp.array(False))
        np.testing.assert_array_equal(young.start, window((20, 20)).start)
    assert 2 <= damaged <= 10


@pytest.mark.parametrize(("on", "noisy"), [("all", 3), ("observed", 2), ("hidden", 1)])
def test_noise_is_on_the_channels_that_are_named(on, noisy):
    augmentation = Augmentation(noise=0.1, noise_on=on)
    changed, _ = augmentation.apply(window((40, 40)), Grid((40, 40)), KEYS[0])
    deviation = np.std(np.asarray(changed.start - window((40, 40)).start), axis=(0, 1))
    expected = {"all": [1, 1, 1], "observed": [1, 1, 0], "hidden": [0, 0, 1]}[on]
    np.testing.assert_allclose(deviation, 0.1 * np.array(expected), rtol=0.1)
    assert np.count_nonzero(deviation) == noisy


@pytest.mark.parametrize(
    ("fields", "grid", "complaint"),
    [
        ({"crop": 9}, Grid((12, 8)), "crop is 9 cells, but the lattice has only 8"),
        ({"shift": True}, Grid((8, 8), 1.0, ("circular", "zero")), "'circular'"),
        ({"turn": True}, Grid((8, 8), 1.0, ("circular", "zero")), "alike"),
        ({"turn": True}, Grid((8, 8), (1.0, 0.5)), "1 and 0.5 apart, but must be equally far"),
        ({"turn": True, "crop": 4}, Grid((6, 8), (1.0, 0.5)), "1 and 0.5 apart"),
    ],
)
def test_what_does_not_suit_the_lattice_is_refused(fields, grid, complaint):
    with pytest.raises(InputError, match=complaint):
        Augmentation(**fields).check(grid)


@pytest.mark.parametrize(
    "grid", [Grid((6, 8), (1.0, 0.5)), Grid((8, 8, 8), (1.0, 1.0, 0.5)), Grid((8,))]
)
def test_mirrors_suit_lattices_of_unequal_spacing(grid):
    Augmentation(turn=True).check(grid)


NCA = {
    "model.name": "nca", "model.nca.channels": 4, "model.nca.network.hidden": (8,),
    "model.nca.steps_per_interval": 3, "optimiser.name": "nadam", "training.batch": 4,
    "optimiser.optax.learning_rate": 0.01, "optimiser.optax.warmup_steps": 0,
}  # fmt: skip


@pytest.mark.usefixtures("quick_compilation")
def test_training_on_crops_is_training_on_smaller_data():
    run = tiny.Run(tiny.config(**NCA | {"augmentation.crop": 5}), tiny.data(), 2)
    losses = run.train(20)["loss"]
    assert np.isfinite(losses).all() and losses[-5:].mean() < losses[:5].mean()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"training.inner.steps": 2}, "training.inner.steps is about hidden channels"),
        (
            {"augmentation.noise": 0.1, "augmentation.noise_on": "hidden"},
            "augmentation.noise_on is about hidden channels",
        ),
    ],
)
def test_what_is_about_hidden_channels_needs_some(fields, told):
    config = tiny.config(**NCA | {"model.nca.channels": 2} | fields)
    with pytest.raises(InputError, match=told):
        tiny.Run(config, tiny.data(), 1)


@pytest.mark.parametrize("starts", ["data", "pool"])
@pytest.mark.usefixtures("quick_compilation")
def test_damage_is_done_to_data_and_to_slots_that_are_no_longer_fresh(starts):
    fields = NCA | {"training.starts": starts}
    whole, damaged = (
        tiny.Run(tiny.config(**fields | {"augmentation.damage": share}), tiny.data(), 1)
        for share in (0.0, 1.0)
    )
    first = [run.advance()["loss"] for run in (whole, damaged)]
    later = [run.train(5)["loss"][-1] for run in (whole, damaged)]
    assert (first[0] == first[1]) == (starts == "pool")
    assert later[0] != later[1]


@pytest.mark.usefixtures("quick_compilation")
def test_hidden_channels_of_a_start_are_fitted_to_what_follows():
    changes = NCA | {"model.nca.fire_rate": 1.0}
    fitted = changes | {"training.inner.steps": 5, "training.inner.rate": 0.2}
    plain, inner = (tiny.Run(tiny.config(**c), tiny.data(), 1) for c in (changes, fitted))
    # From the same parameters, in which hidden channels have begun to matter.
    plain.train(10)
    parameters = jax.tree.map(jnp.copy, plain.state.parameters)
    inner.state = dataclasses.replace(
        inner.state, parameters=parameters, step=jnp.copy(plain.state.step)
    )
    assert inner.advance()["loss"] < plain.advance()["loss"]
