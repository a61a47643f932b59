"""In which precision a run computes: single, or double where its config asks for that."""

import contextlib
from collections.abc import Iterator

import jax
import numpy as np
from ml_collections import ConfigDict

# What the field `precision` may be; whether JAX is to know double precision.
PRECISIONS = {"float32": False, "float64": True}


def real() -> np.dtype:
    """The type of all real numbers of a run, data and parameters alike."""
    return jax.dtypes.canonicalize_dtype(float)


@contextlib.contextmanager
def of_config(config: ConfigDict) -> Iterator[None]:
    """JAX computes as the config of a run asks for, and as before afterwards."""
    double = PRECISIONS[config.precision]
    with jax.default_matmul_precision(config.matmul_precision), jax.enable_x64(double):
        yield
