import json
import pickle
import struct
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import random_vgg

from diffpattern.errors import InputError
from diffpattern.training.losses import weight_files

# What PyTorch itself has written, see make_torch_reference.py.
TORCH = Path(__file__).parent / "torch"
EXPECTED = random_vgg.state_dict()


def assert_equal(arrays, expected):
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def write_safetensors(path, arrays, dtype="F32"):
    header, numbers = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        content = array.tobytes()
        offsets = [len(numbers), len(numbers) + len(content)]
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": offsets}
        numbers += content
    told = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(told)) + told + numbers)


@pytest.mark.parametrize("name", ["state_dict.pth", "before_1_6.pth"])
def test_files_of_pytorch_come_back_without_it(name):
    assert_equal(weight_files.read(TORCH / name), EXPECTED)


def test_npz_and_safetensors(tmp_path):
    np.savez(tmp_path / "weights.npz", **EXPECTED)
    assert_equal(weight_files.read(str(tmp_path / "weights.npz")), EXPECTED)
    write_safetensors(tmp_path / "weights.safetensors", EXPECTED)
    assert_equal(weight_files.read(tmp_path / "weights.safetensors"), EXPECTED)


def test_other_precisions_become_float32(tmp_path):
    path, numbers = tmp_path / "short.safetensors", np.array([0.5, -3.0, 1e-2])
    write_safetensors(path, {"x": numbers.astype(ml_dtypes.bfloat16)}, "BF16")
    assert_equal(weight_files.read(path), {"x": numbers.astype(ml_dtypes.bfloat16).astype("f4")})
    np.savez(tmp_path / "long.npz", x=numbers)
    assert_equal(weight_files.read(tmp_path / "long.npz"), {"x": numbers.astype("f4")})


def test_a_missing_file_and_one_of_another_kind(tmp_path):
    with pytest.raises(InputError, match=r"no file of weights .*vgg.pth; docs/losses.md"):
        weight_files.read(tmp_path / "vgg.pth")
    with pytest.raises(InputError, match=r"vgg.h5 is no file of weights .* \.npz, \.safetensors"):
        weight_files.read(tmp_path / "vgg.h5")


@pytest.mark.parametrize("name", ["state_dict.pth", "before_1_6.pth", "w.npz", "w.safetensors"])
@pytest.mark.parametrize("left", [0, 7, 0.3, 0.9])
def test_truncated_files_are_refused(tmp_path, name, left):
    path = tmp_path / name
    if name.endswith(".npz"):
        np.savez(path, **EXPECTED)
    elif name.endswith(".safetensors"):
        write_safetensors(path, EXPECTED)
    else:
        path.write_bytes((TORCH / name).read_bytes())
    content = path.read_bytes()
    path.write_bytes(content[: left if isinstance(left, int) else int(left * len(content))])
    with pytest.raises(InputError, match="cannot be read as weights") as error:
        weight_files.read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


class Runs:
    """Unpickling it calls `print`, as it could call anything."""

    def __reduce__(self):
        return print, ("a file of weights has run code",)


def test_a_file_cannot_run_code(tmp_path, capsys):
    path = tmp_path / "trap.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("trap/data.pkl", pickle.dumps({"x": Runs()}, protocol=2))
    with pytest.raises(InputError, match=r"it holds a __?builtin.*\.print"):
        weight_files.read(path)
    path.write_bytes(pickle.dumps(Runs(), protocol=2))
    with pytest.raises(InputError, match=r"it holds a __?builtin.*\.print"):
        weight_files.read(path)
    assert capsys.readouterr().out == ""


def torch_archive(path, reference, rebuild=(0, (2, 2), (2, 1))):
    """An archive as PyTorch writes it, with one tensor of four numbers."""
    text = lambda value: b"X" + struct.pack("<I", len(value)) + value.encode()
    whole = lambda value: b"K" + bytes([value])
    several = lambda values: b"(" + b"".join(map(whole, values)) + b"t"
    offset, size, stride = rebuild
    pickled = b"\x80\x02}" + text("x") + b"ctorch._utils\n_rebuild_tensor_v2\n("
    pickled += b"(" + text("storage") + reference + text("0") + text("cpu") + whole(4) + b"tQ"
    pickled += whole(offset) + several(size) + several(stride) + b"\x89}tRs."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", np.arange(4, dtype="<f4").tobytes())


def test_tensors_beyond_their_storage_and_of_other_numbers_are_refused(tmp_path):
    path = tmp_path / "x.pth"
    torch_archive(path, b"ctorch\nFloatStorage\n")
    assert_equal(weight_files.read(path), {"x": np.float32([[0, 1], [2, 3]])})
    torch_archive(path, b"ctorch\nFloatStorage\n", rebuild=(1, (2, 2), (2, 1)))
    with pytest.raises(InputError, match="reaches beyond its storage"):
        weight_files.read(path)
    torch_archive(path, b"ctorch\nLongStorage\n")
    with pytest.raises(InputError, match="torch.LongStorage, and not floating point"):
        weight_files.read(path)
