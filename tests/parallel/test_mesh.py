import jax
import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.parallel.mesh import DATA, SPREAD, fill_up, make_mesh, put


@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_mesh_has_the_devices_that_were_asked_for(count):
    mesh = make_mesh(count)
    assert mesh.shape == {DATA: count, "rows": 1, "columns": 1}
    assert list(mesh.devices) == jax.devices()[:count]


def test_minus_one_takes_all():
    assert make_mesh().shape[DATA] == make_mesh(-1).shape[DATA] == jax.device_count() == 8


@pytest.mark.parametrize("count", [0, -2, 9])
def test_other_counts_are_refused(count):
    with pytest.raises(InputError, match=f"^mesh.data is {count};.* 8 devices, .*1 to 8, or -1"):
        make_mesh(count)


def test_arrays_lie_everywhere_or_spread_by_their_first_axis():
    mesh, tree = make_mesh(4), {"a": np.arange(8.0), "b": np.ones((4, 3))}
    assert all(leaf.sharding.is_fully_replicated for leaf in put(tree, mesh).values())
    shards = put(tree, mesh, SPREAD)["a"].addressable_shards
    np.testing.assert_array_equal([shard.data for shard in shards], tree["a"].reshape(4, 2))


@pytest.mark.parametrize("devices", [1, 2, 4, 5, 8])
def test_a_batch_is_filled_up_with_copies_that_weigh_nothing(devices):
    values = np.random.default_rng(0).normal(size=(6, 3))
    batch = {"nested": {"values": values}, "index": np.arange(1, 7)}
    filled = fill_up(batch, devices)
    count = len(filled["weight"])
    assert count % devices == 0 and 6 <= count < 6 + devices
    np.testing.assert_array_equal(filled["weight"], [1] * 6 + [0] * (count - 6))
    assert filled["weight"].dtype == np.float32
    for found, given in (
        (filled["nested"]["values"], values),
        (filled["index"], batch["index"]),
    ):
        np.testing.assert_array_equal(found[:6], given)
        assert (found[6:] == given[0]).all()
    assert "weight" not in batch


def test_devices_that_share_evenly():
    assert [make_mesh(-1, shared=shared).size for shared in (0, 16, 12, 7, 3)] == [8, 8, 6, 7, 3]
    assert make_mesh(4, shared=6).size == 4
