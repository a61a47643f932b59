import os

import pytest

from diffpattern.errors import InputError
from diffpattern.files import write_whole


def test_text_and_bytes_arrive_whole_in_folders_that_are_made(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    write_whole(path, "grüße")
    assert path.read_text(encoding="utf-8") == "grüße"
    write_whole(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch, failing):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(InputError, match=f"{path} cannot be written: No space left on device"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
