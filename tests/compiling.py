"""How XLA compiles in tests, and in the processes that they start.

Tests compile much and run little. XLA's older emitters of loops, with each program in one piece and
LLVM's first level of optimisation, need a third of the time for the one, and somewhat more for the
other. What a user would start keeps XLA's own choices.
"""

import os
import re
import subprocess
import sys

_DEVICES = "--xla_force_host_platform_device_count="
_QUICKLY = (
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1 "
    "--xla_backend_optimization_level=1"
)


def first_flags(devices: int) -> str:
    """The XLA_FLAGS for a session of tests, before JAX is imported.

    A worker of pytest has them from who started it. A JAX that does not know the flags would end
    the process, and does without.
    """
    given = os.environ.get("XLA_FLAGS", "")
    if "PYTEST_XDIST_WORKER" in os.environ:
        return given
    known = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"],
        env=os.environ | {"XLA_FLAGS": _QUICKLY, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
    )
    quickly = _QUICKLY if known.returncode == 0 else ""
    return f"{given} {_DEVICES}{devices} {quickly}".strip()


def flags(devices: int) -> str:
    """The XLA_FLAGS for a process that is to have so many devices and to compile as this one."""
    return re.sub(rf"{_DEVICES}\d+", f"{_DEVICES}{devices}", os.environ["XLA_FLAGS"])
