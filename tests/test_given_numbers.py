"""What is no array of finite real numbers is refused in a sentence that names it."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern import given_numbers
from diffpattern.errors import InputError


@pytest.mark.parametrize(
    "given",
    [
        [1, 2],
        (1.0, np.float32(2.0)),
        range(1, 3),
        jnp.array([1.0, 2.0], jnp.bfloat16),
        [jnp.float32(1.0), 2],
        np.ma.array([1.0, 2.0], mask=[False, False]),
    ],
    ids=str,
)
def test_numbers_are_taken_as_numpy_takes_them(given):
    made = given_numbers.array(given, "x0", np.float32)
    assert type(made) is np.ndarray and made.dtype == np.float32
    np.testing.assert_array_equal(made, [1.0, 2.0])


def test_what_has_the_type_is_not_copied():
    given = np.ones(3, np.float32)
    assert given_numbers.array(given, "x0", np.float32) is given


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["a"], "real numbers, but is of the type str"),
        ([[1], [1, 2]], "real numbers, but numpy makes none of this list"),
        ([1.0, 1j], "real numbers, but is of the type complex"),
        ((i for i in range(2)), "real numbers, but is of the type generator"),
        (None, "real numbers, but is of the type NoneType"),
        ([Fraction(1, 2)], "real numbers, but has entries of the type Fraction"),
        ([10**400], "real numbers, but has entries of the type int"),
        (np.array(["1970-01-01"], np.datetime64), "real numbers, but is of the type datetime"),
        (jax.random.key(0), "real numbers, but numpy makes none of this"),
        (np.ma.array([1.0, 2.0], mask=[False, True]), "real numbers, but some .* masked; fill"),
        ([np.inf], "finite, but some numbers in it are infinite or NaN"),
        ([np.nan], "finite, but some numbers in it are infinite or NaN"),
        (np.array([1e300]), "finite, but some numbers in it are beyond float32"),
    ],
)
def test_what_else_there_is_is_refused(given, told):
    with pytest.raises(InputError, match=f"^x0 must be .*{told}"):
        given_numbers.array(given, "x0", np.float32)
