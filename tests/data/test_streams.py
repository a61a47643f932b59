"""Batches of windows: the same from files as from memory, and the same again after a stop."""

import dataclasses
import json
import os
import threading

import h5py
import hdf5_files
import jax
import numpy as np
import pytest

from diffpattern.data import environment, streams
from diffpattern.data.hdf5 import PDEBench, TheWell
from diffpattern.data.stored import StoredTrajectories, index
from diffpattern.data.streams import Sampling
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.parallel.placement import Share

N, T = 6, 17
VALUES = hdf5_files.numbered(N, T)


def stored_the_well(tmp_path, **options):
    scalars = {"F": np.arange(float(N))}
    fields = {"A": VALUES, "B": -VALUES}
    path = hdf5_files.the_well(tmp_path / "well.hdf5", fields, scalars=scalars)
    return index([path], TheWell(inputs=("F",)), **options)


def stored_pdebench(tmp_path, **options):
    path = hdf5_files.pdebench(tmp_path / "bench.h5", VALUES.transpose(0, 1, 3, 2)[..., None])
    return index([path], PDEBench(("u",)), **options)


def sampling(**changes):
    return Sampling(**{"seed": 3, "count": 5, "window": 2, "sampling": "log"} | changes)


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("store", [stored_the_well, stored_pdebench])
@pytest.mark.parametrize("options", [{}, {"every": 3}])
def test_files_and_memory_give_the_same_batches(tmp_path, store, options):
    stored = store(tmp_path, **options)
    for chosen in (sampling(), sampling(sampling="uniform", window=1, count=9)):
        stream, memory = (streams.batches(source, chosen) for source in (stored, stored.read()))
        drawn = [stream.draw(step) for step in range(8)]
        for step, batch in enumerate(drawn):
            assert_same(batch, memory.draw(step))
    assert len({batch["window"].values.tobytes() for batch in drawn}) == 8


def test_what_cells_see_is_the_same_too(tmp_path):
    stored = stored_the_well(tmp_path)
    stream = streams.batches(stored.seeing(("coordinates",)), sampling())
    memory = streams.batches(environment.added(stored.read(), ("coordinates",)), sampling())
    assert stream.draw(0)["window"].forcing.environment.shape == (5, 4, 5, 6)
    for step in range(1, 3):
        assert_same(stream.draw(step), memory.draw(step))


@pytest.mark.parametrize(
    ("count", "trajectories"),
    [
        (2, [[0, 2, 4], [1, 3, 5]]),
        (4, [[0, 4], [1, 5], [2, 0], [3, 1]]),
        (8, [[0], [1], [2], [3], [4], [5], [0], [1]]),
    ],
)
def test_a_pool_has_all_trajectories_in_memory(tmp_path, count, trajectories):
    stored = stored_the_well(tmp_path)
    whole, memory = (streams.Whole(source, count) for source in (stored, stored.read()))
    assert_same(whole.draw(0), memory.draw(0))
    assert_same(whole.draw(3), whole.draw(0))
    window = whole.draw(0)["window"]
    np.testing.assert_array_equal(window.values, stored.read().values[np.array(trajectories)])
    np.testing.assert_array_equal(window.forcing.inputs[..., 0], trajectories)


def test_a_pool_of_more_than_memory_holds_is_refused(tmp_path, monkeypatch):
    stored = stored_the_well(tmp_path)
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 1}.get(name, stored.bytes - 1))
    with pytest.raises(InputError, match=r"training.starts='pool' keeps .*well\.hdf5"):
        streams.Whole(stored, 2)


@pytest.mark.parametrize("stop", [0, 1, 4])
def test_a_stream_goes_on_where_its_state_was_kept(tmp_path, stop):
    stored = stored_the_well(tmp_path)
    whole, first = (streams.batches(stored, sampling()) for _ in range(2))
    expected = [whole.draw(step) for step in range(7)]
    for step in range(stop):
        first.draw(step)
    kept = json.loads(json.dumps(first.state()))
    first.draw(stop)  # what came after the checkpoint is lost
    second = streams.batches(stored, sampling())
    second.restore(kept)
    for step in range(stop, 7):
        assert_same(second.draw(step), expected[step])


def test_what_was_read_ahead_is_no_part_of_the_state(tmp_path):
    stored = stored_the_well(tmp_path)
    stream = streams.batches(stored, sampling())
    started, drawn = stream.state(), stream.draw(0)
    stream.restore(started)
    assert_same(stream.draw(0), drawn)


def test_memory_has_no_state(tmp_path):
    memory = streams.batches(stored_the_well(tmp_path).read(), sampling())
    later = memory.draw(5)
    assert memory.state() == {}
    memory.restore({})
    assert_same(memory.draw(5), later)


def test_steps_come_in_their_order(tmp_path):
    stream = streams.batches(stored_the_well(tmp_path), sampling())
    stream.draw(0)
    with pytest.raises(ValueError, match="step 2 was asked for, but the stream stands at 1"):
        stream.draw(2)


def test_windows_are_read_ahead_in_another_thread_and_only_a_few(tmp_path, monkeypatch):
    stored = stored_the_well(tmp_path)
    read, seen = StoredTrajectories.snapshots, []
    ahead = threading.Event()

    def spy(self, *place):
        seen.append(threading.current_thread().name)
        if len(seen) == 3 * 5:
            ahead.set()
        return read(self, *place)

    monkeypatch.setattr(StoredTrajectories, "snapshots", spy)
    stream = streams.batches(stored, sampling())
    assert not seen
    stream.draw(0)
    assert ahead.wait(timeout=30)
    assert len(seen) <= (1 + streams._READ_AHEAD) * 5
    assert threading.current_thread().name not in seen


def test_not_a_number_is_told_by_the_step_that_would_take_it(tmp_path):
    stored = stored_the_well(tmp_path)
    with h5py.File(stored.places[0][0], "r+") as file:
        file["t0_fields/A"][:, 9:] = np.nan
    stream = streams.batches(stored, sampling(sampling="uniform", count=2))
    with pytest.raises(InputError, match=r"well\.hdf5 has NaN or infinite values in trajectory"):
        stream.draw(0)


def test_a_file_that_is_gone_is_told(tmp_path):
    stored = stored_the_well(tmp_path)
    (tmp_path / "well.hdf5").unlink()
    with pytest.raises(InputError, match=r"well\.hdf5 cannot be read"):
        streams.batches(stored, sampling()).draw(0)


def test_statistics_are_taken_from_the_sample_or_from_everything(tmp_path):
    stored = stored_the_well(tmp_path)
    assert streams.sample(stored) is stored.sample
    everything = stored.read()
    assert streams.sample(everything) is everything


@pytest.mark.parametrize("chosen", [[0, 1], [3, 4, 0], [2]])
def test_a_process_reads_its_own_windows_alone(tmp_path, monkeypatch, chosen):
    stored, chosen = stored_the_well(tmp_path), np.array(chosen)
    # From memory: another stream would read ahead among the reads that are counted.
    whole = streams.batches(stored.read(), sampling())
    read, snapshots = [], StoredTrajectories.snapshots

    def noted(self, which, first, count):
        read.append((which, first))
        return snapshots(self, which, first, count)

    monkeypatch.setattr(StoredTrajectories, "snapshots", noted)
    stream = streams.batches(stored, sampling(), chosen)
    for step in range(2):
        expected = jax.tree.map(lambda array: array[chosen], whole.draw(step))
        assert_same(stream.draw(step), expected)
    assert len(read) <= (2 + streams._READ_AHEAD) * len(chosen)
    memory = streams.batches(stored.read(), sampling(), chosen)
    assert_same(memory.draw(1), jax.tree.map(lambda array: array[chosen], whole.draw(1)))


def test_a_process_keeps_the_trajectories_of_its_own_places(tmp_path, monkeypatch):
    stored = stored_the_well(tmp_path)
    whole = streams.Whole(stored, 4).draw(0)
    read, snapshots = [], StoredTrajectories.snapshots

    def noted(self, which, first, count):
        read.append(self.places[which])
        return snapshots(self, which, first, count)

    monkeypatch.setattr(StoredTrajectories, "snapshots", noted)
    for source in (stored, stored.read()):
        read.clear()
        own = streams.Whole(source, 4, np.array([2, 3])).draw(0)
        assert_same(own, jax.tree.map(lambda array: array[[2, 3]], whole))
        if source is stored:
            assert sorted(read) == [stored.places[which] for which in (0, 1, 2, 3)]


def test_batches_of_several_sizes_know_their_places_and_weights(tmp_path):
    stored = stored_the_well(tmp_path)
    share = Share.of(5, 3, range(2, 3))
    parts = [streams.batches(stored.read(), sampling(), share.places) for _ in range(2)]
    first, second = streams.OfEachSize(parts, share).draw(0)
    np.testing.assert_array_equal(first["index"], [4, 0])
    np.testing.assert_array_equal(second["index"], [9, 5])
    for part in (first, second):
        np.testing.assert_array_equal(part["weight"], [1.0, 0.0])
        assert len(part["window"].values) == 2


CELLS = slice(2, 4), slice(1, 4)


@pytest.mark.parametrize("store", [stored_the_well, stored_pdebench])
def test_of_blocks_only_their_cells_are_read(tmp_path, monkeypatch, store):
    stored = store(tmp_path).seeing(("coordinates",))
    part, memory = stored.of_cells(CELLS), stored.read()
    own = streams.batches(part, sampling()).draw(0)["window"]
    whole = streams.batches(memory, sampling()).draw(0)["window"]
    np.testing.assert_array_equal(own.values, whole.values[:, :, 2:4, 1:4])
    seen = own.forcing.environment
    np.testing.assert_array_equal(seen, whole.forcing.environment[..., 2:4, 1:4])
    assert part.snapshots(0, 3, 4).shape == (4, 2, 3, len(stored.species))
    assert part.bytes == stored.bytes * 6 // 30
    assert_same(streams.batches(memory.of_cells(CELLS), sampling()).draw(0)["window"], own)
    pools = [streams.Whole(source, 4).draw(0) for source in (part, memory.of_cells(CELLS))]
    assert_same(*pools)


def test_cells_of_masked_trajectories_keep_their_mask(tmp_path):
    memory = stored_the_well(tmp_path).read()
    mask = (np.arange(30).reshape(5, 6) % 4 > 0).astype(np.float32)
    masked = dataclasses.replace(memory, mask=np.broadcast_to(mask, (N, 5, 6)))
    part = masked.of_cells(CELLS)
    np.testing.assert_array_equal(part.mask, masked.mask[:, 2:4, 1:4])
    np.testing.assert_array_equal(part.values, masked.values[:, :, 2:4, 1:4])
    assert masked.of_cells((slice(0, 5), slice(0, 6))) is masked


def test_a_pool_keeps_the_trajectories_that_show_something_after_their_beginning():
    known = np.ones((3, 4, 1))
    known[0, 1:] = known[2, :3] = 0
    values = np.broadcast_to(np.arange(3.0)[:, None, None, None], (3, 4, 4, 1))
    data = Trajectories(values + 1, np.arange(4.0), ("u",), Grid(4), known=known)
    batch = streams.Whole(data, 2, window=1).draw(0)
    assert batch["window"].values.shape == (2, 1, 4, 4, 1)
    assert (batch["window"].values[:, :, 0] == 2).all()
