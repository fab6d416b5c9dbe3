"""A process that has imported the relay and forks for each program that it is asked to run: a start of Python with its
imports costs a second, a fork some milliseconds. What runs is a process of its own with its own files, folder and
environment, as if it had been started by `python -m`. `python -m tests.forking.server SOCKET`; ends with its input.
"""

import atexit
import gc
import io
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import NoReturn

import relay

LATER = (
    "alembic.command",
    "alembic.config",
    "anyio._backends._asyncio",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.h11_impl",
)
"""What the relay and its libraries import only when it is used."""
NEVER = ("relay.__main__", "relay.store.migrations.")
"""Not for import: a program, and what alembic loads by itself."""


@dataclass(frozen=True, slots=True)
class Program:
    """What is to be run: a module with its arguments, and around it all that a process has."""

    words: list[str]
    environ: dict[str, str]
    folder: str
    files: list[int]

    def run(self) -> None:
        """Runs it in this process as `python -m` would, to its end."""
        for number, file in enumerate(self.files):
            os.dup2(file, number)
        for file in self.files:
            os.close(file)
        os.environ.clear()
        os.environ.update(self.environ)
        time.tzset()
        os.chdir(self.folder)
        sys.path[0] = self.folder
        _open_standard_streams()
        sys.argv = self.words[:]
        runpy.run_module(self.words[0], run_name="__main__", alter_sys=True)


def _open_standard_streams() -> None:
    """As Python opens them at its start."""
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))

    def writer(number: int, errors: str) -> io.TextIOWrapper:
        raw = open(number, "wb", buffering=0, closefd=False)  # noqa: SIM115
        is_line_buffered = number == 2 or raw.isatty()
        buffer = raw if unbuffered else io.BufferedWriter(raw)
        return io.TextIOWrapper(buffer, "utf-8", errors, line_buffering=is_line_buffered, write_through=unbuffered)

    reader = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdin = sys.__stdin__ = reader  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = writer(1, "surrogateescape")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = writer(2, "backslashreplace")  # type: ignore[misc]


def import_all() -> None:
    """Imports every module of the relay, and what its libraries import later."""
    for module in pkgutil.walk_packages(relay.__path__, "relay."):
        if not module.name.startswith(NEVER):
            import_module(module.name)
    for name in LATER:
        import_module(name)


class Server:
    """Forks for each connection, and says on it how the process ends."""

    def __init__(self, path: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(64)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(0, selectors.EVENT_READ)
        self._ended, self._signalled = os.pipe()
        for end in (self._ended, self._signalled):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._signalled, warn_on_full_buffer=False)
        self._selector.register(self._ended, selectors.EVENT_READ)
        self._running: dict[int, socket.socket] = {}
        """The processes, each with the connection of who asked for it."""

    def serve(self) -> Program | None:
        """In a forked process: what it has to run. In this one: None, when the input ends."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    program = self._fork()
                    if program is not None:
                        return program
                elif key.fileobj == self._ended:
                    self._reap()
                elif key.fileobj == 0:
                    for process in self._running:
                        os.kill(process, signal.SIGKILL)
                    return None
                else:  # who asked is gone
                    self._selector.unregister(key.fileobj)
                    os.kill(key.data, signal.SIGKILL)

    def _fork(self) -> Program | None:
        connection, _ = self._listener.accept()
        head, files, _, _ = socket.recv_fds(connection, 8, 3)
        if len(head) < 8:  # it has thought better of it
            connection.close()
            return None
        with connection.makefile("rb") as read:
            words, environ, folder = json.loads(read.read(int.from_bytes(head)))
        process = os.fork()
        if process == 0:
            self._close(connection)
            return Program(words, environ, folder, files)
        for file in files:
            os.close(file)
        self._running[process] = connection
        self._selector.register(connection, selectors.EVENT_READ, process)
        _say(connection, process)
        return None

    def _close(self, connection: socket.socket) -> None:
        """What a forked process has no part in."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for one in (self._listener, connection, *self._running.values()):
            one.close()
        os.close(self._ended)
        os.close(self._signalled)

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._ended, 4_096)
        for process, connection in list(self._running.items()):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended == process:
                del self._running[process]
                with suppress(KeyError):
                    self._selector.unregister(connection)
                _say(connection, os.waitstatus_to_exitcode(status))
                connection.close()


def _say(connection: socket.socket, number: int) -> None:
    with suppress(OSError):  # nobody hears it any more
        connection.sendall(b"%d\n" % number)


def run_to_its_end(program: Program) -> NoReturn:
    """Runs the program and ends the process; only what was imported is not taken apart, which costs most of a fork."""
    code = 0
    try:
        program.run()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
        if isinstance(left.code, str):
            sys.stderr.write(f"{left.code}\n")
    except BaseException as error:
        code = 1
        traceback.print_exc()
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):
            stream.flush()
    os._exit(code & 0xFF)


if __name__ == "__main__":
    import_all()
    gc.collect()
    gc.freeze()
    server = Server(sys.argv[1])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if (asked := server.serve()) is not None:
        run_to_its_end(asked)
