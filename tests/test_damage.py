"""Whatever happens to the newest checkpoints of a run, it goes on from one that is intact."""

import os
import random
import shutil

import jax
import numpy as np
import pytest
from absl import logging
from tiny_runs import POOL, run

from diffpattern import evaluate
from diffpattern.training.checkpoints import Checkpoints

pytestmark = pytest.mark.slow

WAYS = 20


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """The folder of the checkpoints of a run with a pool, and what is asked for to go on."""
    path, asked = tmp_path_factory.mktemp("damaged"), []
    resume = Checkpoints.resume

    def note(self, *templates):
        asked.append(templates)
        return resume(self, *templates)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "evaluate", lambda folder: {})
        patch.setattr(Checkpoints, "resume", note)
        run(path / "data", path / "run", **POOL)
    # Shapes alone: what is in the arrays was handed on to the train step.
    return path / "run" / "checkpoints", jax.eval_shape(lambda: asked[0])


def bits(restored):
    def one(leaf):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        return np.asarray(leaf).tobytes()

    return [one(leaf) for leaf in jax.tree.leaves((restored.parameters, restored.training_state))]


def flip(path, chance):
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def truncate(path, chance):
    os.truncate(path, chance.randrange(path.stat().st_size))


def empty(path, chance):
    os.truncate(path, 0)


def remove(path, chance):
    path.unlink()


def files_of(step):
    """Of one checkpoint, files that matter: those with the arrays, and those that describe them."""
    arrays = [
        max((step / item).rglob("ocdbt.process_0/d/*"), key=lambda path: path.stat().st_size)
        for item in ("parameters", "training_state")
    ]
    names = ("manifest.ocdbt", "_METADATA")
    others = [step / item / name for item in ("parameters", "training_state") for name in names]
    return arrays, [*others, step / "metadata" / "metadata"]


def test_twenty_ways_to_damage_checkpoints(checkpoints, tmp_path, monkeypatch):
    folder, templates = checkpoints
    with Checkpoints(folder) as intact:
        steps = intact.steps()
        expected = {step: intact.restore(*templates, step=step) for step in steps}
    assert steps == [2, 4, 6]
    warned, noticed, chance = [], 0, random.Random(0)
    monkeypatch.setattr(logging, "warning", lambda text, *values: warned.append(text % values))
    for way in range(WAYS):
        copy = tmp_path / str(way)
        shutil.copytree(folder, copy)
        # The newest, or the two newest, each in one way.
        victims = steps[::-1][: 1 + way % 2]
        for victim in victims:
            harm = (flip, flip, truncate, empty, remove)[chance.randrange(5)]
            arrays, others = files_of(copy / str(victim))
            harm(chance.choice(chance.choice((arrays, others))), chance)
        warned.clear()
        with Checkpoints(copy) as damaged:
            restored = damaged.resume(*templates)
        assert bits(restored) == bits(expected[restored.step])
        assert restored.metadata == expected[restored.step].metadata
        passed = [step for step in steps if step > restored.step]
        assert set(passed) <= set(victims)
        assert len(warned) == len(passed)
        for step in passed:
            assert any(str(copy / str(step)) in text for text in warned)
        noticed += bool(passed)
    # A byte may be one that nobody asks for.
    assert noticed >= 0.7 * WAYS
