"""The lock of a SQLite file: one relay works in it, by whatever name it knows the file.

There are two. The first is on a file beside it, named after what the path leads to. The second is on a byte of the
SQLite file itself, far behind those that SQLite locks: it keeps out who comes by a hard link. It belongs to the open
file and not to the process, whose locks would end each time that SQLite closes the file.

When a process closes any descriptor of a file, it loses all locks that SQLite has there, and another program may
then take the write-ahead log away. So the SQLite file is opened only by who holds the first lock, and closed only when
SQLite is done with it.
"""

import errno
import fcntl
import os
import struct
from contextlib import ExitStack
from pathlib import Path

from relay.errors import StoreError, StoreLocked

_BYTE = 1 << 40
_SET: int | None = getattr(fcntl, "F_OFD_SETLK", None)
_HELD = frozenset({errno.EAGAIN, errno.EACCES})
_NO_SUCH_LOCKS = frozenset({errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP})


def lock_file(path: Path) -> ExitStack:
    """Holds the file, which is made if there is none, until what is returned is closed: after SQLite's connections.

    If the system has no locks of open files (macOS, some network file systems), hard links get past it.

    Raises StoreError if the folder is missing or can't be written, or another relay holds the file.
    """
    real = Path(os.path.realpath(path))
    with ExitStack() as held:
        try:
            real.parent.mkdir(parents=True, exist_ok=True)
            fcntl.flock(_opened(f"{real}.lock", held), fcntl.LOCK_EX | fcntl.LOCK_NB)
            _lock(_opened(real, held))
        except OSError as error:
            if error.errno in _HELD:
                raise StoreLocked(
                    f"the store {path} is in use by another relay; stop that one, or give this one its own storage.url "
                    "(several relays on one store need postgresql)"
                ) from error
            raise StoreError(
                f"the store {path} can't be opened: {error.strerror}; "
                "give storage.url a folder that this user may write to"
            ) from error
        return held.pop_all()


def _opened(path: str | Path, held: ExitStack) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # guard: private-files
    held.callback(os.close, descriptor)
    return descriptor


def _lock(descriptor: int) -> None:
    """Does nothing if the system has no locks of open files. Raises OSError."""
    if _SET is None:
        return
    wish = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, _BYTE, 1, 0)
    try:
        fcntl.fcntl(descriptor, _SET, wish)
    except OSError as error:
        if error.errno not in _NO_SUCH_LOCKS:
            raise
