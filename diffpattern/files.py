"""Files that appear complete or not at all."""

import contextlib
import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from diffpattern.errors import InputError


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


def npz(**arrays: ArrayLike) -> bytes:
    """Arrays by name, as the content of an .npz file."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()
