"""Files that appear complete or not at all, and locks that keep processes apart."""

import contextlib
import errno
import fcntl
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import logging
from numpy.lib.npyio import NpzFile
from numpy.typing import ArrayLike

from diffpattern.errors import InputError

# How a file system says that it knows no locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def cache_folder() -> Path:
    """Where this package keeps what can be made again: a folder of the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "diffpattern"


def write_whole(path: str | os.PathLike, content: str | bytes) -> None:
    """Writes a file beside its place, on the disk to the last byte, and renames it.

    A reader finds the old file or the new one; when writing fails, the old one stays and nothing
    else is left. Folders on the way to it are made.

    Raises:
      InputError: naming a path that cannot be written.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(beside, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error


@contextlib.contextmanager
def locked(path: str | os.PathLike, wait: bool = True) -> Iterator[None]:
    """Lets one process at a time into the block.

    The lock is the kernel's and lies on a file, which stays: it ends with the process, however that
    ends. Where the file system knows no locks a warning leaves it to the user.

    Args:
      path: of the file, in a folder that is there.
      wait: for the process that is in the block.

    Raises:
      BlockingIOError: another process is in the block, and nobody waits.
      OSError: the file cannot be written.
    """
    # Network file systems lock only what is open for writing.
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            logging.warning(
                "%s cannot be locked, for its file system knows no locks; see to it that no other "
                "process works there.",
                path,
            )
        yield


@contextlib.contextmanager
def opened_arrays(path: str | os.PathLike) -> Iterator[np.ndarray | NpzFile]:
    """What an .npy or .npz file holds: an array, or several by name, read as they are asked for.

    Raises:
      OSError: it cannot be opened.
      ValueError: it is no such file; the message says so without NumPy's advice to unpickle it.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        with loaded if isinstance(loaded, NpzFile) else contextlib.nullcontext():
            yield loaded
    except EOFError as error:
        raise ValueError("it ends before its first number") from error
    except zipfile.BadZipFile as error:
        raise ValueError("it is damaged") from error
    except ValueError as error:
        if "pickle" in str(error) and not isinstance(error, InputError):
            raise ValueError("it holds no numbers in the way of NumPy") from error
        raise


def npz(**arrays: ArrayLike) -> bytes:
    """Arrays by name, as the content of an .npz file."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()
