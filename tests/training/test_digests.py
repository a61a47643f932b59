"""Digests add up over any cutting of an array, and change with whatever changes in it."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.training import digests

TYPES = ["bool", "int8", "uint16", "bfloat16", "float32", "float64", "complex64", "complex128"]


def array(dtype: str, shape=(6, 5, 4)) -> np.ndarray:
    values = np.random.default_rng(1).normal(size=shape) > 0.2
    numbers = np.random.default_rng(2).integers(-9, 9, shape)
    return np.asarray(values if dtype == "bool" else numbers).astype(jnp.dtype(dtype))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("cuts", [(1, 1, 1), (2, 1, 1), (3, 5, 2), (6, 1, 4)])
def test_parts_add_up_however_an_array_is_cut(dtype, cuts):
    values = array(dtype)
    whole, total = digests.part("x", values), 0
    each = [size // count for size, count in zip(values.shape, cuts, strict=True)]
    for place in itertools.product(*map(range, cuts)):
        starts = [number * size for number, size in zip(place, each, strict=True)]
        block = tuple(slice(s, s + size) for s, size in zip(starts, each, strict=True))
        total += digests.part("x", values[block], values.shape, starts)
    assert digests.written(total) == digests.written(whole)


def test_parts_are_the_same_however_much_is_gone_through_at_once(monkeypatch):
    values = array("float32", (70, 33))
    whole = digests.part("x", values)
    for portion in (1, 40, 100):
        monkeypatch.setattr(digests, "_PORTION", portion)
        assert digests.part("x", values) == whole


@pytest.mark.parametrize("dtype", TYPES[1:])
def test_every_bit_counts(dtype):
    values = array(dtype, (3, 2))
    found = {digests.part("x", values)}
    flat = values.reshape(-1).view(np.uint8)
    for byte, bit in itertools.product(range(len(flat)), range(8)):
        flat[byte] ^= 1 << bit
        found.add(digests.part("x", values))
        flat[byte] ^= 1 << bit
    assert len(found) == 1 + 8 * len(flat)


def test_place_name_type_and_shape_count():
    values = np.arange(6, dtype=np.float32)
    others = [
        digests.part("x", values),
        digests.part("y", values),
        digests.part("x", values[::-1]),
        digests.part("x", values.reshape(2, 3)),
        digests.part("x", values.view(np.int32)),
        digests.part("x", np.append(values, 0.0).astype(np.float32)),
        digests.part("x", np.zeros(6, np.float32)),
        digests.part("x", np.zeros(5, np.float32)),
    ]
    assert len(set(others)) == len(others)


def test_numbers_alone_and_nothing_at_all_have_digests():
    assert digests.part("x", np.asarray(3.0)) != digests.part("x", np.asarray(4.0))
    assert digests.written(digests.part("x", np.zeros((0, 3)))) == "0" * 16
