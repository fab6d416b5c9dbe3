"""Processes of the relay that cost no start of Python: forked from one that has imported it (`server.py`)."""

import asyncio
import atexit
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from tests.forking import call

ROOT = Path(__file__).parents[2]
_GLANCE = 0.005


@cache
def _server() -> str:
    """The socket of this worker's server, which ends with the worker."""
    folder = tempfile.TemporaryDirectory(prefix="relay-forks-")
    path = f"{folder.name}/socket"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.forking.server", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )

    def end() -> None:
        with process:
            pass
        folder.cleanup()

    atexit.register(end)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return path


def get_ready() -> None:
    """Starts what forks, so that `start` takes no time."""
    _server()


def command(module: str = "relay") -> list[str]:
    """The beginning of a command line that runs the module in a forked process, wherever it is typed."""
    return [sys.executable, "-S", "-E", call.__file__, _server(), module]


def make_executable(path: Path) -> None:
    """Writes a program that is `relay`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec {" ".join(command())} "$@"\n')
    path.chmod(0o755)


class Process:
    """A forked process, as `asyncio.subprocess.Process` is one."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.pid = call.read_number(connection)
        self._connection.setblocking(False)
        self._code: int | None = None

    @property
    def returncode(self) -> int | None:
        """The exit code, once the process has ended: the signal's number, negated, if it was killed."""
        if self._code is None:
            try:
                said = self._connection.recv(16)
            except BlockingIOError:
                return None
            self._connection.close()
            self._code = int(said)
        return self._code

    async def wait(self) -> int:
        """Waits until it has ended."""
        while (code := self.returncode) is None:
            await asyncio.sleep(_GLANCE)
        return code

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(words: Sequence[str], environ: Mapping[str, str], folder: Path, output: int) -> Process:
    """Starts a module with its arguments; `output` gets all that it prints."""
    with open(os.devnull, "rb") as nothing:
        return Process(call.ask(_server(), words, environ, str(folder), (nothing.fileno(), output, output)))
