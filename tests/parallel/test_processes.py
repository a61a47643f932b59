"""Processes that find one another, what each holds, and how all end when one has to."""

import json

import many
import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.parallel import processes
from diffpattern.parallel.mesh import fill_up
from diffpattern.parallel.placement import Share
from diffpattern.parallel.processes import Place


def test_flags_give_a_place():
    assert processes.of_flags("a.b:1234", 3, 2) == Place("a.b:1234", 3, 2)
    assert processes.of_flags(None, None, None) is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("a:1", 2, None), ["--coordinator and --processes", "without --process;"]),
        ((None, None, 0), ["--process came without --coordinator and --processes"]),
        (("a", 2, 0), ["--coordinator is 'a'", "port"]),
        ((":1", 2, 0), ["--coordinator is ':1'"]),
        (("a:x", 2, 0), ["--coordinator is 'a:x'"]),
        (("a:70000", 2, 0), ["--coordinator is 'a:70000'"]),
        (("a:1", 0, 0), ["--processes is 0"]),
        (("a:1", 2, 2), ["--process is 2", "0 to 1"]),
        (("a:1", 2, -1), ["--process is -1"]),
    ],
)
def test_flags_that_cannot_be_are_refused(flags, words):
    with pytest.raises(InputError) as error:
        processes.of_flags(*flags)
    assert all(word in str(error.value) for word in words)


JAX = {"JAX_NUM_PROCESSES": "4", "JAX_COORDINATOR_ADDRESS": "a:1"}


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, None),
        (JAX | {"JAX_PROCESS_ID": "3"}, Place("a:1", 4, 3)),
        (JAX | {"JOB_COMPLETION_INDEX": "1"}, Place("a:1", 4, 1)),
        ({"JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}, None),
        ({"JOB_COMPLETION_INDEX": "1", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}, None),
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, "Slurm"),
        ({"SLURM_STEP_NUM_TASKS": "1"}, None),
        ({"SLURM_NTASKS": "2", "SLURM_JOB_ID": "1"}, None),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "1"}, "Cloud TPU"),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, None),
        ({"TPU_WORKER_HOSTNAMES": "localhost", "MEGASCALE_NUM_SLICES": "2"}, "Cloud TPU"),
    ],
)
def test_an_environment_with_several_processes_is_recognised(environment, place):
    assert processes.of_environment(environment) == place


@pytest.mark.parametrize("missing", ["JAX_COORDINATOR_ADDRESS", "JAX_PROCESS_ID"])
def test_an_environment_that_tells_half_of_it_is_refused(missing):
    environment = JAX | {"JAX_PROCESS_ID": "0"}
    del environment[missing]
    with pytest.raises(InputError, match="JAX_NUM_PROCESSES came without"):
        processes.of_environment(environment)


@pytest.mark.parametrize("count", [1, 3, 4, 7, 8])
@pytest.mark.parametrize(("devices", "each"), [(4, 1), (4, 2), (8, 2), (2, 2)])
def test_shares_put_together_are_the_batch_filled_up(count, devices, each):
    filled = fill_up({"item": np.arange(count)}, devices)
    parts = [
        Share.of(count, devices, range(first, first + each)) for first in range(0, devices, each)
    ]
    np.testing.assert_array_equal(np.concatenate([part.places for part in parts]), filled["item"])
    weights = np.concatenate([part.weight for part in parts])
    np.testing.assert_array_equal(weights, filled["weight"])
    assert weights.dtype == np.float32
    whole = Share.of(count, devices)
    np.testing.assert_array_equal(whole.places, filled["item"])


AGREE = """
import json
import sys
import jax
import numpy as np
from diffpattern.errors import InputError
from diffpattern.parallel import placement, processes
from diffpattern.parallel.mesh import DATA, SPREAD, held_cells, make_mesh, put
me = processes.number()
told = {"said": processes.gather(f"I am {me}"), "first": processes.from_first({"a": me})}
told["cores"] = [processes.cores({0, 1, 2, 3}), processes.cores({2 * me, 2 * me + 1})]
made = sys.argv[1] + "/made"
with processes.first_goes_first():
    if me == 0:
        open(made, "w").write("whole")
    told["made"] = open(made).read()
mesh = make_mesh()
told["held"] = list(placement.held(mesh, DATA))
share = placement.Share.of(3, mesh.size, placement.held(mesh, DATA))
spread = placement.lay_share({"place": share.places}, mesh, SPREAD)["place"]
told["own"] = share.places.tolist()
told["fetched"] = placement.fetch(spread).tolist()
told["put"] = placement.fetch(put(np.arange(8.0), mesh, SPREAD) + put(1.0, mesh)).tolist()
for data, shared in ((3, 0), (1, 0), (-1, 3), (6, 0)):
    try:
        make_mesh(data, shared=shared)
    except InputError as error:
        told[f"{data} {shared}"] = str(error)
told["half"] = [device.process_index for device in make_mesh(2).devices.flat]
told["even"] = make_mesh(-1, shared=6).size
cut = make_mesh(1, 4)
told["cut"] = [device.process_index for device in cut.devices.flat]
lattices = np.arange(24.0).reshape(3, 8)
spec = jax.sharding.PartitionSpec(DATA, "rows")
(rows,) = held_cells(cut, (8,))
told["rows"] = [rows.start, rows.stop]
cells = placement.lay_share({"x": lattices[:, rows]}, cut, {"x": spec})["x"]
told["cells"] = [shard.data.shape for shard in cells.addressable_shards]
told["whole"] = bool((placement.fetch(cells) == lattices).all())
cut = make_mesh(1, 2, 2)
told["block"] = [[part.start, part.stop] for part in held_cells(cut, (4, 6, 5))]
processes.require_same("answer", 42, "ask again")
try:
    processes.require_same("answer", 42 + me, "ask again")
except InputError as error:
    told["differs"] = str(error)
processes.leave()
print(json.dumps(told))
"""


def test_processes_agree_and_hold_what_their_devices_need(tmp_path):
    ended = many.of_script(AGREE, 2, tmp_path, devices=2)
    assert [one.code for one in ended] == [0, 0], ended[0].errors + ended[1].errors
    told = [json.loads(one.output.splitlines()[-1]) for one in ended]
    for number, one in enumerate(told):
        assert one["said"] == ["I am 0", "I am 1"]
        assert one["first"] == {"a": 0}
        assert one["cores"] == [2, 2]
        assert one["made"] == "whole"
        assert one["held"] == [2 * number, 2 * number + 1]
        assert one["own"] == [[0, 1], [2, 0]][number]
        assert one["fetched"] == [0, 1, 2, 0]
        assert one["put"] == list(range(1, 9))
        assert "mesh.data is 3" in one["3 0"] and "2 processes" in one["3 0"]
        assert "mesh.data is 1" in one["1 0"]
        assert "training.batch is 3" in one["-1 3"] and "2 processes" in one["-1 3"]
        assert "mesh.data is 6" in one["6 0"] and "4 devices" in one["6 0"]
        assert one["half"] == [0, 1]
        assert one["even"] == 2
        assert one["cut"] == [0, 0, 1, 1]
        assert one["rows"] == [4 * number, 4 * number + 4]
        assert one["cells"] == [[3, 2], [3, 2]] and one["whole"]
        assert one["block"] == [[2 * number, 2 * number + 2], [0, 6], [0, 5]]
        assert one["differs"] == "Process 1 has another answer than process 0; ask again."


END = """
import sys
import time
from diffpattern.parallel import processes
if processes.number() == int(sys.argv[1]):
    time.sleep(0.5)
    processes.end_all("The data are not there; look for them.", 2)
processes.gather("never heard")
print("went on")
"""


@pytest.mark.parametrize("number", [0, 2])
def test_one_that_has_to_end_ends_all(number):
    ended = many.of_script(END, 3, number)
    assert [one.code for one in ended] == [2, 2, 2]
    errors = "".join(one.errors for one in ended)
    assert errors.count("diffpattern: The data are not there; look for them.\n") == 1
    assert ended[number].errors.count("diffpattern: ") == 1
    assert "Traceback" not in errors and "Check failure" not in errors
    assert not any("went on" in one.output for one in ended)


def test_processes_that_do_not_come_are_not_waited_for_in_vain():
    script = (
        "from diffpattern.parallel import processes\n"
        "processes.JOINING = 2\n"
        f"processes.join(processes.Place('localhost:{many.free_port()}', 2, 1))\n"
    )
    with many.Started([many.Python(["-c", script], devices=1)]) as started:
        (ended,) = started.ended()
    assert ended.code == 2
    assert ended.errors.count("\n") == 1
    assert "Not all of the 2 processes at localhost:" in ended.errors
