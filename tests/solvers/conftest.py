"""Orders of convergence are read off errors far below single precision.

Programs here run for an instant, so XLA is told to spend no time on making them fast.
"""

import jax
import pytest


@pytest.fixture(autouse=True)
def double_precision_and_quick_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    with jax.enable_x64(True):
        yield
    jax.config.update("jax_disable_most_optimizations", False)
