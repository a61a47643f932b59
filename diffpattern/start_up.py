"""Settings of the process: what it logs, and its devices, before JAX starts any of them."""

import logging as std_logging
import os
import re
from pathlib import Path

import jax
from absl import logging
from ml_collections import ConfigDict

from diffpattern.parallel import processes


def start_up(config: ConfigDict, virtual: int = 0) -> None:
    """Prepares the process for a run of a checked config; a user's XLA_FLAGS and NPROC win.

    Args:
      config: of the run.
      virtual: so many devices of the processor are all there is to be, even beside accelerators; 0:
        those of the machine.

    One of several processes has joined the others by now. Only the first one tells of what goes on.
    """
    logging.set_verbosity(logging.INFO if processes.is_first() else logging.WARNING)
    logging.get_absl_handler().addFilter(_is_for_the_user)
    jax.config.update("jax_default_matmul_precision", config.matmul_precision)
    affinity = getattr(os, "sched_getaffinity", lambda _: set(range(os.cpu_count())))
    cores = processes.cores(affinity(0))
    chosen = re.search(
        r"xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", "")
    )
    if virtual:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", devices := virtual)
    elif chosen:
        devices = int(chosen[1])
    else:
        share = lambda count: -(-count // processes.count())
        blocks = config.mesh.rows * config.mesh.columns
        # Blocks are asked for, whatever there are of cores.
        devices = config.mesh.cpu_devices or (
            virtual_devices(cores, share(config.training.batch))
            if blocks == 1
            else share(blocks * max(config.mesh.data, 1))
        )
        jax.config.update("jax_num_cpu_devices", devices)
    # XLA has as many threads as there are cores. A device that waits for the others in a sum holds
    # one of them, so with as many virtual devices none may be left for the last to arrive.
    os.environ.setdefault("NPROC", str(4 * max(cores, devices)))


def virtual_devices(cores: int, batch: int) -> int:
    """How many CPU devices to make: the fewest that share a batch as fast as all cores would.

    A step takes as long as the device with the most windows: 16 windows on 12 cores need two rounds
    whatever is done, and 8 devices suffice for that.
    """
    rounds = -(-batch // cores)
    return -(-batch // rounds)


def _is_for_the_user(record: std_logging.LogRecord) -> bool:
    """Whether a line of log is this package's, or a warning of another.

    Orbax logs a failed save with its traceback, which `training.checkpoints` tells in a sentence.
    """
    ours = str(Path(__file__).parent)
    if record.pathname.startswith(ours):
        return True
    return record.levelno >= std_logging.WARNING and f"{os.sep}orbax{os.sep}" not in record.pathname
