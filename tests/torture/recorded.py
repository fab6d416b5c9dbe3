"""`python -m tests.torture.recorded JOURNAL serve ...`: a relay whose SQLite writes down every write and every sync.

SQLite reaches the disk through a table of functions, its VFS. Here the default one is wrapped: whatever the relay has
SQLite write, cut off or sync is noted in JOURNAL, in order, and then done as always. What would be left after a power
cut is for `disk.survivors` to say. Source: https://sqlite.org/vfs.html, and `sqlite3.h` for the structures.
"""

import ctypes
import os
import sys
import traceback
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_int64, c_void_p, cast, pointer, string_at
from pathlib import Path
from typing import Any

from tests.torture.disk import Done, Kind

_KEPT = 0x100 | 0x800 | 0x80000
"""SQLITE_OPEN_MAIN_DB, _MAIN_JOURNAL and _WAL: files that have to outlive a power cut."""

# SQLite keeps and reads behind the pointer to a name: it has to be handed on as it is.
_Open = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, POINTER(c_int))
_Delete = CFUNCTYPE(c_int, c_void_p, c_char_p, c_int)
_Write = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_Truncate = CFUNCTYPE(c_int, c_void_p, c_int64)
_Sync = CFUNCTYPE(c_int, c_void_p, c_int)


class _Vfs(Structure):
    """`sqlite3_vfs`, version 3."""

    _fields_ = (
        *(("iVersion", c_int), ("szOsFile", c_int), ("mxPathname", c_int), ("pNext", c_void_p), ("zName", c_char_p)),
        *(("pAppData", c_void_p), ("xOpen", _Open), ("xDelete", _Delete)),
        ("others", c_void_p * 14),
    )


class _Methods(Structure):
    """`sqlite3_io_methods`, version 3."""

    _fields_ = (
        *(("iVersion", c_int), ("xClose", c_void_p), ("xRead", c_void_p)),
        *(("xWrite", _Write), ("xTruncate", _Truncate), ("xSync", _Sync)),
        ("others", c_void_p * 13),
    )


class _File(Structure):
    """`sqlite3_file`: what follows its first field is the VFS's own."""

    _fields_ = (("pMethods", POINTER(_Methods)),)


class Recorder:
    """Wraps the default VFS of the library that Python's `sqlite3` uses, for as long as the process lives."""

    def __init__(self, journal: Path) -> None:
        self._journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        self._names: dict[int, str] = {}
        self._wrapped: dict[int, Any] = {}
        self._library = _sqlite()
        self._library.sqlite3_vfs_find.restype = POINTER(_Vfs)
        self._default = self._library.sqlite3_vfs_find(None)
        self._vfs = _Vfs.from_buffer_copy(self._default.contents)
        self._vfs.zName = b"recorded"
        self._vfs.xOpen = self._opens = _Open(self._fatal(self._open))
        self._vfs.xDelete = self._deletes = _Delete(self._fatal(self._delete))

    def install(self) -> None:
        """From now on every connection is recorded."""
        if self._library.sqlite3_vfs_register(byref(self._vfs), 1) != 0:
            raise RuntimeError("SQLite does not take the recording VFS")

    def _note(self, kind: Kind, name: str, offset: int = 0, data: bytes = b"") -> None:
        os.write(self._journal, Done(kind, name, offset, data).packed())  # one write: whole, or not at all

    def _fatal(self, act: Callable[..., int]) -> Callable[..., int]:
        """Ends the process, so that a fault of the recorder never counts as one of the relay."""

        def guarded(*given: Any) -> int:
            try:
                return act(*given)
            except BaseException:
                traceback.print_exc()
                os._exit(70)

        return guarded

    def _open(self, _vfs: int, path: int | None, file: int, flags: int, told: Any) -> int:
        named = string_at(path) if path else b""
        is_new = not os.path.exists(named)
        done: int = self._default.contents.xOpen(cast(self._default, c_void_p), path, file, flags, told)
        if done == 0 and named and flags & _KEPT:
            name = os.path.basename(named).decode()
            if is_new:
                self._note(Kind.MADE, name)
            self._names[file] = name
            opened = cast(file, POINTER(_File)).contents
            opened.pMethods = pointer(self._wrap(opened.pMethods))
        return done

    def _delete(self, _vfs: int, path: bytes, sync: int) -> int:
        done: int = self._default.contents.xDelete(cast(self._default, c_void_p), path, sync)
        if done == 0:
            self._note(Kind.GONE, os.path.basename(path).decode(), offset=sync)
        return done

    def _wrap(self, methods: Any) -> Any:
        """A copy of the file's methods of which three are recorded; one copy for each original."""
        address = ctypes.addressof(methods.contents)
        if address not in self._wrapped:
            plain = methods.contents
            made = _Methods.from_buffer_copy(plain)

            def write(file: int, data: int, size: int, offset: int) -> int:
                self._note(Kind.WRITTEN, self._names[file], offset, string_at(data, size))
                return int(plain.xWrite(file, data, size, offset))

            def truncate(file: int, size: int) -> int:
                self._note(Kind.CUT, self._names[file], size)
                return int(plain.xTruncate(file, size))

            def sync(file: int, flags: int) -> int:
                self._note(Kind.SYNCING, self._names[file])
                done = int(plain.xSync(file, flags))
                if done == 0:
                    self._note(Kind.SYNCED, self._names[file])
                return done

            made.xWrite = _Write(self._fatal(write))
            made.xTruncate = _Truncate(self._fatal(truncate))
            made.xSync = _Sync(self._fatal(sync))
            self._wrapped[address] = made
        return self._wrapped[address]


def why_not() -> str | None:
    """Why nothing can be recorded here; None if it can."""
    try:
        _sqlite()
    except (OSError, AttributeError, ImportError) as error:
        return f"this Python's SQLite can't be reached: {error}"
    return None


def _sqlite() -> Any:
    """The library that the module `sqlite3` calls."""
    import _sqlite3

    library = ctypes.CDLL(_sqlite3.__file__)
    _ = library.sqlite3_vfs_find, library.sqlite3_vfs_register
    return library


if __name__ == "__main__":
    recorder = Recorder(Path(sys.argv[1]))  # SQLite has pointers into it: it lives as long as the process
    recorder.install()
    from relay.cli import main

    sys.argv = ["relay", *sys.argv[2:]]
    raise SystemExit(main())
