"""Arrays of real numbers out of what a person or another program hands over."""

import numpy as np
from jax import dtypes
from numpy.typing import ArrayLike, DTypeLike

from diffpattern.errors import InputError


def array(given: ArrayLike, name: str, dtype: DTypeLike) -> np.ndarray:
    """What is given as an array of finite real numbers.

    Args:
      given: numbers, or an array of them by numpy or what it understands.
      name: of what is given, for messages.
      dtype: of the result.

    Raises:
      InputError: it is anything else, or some of its entries are masked.
    """
    sentence = f"{name} must be an array of real numbers, but"
    if np.ma.is_masked(given):
        raise InputError(f"{sentence} some of its entries are masked; fill them in.")
    try:
        numbers = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(given).__name__
        raise InputError(f"{sentence} numpy makes none of this {kind}.") from error
    if numbers.dtype == object:
        found = "has entries" if numbers.size and numbers.ndim else "is"
        kind = type(numbers.flat[0] if numbers.size else given).__name__
        raise InputError(f"{sentence} {found} of the type {kind}.")
    # bfloat16 and its like are of no kind that numpy itself knows.
    if numbers.dtype.kind not in "biuf" and not dtypes.issubdtype(numbers.dtype, np.floating):
        raise InputError(f"{sentence} is of the type {numbers.dtype.name}.")
    with np.errstate(over="ignore"):
        made = numbers.astype(dtype, copy=False)
    if not np.isfinite(made).all():
        beyond = np.isfinite(numbers).all()
        which = f"beyond {made.dtype.name}" if beyond else "infinite or NaN"
        raise InputError(f"{name} must be finite, but some numbers in it are {which}.")
    return made
