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
from diffpattern.parallel.mesh import SPREAD, make_mesh, on_mesh, put
from diffpattern.training.pool import Pool

KEY = jax.random.key(4)
SNAPSHOTS, SPAN = 6, 2


def whole(places=None, trajectories=1):
    """For each place trajectories of one species on four cells; snapshot t holds the number t, and
    1000 more in each further trajectory, whose first time is 10 later."""
    number = np.arange(trajectories, dtype=np.float32)
    values = np.arange(SNAPSHOTS, dtype=np.float32) + 1000 * number[:, None]
    values = np.broadcast_to(values[..., None, None], (*values.shape, 4, 1))
    of_place = Window(jnp.asarray(values), Forcing(time=jnp.asarray(100.0 + 10 * number)))
    if places is None:
        return of_place
    return jax.tree.map(lambda array: jnp.broadcast_to(array, (places, *array.shape)), of_place)


def complete(species, key):
    """One hidden channel, which is -1 where a slot has just begun."""
    return jnp.concatenate([species, jnp.full_like(species, -1.0)], axis=-1)


def make(**fields):
    return Pool(span=SPAN, interval=8.0, complete=complete, grid=Grid((1,)), **fields)


def started(pool, windows=3):
    return pool.start(whole(windows), jax.random.split(KEY, windows))


def slot(pool, window=0, windows=3):
    return jax.tree.map(lambda x: x[window], started(pool, windows))


def steps(pool, count, index=0, lost=False):
    """The lattice's two numbers, position and age after each of some steps of a rule that adds
    0.25 to the species and 10 to the hidden channel."""
    slots, rows = slot(pool), []
    for key in jax.random.split(KEY, count):
        which, window, _ = pool.take(slots, whole(), key)
        end = window.start + jnp.array([0.25, 10.0])
        slots = pool.put_back(slots, which, end, whole(), key, index, jnp.array(lost))
        rows.append([*slots.lattice[0, 0], slots.position[0], slots.age[0]])
    return np.array(rows)


def test_a_window_begins_where_its_slot_stands():
    pool = make()
    slots = slot(pool).replace(position=jnp.array([3]), age=jnp.array([7]))
    which, window, age = pool.take(slots, whole(), KEY)
    assert which == 0 and age == 7
    np.testing.assert_array_equal(window.values[:, 0, 0], [3, 4, 5])
    assert float(window.forcing.time) == 100.0 + 3 * 8.0
    np.testing.assert_array_equal(window.start, slots.lattice[0])


def test_slots_move_along_with_what_the_rule_makes_of_them_and_begin_anew_at_the_end():
    # The last window of 2 intervals begins at 3; from there, 5 would be left.
    np.testing.assert_allclose(
        steps(make(), 4), [[0.25, 9, 2, 1], [0, -1, 0, 0], [0.25, 9, 2, 1], [0, -1, 0, 0]]
    )


def test_slots_may_stay_at_the_end():
    np.testing.assert_allclose(
        steps(make(at_end="stay"), 3), [[0.25, 9, 2, 1], [0.5, 19, 4, 2], [0.75, 29, 5, 3]]
    )


def test_windows_that_go_beyond_the_last_snapshot_have_it_again():
    pool = make(at_end="stay")
    slots, data = slot(pool), whole()
    for expected in ([0, 1, 2], [2, 3, 4], [4, 5, 5], [5, 5, 5]):
        window = pool.take(slots, data, KEY)[1]
        np.testing.assert_array_equal(window.values[:, 0, 0], expected)
        slots = pool.put_back(slots, 0, window.start, data, KEY, 0, jnp.array(False))


def test_the_species_of_every_other_trajectory_are_set_to_the_data():
    pool = make(at_end="stay", refresh_every=2)
    np.testing.assert_allclose(steps(pool, 3, index=4)[1:], [[4, 19, 4, 2], [4.25, 29, 5, 3]])
    np.testing.assert_allclose(steps(pool, 2, index=3), [[0.25, 9, 2, 1], [0.5, 19, 4, 2]])


def test_slots_stay_as_they_were_unless_they_advance():
    """A slot that has just begun is spared damage however often it is tried."""
    np.testing.assert_allclose(steps(make(advance=0.0), 2), [[0, -1, 0, 0]] * 2)


def test_slots_leave_their_last_window_when_they_advance_and_not_before():
    pool = make(advance=0.5)
    before, here = slot(pool).replace(position=jnp.array([2]), age=jnp.array([1])), whole()
    put_back = lambda key: pool.put_back(before, 0, before.lattice[0] + 1, here, key, 0, False)
    after = jax.vmap(put_back)(jax.random.split(KEY, 40))
    stayed = after.position[:, 0] == 2
    assert 5 < stayed.sum() < 35
    np.testing.assert_array_equal(after.age[stayed, 0], 1)
    np.testing.assert_array_equal(after.position[~stayed, 0], 0)
    np.testing.assert_array_equal(after.age[~stayed, 0], 0)


def test_those_that_are_lost_or_not_finite_begin_anew():
    np.testing.assert_allclose(steps(make(at_end="stay"), 2, lost=True), [[0, -1, 0, 0]] * 2)
    pool = make()
    end = jnp.full((4, 2), jnp.nan)
    after = pool.put_back(slot(pool), 0, end, whole(), KEY, 0, jnp.array(False))
    assert jnp.isfinite(after.lattice).all() and after.age[0] == 0


def test_slots_begin_in_all_trajectories_of_their_place_and_go_on_in_them():
    pool, data = make(slots=60, at_end="stay", reset=0.3), whole(1, trajectories=3)
    slots = pool.start(data, jax.random.split(KEY, 1))
    slots, data = (jax.tree.map(lambda array: array[0], tree) for tree in (slots, data))
    counts = np.bincount(slots.trajectory, minlength=3)
    assert len(counts) == 3 and (counts > 8).all()
    np.testing.assert_array_equal(slots.lattice[:, 0, 0], 1000 * slots.trajectory)
    begun = 0
    for key in jax.random.split(KEY, 40):
        which, window, _ = pool.take(slots, data, key)
        trajectory, position = int(slots.trajectory[which]), int(slots.position[which])
        last = data.values.shape[1] - 1
        expected = 1000 * trajectory + np.minimum(position + np.arange(SPAN + 1), last)
        np.testing.assert_array_equal(window.values[:, 0, 0], expected)
        assert float(window.forcing.time) == 100 + 10 * trajectory + 8 * position
        slots = pool.put_back(slots, which, window.start, data, key, 0, jnp.array(False))
        if slots.age[which] == 0:
            begun += int(slots.trajectory[which]) != trajectory
        else:
            assert slots.trajectory[which] == trajectory
    assert begun > 3


@pytest.mark.parametrize("begin", ["uniform", "log"])
def test_where_slots_begin(begin):
    slots = started(make(slots=200, begin=begin), 2)
    np.testing.assert_array_equal(slots.lattice[..., 0, 0], slots.position)
    counts = np.bincount(np.ravel(slots.position), minlength=4)
    assert len(counts) == 4 and (counts > 0).all()  # the last begins 2 before the end
    shares = counts / counts.sum()
    edges = np.arange(5) / 4 if begin == "uniform" else np.log1p(np.arange(5)) / np.log(5)
    np.testing.assert_allclose(shares, np.diff(edges), atol=0.08)


def test_resets_come_with_their_probability():
    ages = steps(make(at_end="stay", reset=0.3), 200)[:, 3]
    assert np.mean(ages == 0) == pytest.approx(0.3, abs=0.1)


def test_the_worst_of_the_whole_batch_are_lost_on_any_number_of_devices():
    losses = jnp.array([3.0, 9.0, 1.0, jnp.nan, 7.0, 0.0, 2.0, 5.0])
    pool = make(replace_worst=3)
    for devices in (1, 8):
        mesh = make_mesh(devices)
        spread = jax.jit(on_mesh(pool.lost, mesh, (SPREAD, SPREAD), SPREAD))
        lost = spread(put(losses, mesh, SPREAD), put(jnp.ones(8), mesh, SPREAD))
        np.testing.assert_array_equal(np.flatnonzero(lost), [1, 3, 4])
        # Of equal ones, which a rule without chance makes of equal slots, no more than asked for.
        equal = spread(put(jnp.ones(8), mesh, SPREAD), put(jnp.ones(8), mesh, SPREAD))
        np.testing.assert_array_equal(np.flatnonzero(equal), [0, 1, 2])


NCA = {
    "model.name": "nca", "model.nca.channels": 4, "model.nca.network.hidden": (8,),
    "model.nca.steps_per_interval": 3, "optimiser.name": "nadam", "training.batch": 8,
    "training.starts": "pool", "training.pool.slots": 2, "training.pool.reset": 0.2,
    "training.pool.replace_worst": 1, "training.pool.refresh_every": 2,
    "training.pool.begin": "log", "training.windows": "apart",
    "augmentation.damage": 0.5, "augmentation.noise": 0.01, "augmentation.shift": True,
    "augmentation.turn": True, "optimiser.optax.learning_rate": 0.01,
    "optimiser.optax.warmup_steps": 0,
}  # fmt: skip


@pytest.mark.slow
def test_training_with_a_pool_is_the_same_on_every_number_of_devices():
    runs = {devices: tiny.Run(tiny.config(**NCA), tiny.data(), devices) for devices in (1, 8)}
    losses = {devices: run.train(12)["loss"] for devices, run in runs.items()}
    np.testing.assert_allclose(losses[8], losses[1], atol=1e-5 * losses[1][0])
    one, eight = (jax.device_get(run.state.pool[0]) for run in runs.values())
    np.testing.assert_array_equal(eight.position, one.position)
    np.testing.assert_allclose(eight.lattice, one.lattice, atol=1e-4)
    # Each device keeps the slots of its own windows, and slots have moved on.
    shards = runs[8].state.pool[0].lattice.addressable_shards
    assert {shard.data.shape for shard in shards} == {(1, 2, 8, 8, 4)} and len(shards) == 8
    assert one.age.max() > 0 and np.abs(one.lattice[..., 2:]).max() > 0


def test_a_pool_that_the_devices_cannot_share_is_refused():
    config = tiny.config(**NCA | {"training.batch": 6})
    with pytest.raises(InputError, match=r"training\.batch is 6, .* multiple of the 4 devices"):
        tiny.Run(config, tiny.data(), 4)
    config = tiny.config(**NCA | {"training.pool.replace_worst": 8})
    with pytest.raises(InputError, match="less than training.batch, 8"):
        tiny.Run(config, tiny.data(), 1)


def test_slots_begin_with_something_that_was_seen():
    known = jnp.ones((2, 1, SNAPSHOTS, 1)).at[0, 0, jnp.array([0, 2])].set(0)
    windows = dataclasses.replace(whole(2), known=known)
    slots = make(slots=60, begin="uniform").start(windows, jax.random.split(KEY, 2))
    assert set(np.ravel(slots.position[0])) == {1, 3}
    assert set(np.ravel(slots.position[1])) == {0, 1, 2, 3}
    first = make().start(windows, jax.random.split(KEY, 2))
    np.testing.assert_array_equal(first.position[:, 0], [1, 0])


def test_slots_begin_where_a_window_follows_and_something_is_seen_some_day():
    known = jnp.zeros((3, 1, SNAPSHOTS, 1))
    for place, seen in enumerate([[0, 1, 5], [1, 4], [3, 5]]):
        known = known.at[place, 0, jnp.array(seen)].set(1)
    windows = dataclasses.replace(whole(3), known=known)
    slots = make(slots=60, begin="uniform").start(windows, jax.random.split(KEY, 3))
    assert [set(of_place) for of_place in np.asarray(slots.position)] == [{0, 1}, {1}, {3}]
