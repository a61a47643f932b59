import errno
import fcntl
import os

import pytest

from diffpattern.errors import InputError
from diffpattern.files import locked, write_whole


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


def test_one_process_at_a_time_has_a_lock(tmp_path):
    with locked(tmp_path / "lock"):
        with pytest.raises(BlockingIOError), locked(tmp_path / "lock", wait=False):
            pass
        with locked(tmp_path / "other", wait=False):
            pass
    with locked(tmp_path / "lock", wait=False):
        pass


def test_where_there_are_no_locks_a_warning_says_so(tmp_path, monkeypatch, caplog):
    def fail(file, operation):
        assert file.writable()  # or locks on network file systems would fail
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", fail)
    code = errno.ENOLCK
    with locked(tmp_path / "lock"):
        assert "knows no locks" in caplog.text
    code = errno.EIO
    with pytest.raises(OSError, match=os.strerror(code)), locked(tmp_path / "lock"):
        pass
