"""SIGTERM ends a process after the step that it is in, or at once; several processes together."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from diffpattern.errors import REQUEUE

ROOT = Path(__file__).parents[1]


# The main thread waits for ever, where no handler that is written in Python can run.
_STUCK = """
import ctypes, sys
from diffpattern import interruption
interruption.GRACE = 1
library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
library.pthread_mutex_lock(mutex)
with interruption.Interruption() as interruption, interruption.steps():
    for _ in range(int(sys.argv[1])):
        interruption.reached()
    print("ready", flush=True)
    library.pthread_mutex_lock(mutex)
"""


@pytest.fixture
def stuck():
    """A function that starts a process which has made so many steps and then got stuck."""
    started = []

    def start(steps: int) -> subprocess.Popen:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", _STUCK, str(steps)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
        )
        assert started[-1].stdout.readline() == "ready\n"
        time.sleep(0.5)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_main_thread_that_does_not_come_back_is_not_waited_for(stuck):
    process = stuck(0)
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=30)[1]
    assert process.returncode == REQUEUE
    assert told.startswith("diffpattern: Told to stop; ")


def test_a_step_is_waited_for_until_it_is_told_again(stuck):
    process = stuck(2)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3)
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=30)[1]
    assert process.returncode == REQUEUE
    assert told.startswith("diffpattern: Told to stop a second time; ")


_IN_A_CALLBACK = """
import os, signal, time, weakref
from diffpattern.interruption import Interruption
class Thing: pass
def callback(_):
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(1000):
        pass
with Interruption():
    thing = Thing()
    reference = weakref.ref(thing, callback)
    del thing
    time.sleep(60)
"""


def test_a_signal_that_comes_in_a_callback_is_not_lost():
    """As JAX has many; Python drops what is raised there."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _IN_A_CALLBACK], capture_output=True, text=True, cwd=ROOT, timeout=50
    )
    assert done.stderr.splitlines()[-1].startswith("diffpattern.errors.StopSignal: Told to stop; ")
    assert "ignored" not in done.stderr
    assert done.returncode == 1  # nobody catches it here
    assert time.monotonic() - began < 45


# What `train` does, in as few lines, over several processes.
_STEPPING = """
import sys, time
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from diffpattern.errors import REQUEUE, StopSignal
from diffpattern.interruption import Interruption
address, number, first = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
jax.config.update("jax_num_cpu_devices", 1)
jax.distributed.initialize(address, 2, number, heartbeat_timeout_seconds=30)
mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,))
sharding = NamedSharding(mesh, PartitionSpec("data"))
state = jax.make_array_from_callback((2,), sharding, lambda index: np.ones(2)[index])
total = jax.jit(lambda x: x * 0 + x.mean(), out_shardings=sharding)
try:
    with Interruption() as interruption, interruption.steps():
        for step in range(first + 1, first + 10_000):
            state = total(state)
            stops = interruption.reached()
            if step == first + 20:
                print("ready", flush=True)
            if stops:
                state.block_until_ready()
                raise StopSignal(f"stopped after {step}")
            time.sleep(0.01)
except StopSignal as stop:
    print(stop, flush=True)
    sys.exit(REQUEUE)
"""


@pytest.mark.parametrize("told", [[0], [1], [0, 1]])
def test_all_processes_stop_at_the_same_step_whichever_is_told(free_port, told):
    environment = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    # As a run that goes on from step 700, where JAX by itself would never stop.
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _STEPPING, f"localhost:{free_port}", str(number), "700"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for number in range(2)
    ]
    for process in processes:
        assert "ready\n" in iter(process.stdout.readline, "")  # Gloo has something to say before
    for number in told:
        processes[number].send_signal(signal.SIGTERM)
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [REQUEUE] * 2
    assert outputs[0] == outputs[1]
    assert outputs[0].startswith("stopped after 7")
