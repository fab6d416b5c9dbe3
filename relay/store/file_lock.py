"""The lock of a SQLite file: one relay works in it, by whatever name it knows the file.

The lock is on a byte of the file itself, far behind those that SQLite locks, and belongs to the open file and not to
the process: SQLite closes the file often, and a lock of the process would end each time.
"""

import errno
import fcntl
import os
import struct
from pathlib import Path

from relay.errors import InUse, StoreError

_BYTE = 1 << 40
_SET: int | None = getattr(fcntl, "F_OFD_SETLK", None)
_HELD = frozenset({errno.EAGAIN, errno.EACCES})
_NO_SUCH_LOCKS = frozenset({errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP})


def lock_file(path: Path) -> int:
    """Holds the file, which is made if there is none. Returns the descriptor that holds it until it is closed.

    It must not be closed before SQLite is done: its locks would end too. If the system has no such locks (macOS, some
    network file systems), a file beside holds it, named after what the path leads to: hard links get past that.

    Raises StoreError if the folder is missing or can't be written, or another relay holds the file.
    """
    real = Path(os.path.realpath(path))
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        while (descriptor := _try(real)) is None:
            pass
    except OSError as error:
        if error.errno in _HELD:
            raise InUse(
                f"the store {path} is in use by another relay; stop that one, or give this one its own storage.url "
                "(several relays on one store need postgresql)"
            ) from error
        raise StoreError(
            f"the store {path} can't be opened: {error.strerror}; give storage.url a folder that this user may write to"
        ) from error
    return descriptor


def _try(path: Path) -> int | None:
    """The descriptor; None if `relay restore` has put another file in the place of the one that it holds."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        held = _lock(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    if not held:
        os.close(descriptor)
        return _lock_beside(path)
    if not os.path.samestat(os.fstat(descriptor), os.stat(path)):
        os.close(descriptor)
        return None
    return descriptor


def _lock(descriptor: int) -> bool:
    """False if the system has no locks of open files. Raises OSError."""
    if _SET is None:
        return False
    wish = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, _BYTE, 1, 0)
    try:
        fcntl.fcntl(descriptor, _SET, wish)
    except OSError as error:
        if error.errno in _NO_SUCH_LOCKS:
            return False
        raise
    return True


def _lock_beside(path: Path) -> int:
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
