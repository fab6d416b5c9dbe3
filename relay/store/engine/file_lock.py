"""The lock of a SQLite file: one relay works in it, by whatever name it opens the file.

There are two locks. The first is on a file beside it, named after the real path. The second is on one byte of the
SQLite file itself, far behind the bytes that SQLite locks: it keeps out a relay that opens a hard link. It belongs to
the open file and not to the process, whose locks would end each time SQLite closes the file.

When a process closes any descriptor of a file, it loses all locks that SQLite has there, and another program may
then take the write-ahead log away. So a relay opens the SQLite file only while it holds the first lock, and closes it
only after SQLite has closed it.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from relay.errors import StoreError, StoreLocked
from relay.store.engine import file_access

_BYTE = 1 << 40
_SET: int | None = getattr(fcntl, "F_OFD_SETLK", None)
_HELD_BY_ANOTHER = frozenset({errno.EAGAIN, errno.EACCES})
_NOT_SUPPORTED = frozenset({errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP})


def lock_file(path: Path) -> ExitStack:
    """Locks the file until the returned stack is closed, which comes after SQLite's connections. Creates the file.

    If the system has no locks of open files (macOS, some network file systems), a relay that opens a hard link is not
    kept out.

    Raises StoreLocked if another relay holds the file, StoreError if the folder or file can't be written.
    """
    real = Path(os.path.realpath(path))
    with ExitStack() as locks:
        try:
            real.parent.mkdir(parents=True, exist_ok=True)
            descriptor = _open(f"{real}.lock", locks)
            with _held_by_another_relay(path):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            database = _open(real, locks)
            with _held_by_another_relay(path):
                _lock_byte(database)
        except OSError as error:
            raise StoreError(file_access.refusal(real, error.strerror or "no reason given")) from error
        return locks.pop_all()


def _open(path: str | Path, locks: ExitStack) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # guard: private-files
    locks.callback(os.close, descriptor)
    return descriptor


@contextmanager
def _held_by_another_relay(path: Path) -> Iterator[None]:
    """Raises StoreLocked if a lock is held. Only the locking itself: opening a file fails with the same numbers."""
    try:
        yield
    except OSError as error:
        if error.errno not in _HELD_BY_ANOTHER:
            raise
        raise StoreLocked(
            f"the store {path} is in use by another relay; stop that one, or give this one its own storage.url "
            "(several relays on one store need postgresql)"
        ) from error


def _lock_byte(descriptor: int) -> None:
    """Does nothing if the system has no locks of open files. Raises OSError."""
    if _SET is None:
        return
    request = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, _BYTE, 1, 0)
    try:
        fcntl.fcntl(descriptor, _SET, request)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise
