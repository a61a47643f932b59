"""Eight virtual devices for all tests, made before JAX is imported."""

import os

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
# Both as in `diffpattern.main`: devices that wait for one another must not starve, nor LAPACK spin.
os.environ["NPROC"] = "32"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import pytest


@pytest.fixture
def quick_compilation():
    """For programs that run for an instant: XLA spends no time on making them fast."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
