"""Has a program run by a process of `tests/forking/server.py`, with this one's files, folder and environment, and ends
as it does: `call.py SOCKET MODULE WORD...`. Signals that can be caught are passed on. Imports little, to start at once.
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def ask(
    server: str, words: Sequence[str], environ: Mapping[str, str], folder: str, files: Sequence[int]
) -> socket.socket:
    """The connection on which the server says the process id, and the exit code once there is one.

    If it is closed before, the process is killed. `words`: the module and its arguments; `files`: what becomes 0, 1, 2.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(server)
    asked = json.dumps([list(words), dict(environ), folder]).encode()
    head = len(asked).to_bytes(8)
    socket.send_fds(connection, [head], list(files))
    connection.sendall(asked)
    return connection


def read_number(connection: socket.socket) -> int:
    """The next number that the server says."""
    line = b""
    while not line.endswith(b"\n"):
        part = connection.recv(1)
        if not part:
            raise EOFError("the server of processes is gone")
        line += part
    return int(line)


def main(server: str, *words: str) -> None:
    connection = ask(server, words, os.environ, os.getcwd(), (0, 1, 2))
    process = read_number(connection)
    for number in FORWARDED:
        signal.signal(number, lambda number, _: os.kill(process, number))
    code = read_number(connection)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
