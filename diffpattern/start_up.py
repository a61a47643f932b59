"""Settings of the process: what it logs, and its devices, before JAX starts any of them."""

import contextlib
import hashlib
import logging as std_logging
import os
import platform
import re
from pathlib import Path

import jax
import jaxlib
from absl import logging
from ml_collections import ConfigDict

from diffpattern.files import cache_folder
from diffpattern.parallel import processes
from diffpattern.precision import PRECISIONS

# Seconds that a program takes to compile from which on it is kept. Many are compiled in an instant.
_WORTH_KEEPING = 0.2


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
    jax.config.update("jax_enable_x64", PRECISIONS[config.precision])
    keep_compiled(config.compilation_cache)
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


def keep_compiled(folder: str) -> None:
    """Has JAX keep what XLA compiles, each kind of processor and version of XLA by itself.

    Programs for a processor have instructions that another one may not know, which ends the process
    that runs them; and home folders are shared by machines.

    Args:
      folder: the field `compilation_cache`.
    """
    if folder == "none":
        jax.config.update("jax_enable_compilation_cache", False)
    elif folder or not jax.config.jax_compilation_cache_dir:
        kept = Path(folder).expanduser() if folder else cache_folder() / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(kept / _processor()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _WORTH_KEEPING)


def _processor() -> str:
    """A digest of what programs are compiled for and by."""
    described = [platform.machine(), platform.processor(), jaxlib.__version__]
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        described += sorted({line for line in lines if line.startswith(("flags", "Features"))})
    return hashlib.sha256("\n".join(described).encode()).hexdigest()[:16]


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
