"""What a process meets on a full disk, or in a folder that is read-only, without any mount.

Not every machine lets a test mount a file system. But any process may have the kernel refuse what
it writes, and give up what lets root write everywhere.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from pathlib import Path

# Numbers of the calls writev and pwritev, write and pwrite64, seccomp.
_CALLS = {"x86_64": (20, 296, 1, 18, 317), "aarch64": (66, 70, 64, 68, 277)}
# A filter of calls, see seccomp(2), loads a number out of the description of the call, compares it
# with another and skips so many steps if that holds and if it does not, and returns a verdict.
_LOAD, _EQUAL, _GREATER, _RETURN = 0x20, 0x15, 0x25, 0x06
_CALL, _FILE, _SIZE = 0, 16, 32
_ALLOWED, _REFUSED = 0x7FFF0000, 0x00050000
_NO_NEW_PRIVILEGES, _SET_FILTER, _FOR_ALL_THREADS = 38, 1, 1
_CAPABILITIES = 0x20080522

_kernel = ctypes.CDLL(None, use_errno=True)


def hinder(full_after: int | None = None, left: int = 0, unprivileged: bool = False) -> None:
    """Hinders this process from now on.

    Args:
      full_after: after how many further checkpoints the disk is full; None: it never is.
      left: see `fill_disk`.
      unprivileged: whether what nobody has the permission to write is read-only for root too.
    """
    if unprivileged:
        none = (ctypes.c_uint32 * 6)()
        _done(_kernel.capset((ctypes.c_uint32 * 2)(_CAPABILITIES, 0), none))
    if full_after == 0:
        fill_disk(left)
    elif full_after:
        complete = []

        def heard(event: str, arguments: tuple) -> None:
            if event == "os.rename" and Path(arguments[1]).parent.name == "checkpoints":
                complete.append(arguments[1])
                if len(complete) == full_after:
                    fill_disk(left)

        sys.addaudithook(heard)


def fill_disk(left: int) -> None:
    """Makes the kernel say to all threads that no space is left, whatever they write but prints.

    Args:
      left: most bytes that can still be written at once. What is gathered from several places, as
        arrays of checkpoints are, cannot be written at all.
    """
    writev, pwritev, write, pwrite, seccomp = _CALLS[platform.machine()]
    stderr = 2
    steps = [
        (_LOAD, 0, 0, _CALL),
        (_EQUAL, 3, 0, writev),
        (_EQUAL, 2, 0, pwritev),
        (_EQUAL, 3, 0, write),
        (_EQUAL, 2, 6, pwrite),
        # Gathered.
        (_LOAD, 0, 0, _FILE),
        (_GREATER, 5, 4, stderr),
        # From one place.
        (_LOAD, 0, 0, _FILE),
        (_GREATER, 0, 2, stderr),
        (_LOAD, 0, 0, _SIZE),
        (_GREATER, 1, 0, left),
        (_RETURN, 0, 0, _ALLOWED),
        (_RETURN, 0, 0, _REFUSED | errno.ENOSPC),
    ]
    code = b"".join(struct.pack("HBBI", kind, *skips, number) for kind, *skips, number in steps)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HP", len(steps), ctypes.addressof(buffer))
    _done(_kernel.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _done(_kernel.syscall(seccomp, _SET_FILTER, _FOR_ALL_THREADS, program))


def _done(code: int) -> None:
    if code:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
