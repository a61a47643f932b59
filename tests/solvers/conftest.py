"""Orders of convergence are read off errors far below single precision."""

import jax
import pytest


@pytest.fixture(autouse=True)
def double_precision(quick_compilation):
    with jax.enable_x64(True):
        yield
