"""Derivatives are compared in double precision."""

import jax
import pytest


@pytest.fixture(autouse=True)
def double_precision(quick_compilation):
    with jax.enable_x64(True):
        yield
