"""Eight virtual devices for all tests, made before JAX is imported."""

import os

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
# See `diffpattern.main.start_up`: more threads than devices that wait for one another.
os.environ["NPROC"] = "32"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
