"""Digests of arrays that no process need have as a whole.

An array's digest is a sum over its elements,

    sum over i of mix(bits of x[i] + (i + 1) golden + seed)   modulo 2^64,

where i counts the elements in their order and the seed comes of what the array is called, its type
and its shape. So the parts of any cutting of an array add up to the same digest, whoever has them;
and a change of any single element always changes it, since `mix` maps no two words to one. Several
changes cancel out by chance once in 2^64 times; nothing here stands against intent.

Source: `mix` is the finaliser of SplitMix64: Steele, Lea and Flood, OOPSLA 2014.
"""

import hashlib
import json
import math
from collections.abc import Sequence

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)
# Elements that are gone through at once, so that what is needed beside them stays in a cache.
_PORTION = 2**16
_WORDS = 2**64


def part(
    name: str, values: np.ndarray, shape: Sequence[int] = (), starts: Sequence[int] = ()
) -> int:
    """What some of an array's elements add to its digest.

    Args:
      name: what the array is called.
      values: a block of it.
      shape: of the whole array; empty: the block is the whole.
      starts: of each axis, where the block begins.

    Returns:
      A number below 2^64; the digest is the sum of those of all blocks, modulo 2^64.
    """
    shape = tuple(shape) or values.shape
    starts = tuple(starts) or (0,) * len(shape)
    described = json.dumps([name, str(values.dtype), shape]).encode()
    seed = np.frombuffer(hashlib.sha256(described).digest()[:8], "<u8")
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    # Where each row of the block lies, a row being what its last axis has.
    values = np.ascontiguousarray(values)
    length = values.shape[-1] if values.ndim else 1
    rows = np.zeros(values.shape[:-1], np.uint64)
    for axis, size in enumerate(values.shape[:-1]):
        places = (starts[axis] + np.arange(size, dtype=np.uint64)) * np.uint64(strides[axis])
        rows += places.reshape((-1,) + (1,) * (rows.ndim - axis - 1))
    inside = np.uint64(starts[-1] if starts else 0) + np.arange(length, dtype=np.uint64)
    rows, words = rows.reshape(-1), _words(values).reshape(-1, length)
    total, each = 0, max(1, _PORTION // max(length, 1))
    for first in range(0, len(words), each):
        among = slice(first, first + each)
        total += _sum(words[among], rows[among, None] + inside, seed)
    return total % _WORDS


def written(total: int) -> str:
    """A digest as it is kept."""
    return f"{total % _WORDS:016x}"


def _sum(words: np.ndarray, places: np.ndarray, seed: np.ndarray) -> int:
    z = places
    z += np.uint64(1)
    z *= _GOLDEN
    z += seed
    z += words
    return int(np.add.reduce(_mixed(z), axis=None))


def _mixed(z: np.ndarray) -> np.ndarray:
    """Mixes the bits of each word; in the array that is given."""
    for shift, factor in zip(_SHIFTS, _FACTORS, strict=False):
        z ^= z >> shift
        z *= factor
    z ^= z >> _SHIFTS[-1]
    return z


def _words(values: np.ndarray) -> np.ndarray:
    """The bits of each element as a whole number; those of a long one folded into 64."""
    size = values.dtype.itemsize
    flat = values.reshape(-1)
    if size <= 8:
        return flat.view(f"u{size}")
    halves = flat.view("u8").reshape(len(flat), -1)
    return halves[:, 0] + _mixed(halves[:, 1].copy())
