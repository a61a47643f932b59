"""Checkpoints of several processes come back in any number of them, or are damaged for all."""

import hashlib
import json
import random
import shutil

import jax
import many
import numpy as np
import pytest
from jax.sharding import NamedSharding
from spread_state import values

from diffpattern.parallel.mesh import SPREAD, make_mesh
from diffpattern.training.checkpoints import Checkpoints, _sha256

HEADER = """
import sys
import numpy as np
from spread_state import spread, values
from diffpattern.parallel import placement, processes
from diffpattern.parallel.mesh import make_mesh, put
"""

SAVE = (
    HEADER
    + """
import jax
from diffpattern.training.checkpoints import Checkpoints
mesh = make_mesh()
overwrite = jax.jit(lambda tree: jax.tree.map(lambda x: x * 0 - 1, tree), donate_argnums=0)
with Checkpoints(sys.argv[1]) as checkpoints:
    for step in (1, 2):
        weights, slots = values(step)
        state = spread(slots, mesh)
        checkpoints.save(step, put(weights, mesh), state, {"by": processes.count()}, float(step))
        for _ in range(3):
            state = overwrite(state)
processes.leave()
"""
)
RESTORE = (
    HEADER
    + """
import json
import logging
import jax
from absl import logging as absl_logging
from diffpattern.training.checkpoints import Checkpoints
absl_logging.set_verbosity(absl_logging.WARNING)
mesh = make_mesh()
templates = [jax.tree.map(lambda x: x * 0, tree) for tree in (
    put(values(0)[0], mesh), spread(values(0)[1], mesh))]
with Checkpoints(sys.argv[1]) as checkpoints:
    best = checkpoints.best
    restored = checkpoints.resume(*templates)
    weights, slots = values(restored.step)
    found = {name: placement.fetch(array) for name, array in (
        *restored.parameters.items(), *restored.training_state.items())}
    for name, array in (weights | slots).items():
        assert np.array_equal(found[name], array), name
        assert found[name].dtype == array.dtype
    for name, template in templates[1].items():
        assert restored.training_state[name].sharding == template.sharding
    checkpoints.save(restored.step + 5, restored.parameters, restored.training_state, {})
    steps = checkpoints.steps()
processes.leave()
print(json.dumps({"step": restored.step, "best": best, "steps": steps}))
"""
)


HARMS = "truncate", "remove", "record"


def ended_well(ended):
    assert [one.code for one in ended] == [0] * len(ended), "".join(one.errors for one in ended)
    return ended


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A folder with checkpoints 1 and 2 of two processes with two devices each."""
    folder = tmp_path_factory.mktemp("pristine") / "checkpoints"
    ended_well(many.of_script(SAVE, 2, folder, devices=2))
    return folder


@pytest.fixture
def folder(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "checkpoints")


def restored_here(folder, devices: int = 8, of: int = 2):
    """Restores in this process, checks that all is that of step `of`, and returns the step."""
    sharding = NamedSharding(make_mesh(devices), SPREAD)
    like = lambda tree: jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
    )
    with Checkpoints(folder) as checkpoints:
        restored = checkpoints.resume(values(0)[0], like(values(0)[1]))
    for found, expected in zip(
        (restored.parameters, restored.training_state), values(of), strict=True
    ):
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)
    return restored.step


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_one_process_restores_what_two_have_saved(folder, devices):
    assert restored_here(folder, devices) == 2


def test_the_record_is_that_of_one_process(folder, tmp_path):
    with Checkpoints(tmp_path / "alone") as checkpoints:
        weights, slots = values(2)
        checkpoints.save(2, weights, slots, {"by": 2}, 2.0)
    records = [
        json.loads((path / "2" / "metadata" / "metadata").read_text())
        for path in (folder, tmp_path / "alone")
    ]
    assert records[0] == records[1]


@pytest.mark.parametrize(("count", "devices"), [(2, 1), pytest.param(4, 1, marks=pytest.mark.slow)])
def test_other_numbers_of_processes_restore_and_go_on(folder, count, devices):
    ended = ended_well(many.of_script(RESTORE, count, folder, devices=devices))
    for one in ended:
        assert json.loads(one.output.splitlines()[-1]) == {"step": 2, "best": 1, "steps": [1, 2, 7]}
        assert "Passing over" not in one.errors


def test_two_processes_restore_what_one_has_saved(tmp_path):
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, *values(step), {}, 1.0)
    ended = ended_well(many.of_script(RESTORE, 2, tmp_path / "checkpoints", devices=2))
    for one in ended:
        assert json.loads(one.output.splitlines()[-1])["step"] == 2


def test_records_with_the_digests_of_before_are_restored_and_compared(folder):
    """As they were written when a checkpoint had one process, which took SHA-256 of all bytes."""
    path = folder / "2" / "metadata" / "metadata"
    record = json.loads(path.read_text())
    for item, tree in zip(("parameters", "training_state"), values(2), strict=True):
        for name, leaf in record["leaves"][item].items():
            del leaf["digest"]
            leaf["sha256"] = _sha256(name, tree[name])
    del record["digest"]
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(record | {"digest": digest}))
    assert restored_here(folder) == 2
    ended = ended_well(many.of_script(RESTORE, 2, folder, devices=2))
    assert all(json.loads(one.output.splitlines()[-1])["step"] == 2 for one in ended)


@pytest.mark.parametrize(
    "harm", ["flip", *(pytest.param(harm, marks=pytest.mark.slow) for harm in HARMS)]
)
def test_damage_is_passed_over_by_all(folder, harm):
    """In the largest file, which holds one process's slots, or in the record."""
    newest = folder / "2"
    files = [path for path in newest.rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    assert "training_state" in largest.parts
    content = bytearray(largest.read_bytes())
    if harm == "flip":
        content[random.Random(3).randrange(len(content) // 4, len(content) // 2)] ^= 4
        largest.write_bytes(content)
    elif harm == "truncate":
        largest.write_bytes(content[: len(content) // 2])
    elif harm == "remove":
        largest.unlink()
    else:
        (newest / "metadata" / "metadata").write_text("{}")
    ended = ended_well(many.of_script(RESTORE, 2, folder, devices=2))
    for one in ended:
        assert json.loads(one.output.splitlines()[-1])["step"] == 1
        assert "which is damaged" in one.errors and str(newest) in one.errors
    assert (folder / "damaged-2-1").is_dir()
    assert restored_here(folder, of=1) == 6


def test_arrays_that_differ_between_processes_are_not_saved(tmp_path):
    """Copies of a spread array that are not alike would restore as one or the other."""
    script = (
        HEADER
        + """
import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from diffpattern.training.checkpoints import Checkpoints
mesh = jax.make_mesh((2, 2), ("data", "rows"), axis_types=(AxisType.Auto,) * 2)
sharding = NamedSharding(mesh, PartitionSpec("rows"))
host = np.arange(4.0) + processes.number()
array = jax.make_array_from_callback((4,), sharding, lambda index: host[index])
with Checkpoints(sys.argv[1]) as checkpoints:
    try:
        checkpoints.save(1, {}, {"a": array}, {})
    except RuntimeError as error:
        print("refused:", error)
processes.leave()
"""
    )
    ended = ended_well(many.of_script(script, 2, tmp_path / "checkpoints", devices=2))
    assert all("refused: A checkpoint could not be written" in one.output for one in ended)
    assert not (tmp_path / "checkpoints" / "1").exists()
