"""A lock that one process holds, and that the system releases however that process ends."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from npkd.core.files import NewPath, reason
from npkd.core.validation import InputError


def lock(file: int) -> None:
    """Lock an open file; BlockingIOError or PermissionError where another process holds the lock."""
    if sys.platform == "win32":
        import msvcrt
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def locked(path: NewPath) -> Iterator[None]:
    """Hold the lock file ``path`` while the block runs; afterwards it is removed. A file left behind by a killed
    process is no lock; a file system without locks gives none. Raises InputError where another process, or another
    block in this one, holds it, and where the file cannot be made."""
    file = -1
    try:
        while file < 0:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            with contextlib.suppress(NotImplementedError):
                lock(file)
            if not os.path.exists(path) or not os.path.samestat(os.fstat(file), os.stat(path)):
                os.close(file)                     # its holder removed it between our opening and locking it
                file = -1
    except OSError as error:                       # any other one with an open file: there are no locks here
        if file < 0:
            raise InputError(f"lock: {path}: {reason(error)}; name a folder that can be written to") from error
        if isinstance(error, (BlockingIOError, PermissionError)):
            os.close(file)
            raise InputError(f"lock: another run of npkd is writing to {Path(path).parent}; wait until it has ended, "
                             f"or name another folder") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)                        # while it is held, so that it is nobody else's
        os.close(file)
