"""Eight virtual devices for all tests, made before JAX is imported.

What XLA has compiled is kept for all tests of a session, and the processes that they start.
"""

import gc
import os
import shutil
import tempfile

import compiling

os.environ["XLA_FLAGS"] = compiling.first_flags(devices=8)
# Both as in `diffpattern.main`: devices that wait for one another must not starve, nor LAPACK spin.
os.environ["NPROC"] = "32"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import many
import pytest

# Tracing makes objects by the million, nearly all of which live as long as their program.
gc.set_threshold(100_000, 50, 100)


def pytest_configure(config):
    """Gives XLA a folder for what it compiles; the workers have it from who starts them."""
    if not hasattr(config, "workerinput"):
        folder = tempfile.mkdtemp(prefix="diffpattern-compiled-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.fixture
def quick_compilation():
    """For programs that run for an instant: XLA spends no time on making them fast."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def free_port() -> int:
    """A port of this machine that nobody listens to."""
    return many.free_port()
