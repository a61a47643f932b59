"""Files of trained weights, read without the library that wrote them.

A state dict of PyTorch is a mapping from dotted names to tensors. It comes as

* `.npz`, an array for each name;
* `.safetensors`: a little-endian length in 8 bytes, a header of that length in JSON, raw numbers;
* `.pth` or `.pt`, as `torch.save` writes it: a pickle of descriptions of tensors, which names the
  storages that hold their numbers. The numbers are members of a zip archive or, as before
  PyTorch 1.6, follow the pickle. What unpickles here can make dictionaries and tensors of floating
  point numbers and calls nothing else, so that a file cannot run code.
"""

import collections
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from diffpattern.errors import InputError

_SAFETENSORS_TYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
_STORAGE_TYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
}
# What the file of before 1.6 begins with.
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a state dict by name, in float32.

    Raises:
      InputError: naming the file, where it is missing, of another kind or damaged.
    """
    path = Path(path).expanduser()
    if path.suffix not in _READERS:
        raise InputError(
            f"{path} is no file of weights by its name; it must end in {', '.join(_READERS)}."
        )
    if not path.is_file():
        raise InputError(f"There is no file of weights {path}; docs/losses.md says how to get one.")
    try:
        arrays = _READERS[path.suffix](path)
        return {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    # What can be wrong with a file is as manifold as what its bytes may mean.
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as weights ({type(error).__name__}: {error}); write it again "
            "as docs/losses.md says."
        ) from error


def _read_npz(path: Path) -> Mapping[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _read_safetensors(path: Path) -> Mapping[str, np.ndarray]:
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header, numbers = json.loads(content[8 : 8 + length]), content[8 + length :]
    header.pop("__metadata__", None)
    arrays = {}
    for name, tensor in header.items():
        first, last = tensor["data_offsets"]
        array = np.frombuffer(numbers[first:last], _SAFETENSORS_TYPES[tensor["dtype"]])
        arrays[name] = array.reshape(tensor["shape"])
    return arrays


def _read_torch(path: Path) -> Mapping[str, np.ndarray]:
    with open(path, "rb") as file:
        return _read_archive(file) if zipfile.is_zipfile(file) else _read_stream(file)


def _read_archive(file: BinaryIO) -> Mapping[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        (description,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        folder = description.removesuffix("data.pkl")
        with archive.open(description) as pickled:
            unpickler = _StateDict(pickled)
            tensors = unpickler.load()
        for key, storage in unpickler.storages.items():
            storage[:] = np.frombuffer(archive.read(f"{folder}data/{key}"), storage.dtype)
    return _complete(tensors)


def _read_stream(file: BinaryIO) -> Mapping[str, np.ndarray]:
    file.seek(0)
    magic, protocol, _ = (_StateDict(file).load() for _ in range(3))
    if (magic, protocol) != (_MAGIC, _PROTOCOL):
        raise ValueError("it does not begin as torch.save begins a file")
    unpickler = _StateDict(file)
    tensors = unpickler.load()
    for key in _StateDict(file).load():
        (count,) = struct.unpack("<q", file.read(8))
        storage = unpickler.storages[key]
        storage[:] = np.frombuffer(file.read(count * storage.itemsize), storage.dtype)
    return _complete(tensors)


def _complete(tensors: Any) -> Mapping[str, np.ndarray]:
    if not isinstance(tensors, Mapping) or not all(
        isinstance(tensor, np.ndarray) for tensor in tensors.values()
    ):
        raise ValueError("it holds something else than a state dict")
    return tensors


class _StateDict(pickle.Unpickler):
    """Makes dictionaries and tensors, the latter as views of storages that are filled later.

    Attributes:
      storages: arrays by the key under which the file keeps their numbers.
    """

    def __init__(self, file: BinaryIO):
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Callable | np.dtype:
        if module == "torch" and name in _STORAGE_TYPES:
            return _STORAGE_TYPES[name]
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }
        if (module, name) not in known:
            raise ValueError(f"it holds a {module}.{name}, and not floating point tensors alone")
        return known[module, name]

    def persistent_load(self, description: tuple) -> np.ndarray:
        kind, dtype, key, _, count, *_ = description
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise ValueError(f"it refers to a {kind}")
        return self.storages.setdefault(key, np.zeros(count, dtype))


def _tensor(storage: np.ndarray, offset: int, size: tuple, stride: tuple, *_: Any) -> np.ndarray:
    """The view of a storage that a tensor is; its strides count numbers."""
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min(*size, *stride, offset, 1) < 0 or last >= len(storage):
        raise ValueError("a tensor reaches beyond its storage")
    strides = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)


_READERS = {
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
}
