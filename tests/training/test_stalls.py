"""A step that stalls ends the process, in a sentence; slow ones that are to be expected do not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from diffpattern.errors import UNAVAILABLE

ROOT = Path(__file__).parents[2]
# Ten quick steps, and then what a test adds.
STEPS = """
import time
from diffpattern.training.stalls import Stalls
with Stalls({factor}, least=0.5) as stalls:
    for step in range(1, 11):
        with stalls.step(step, kind="short"):
            time.sleep(0.02)
    {then}
print("done")
"""
STALL = "with stalls.step(11, kind='short'): print('stalls', flush=True); time.sleep({seconds})"


def start(then: str, factor: float = 5) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", STEPS.format(factor=factor, then=then)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def test_a_step_that_stalls_ends_the_process():
    process = start(STALL.format(seconds=60))
    out, told = process.communicate(timeout=30)
    assert process.returncode == UNAVAILABLE
    assert out == "stalls\n"
    assert told.startswith("diffpattern: Step 11 has been going on for 0.")
    assert told.endswith(".\n") and told.count("\n") == 1
    for word in ("median", "training.stall_factor is 5", ".stall_seconds 0.5", "--workdir"):
        assert word in told


@pytest.mark.parametrize(
    ("then", "factor"),
    [
        ("time.sleep(1.2)", 5),  # a checkpoint, say
        ("with stalls.step(11, kind='long'): time.sleep(1.2)", 5),  # which is compiled
        (STALL.format(seconds=0.3), 5),  # less than any step may take
        (STALL.format(seconds=1.2), 1000),
        (STALL.format(seconds=1.2), 0),
    ],
)
def test_what_is_slow_for_a_reason_does_not(then, factor):
    process = start(then, factor)
    out, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (0, "")
    assert out.endswith("done\n")


def test_neither_does_a_process_that_was_stopped_for_a_while():
    process = start(STALL.format(seconds=0.4))
    assert process.stdout.readline() == "stalls\n"
    process.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    process.send_signal(signal.SIGCONT)
    out, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (0, "")


# Two processes that add up numbers, of which one stops for ever.
SUMMING = """
import sys, time
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from diffpattern.training.stalls import Stalls
address, number = sys.argv[1], int(sys.argv[2])
jax.config.update("jax_num_cpu_devices", 1)
jax.distributed.initialize(address, 2, number, heartbeat_timeout_seconds=100)
mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,))
sharding = NamedSharding(mesh, PartitionSpec("data"))
state = jax.make_array_from_callback((2,), sharding, lambda index: np.ones(2)[index])
total = jax.jit(lambda x: x * 0 + x.mean(), out_shardings=sharding)
with Stalls(10, least=2) as stalls:
    for step in range(1, 100_000):
        with stalls.step(step):
            before, state = state, total(state)
            before.block_until_ready()
        if step == 20:
            print("ready", flush=True)
        time.sleep(0.01)
"""


def test_a_process_that_waits_for_another_ends(free_port):
    environment = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SUMMING, f"localhost:{free_port}", str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for number in range(2)
    ]
    try:
        for process in processes:
            assert "ready\n" in iter(process.stdout.readline, "")
        processes[1].send_signal(signal.SIGSTOP)
        told = processes[0].communicate(timeout=60)[1]
        assert processes[0].returncode == UNAVAILABLE
        assert "has been going on for 2" in told
    finally:
        for process in processes:
            process.kill()
            process.communicate()
