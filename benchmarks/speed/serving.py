"""Servers that are asked, each in a process of its own, on the core of what is measured: the relay as `relay serve`
starts it, and what its registrations are measured against.

`python -m benchmarks.speed.serving plain|storing_nothing PORT JSON` is one of the latter.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks import machine
from benchmarks.speed.cores import OURS, ROOT
from relay import config
from relay.cli.serve import tune_interpreter
from relay.service import Relay
from relay.store.engine.database import Store, Tx
from relay.web.app import create_app
from relay.web.server.server import server_config

T = TypeVar("T")
Item = TypeVar("Item")

_PATIENCE = 60


@dataclass(frozen=True)
class Server:
    """A server that runs, and took so many seconds until it answered."""

    port: int
    process: int
    started_in: float

    def cpu(self) -> float:
        """CPU seconds it took so far."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(") ")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """MiB of memory that are its own and no file's."""
        return machine.memory(self.process, "RssAnon")


def relay(wish: Mapping[str, Any]) -> AbstractContextManager[Server]:
    """`relay serve` with this configuration."""
    return _running(["relay", "serve", "--config"], wish, "/readyz")


def storing_nothing(wish: Mapping[str, Any]) -> AbstractContextManager[Server]:
    """The relay's application and all of its routes, but that its store keeps the first of what is written only."""
    return _running(["benchmarks.speed.serving", "storing_nothing"], wish)


def plain() -> AbstractContextManager[Server]:
    """A route of Starlette's that reads JSON and answers as the relay would."""
    return _running(["benchmarks.speed.serving", "plain"], {"exec": {"api_key": "exec_live_" + "0" * 40}})


@contextmanager
def _running(command: Sequence[str], wish: Mapping[str, Any], well: str = "/healthz") -> Iterator[Server]:
    """`python -m` the command and the path of a configuration, up once `well` says so; its log goes to a file."""
    with tempfile.TemporaryDirectory() as folder:
        port, path, began = _free_port(), Path(folder) / "config.yaml", time.monotonic()
        path.write_text(json.dumps({**wish, "server": {"port": port}}))  # which is YAML
        with open(f"{folder}/log", "wb") as log:
            pinned = ["taskset", "-c", str(OURS), sys.executable, "-m", *command, str(path)]
            process = subprocess.Popen(pinned, cwd=ROOT, stdout=log, stderr=log)
        try:
            while not _answers(port, well):
                if process.poll() is not None or time.monotonic() > began + _PATIENCE:
                    raise TimeoutError(f"no server at {port}: {Path(folder, 'log').read_text()}")
                time.sleep(0.005)
            yield Server(port, process.pid, time.monotonic() - began)
        finally:
            process.terminate()
            process.wait()


def _answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError):
        return False


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


# --- what registrations are measured against ---------------------------------------------------------------------


async def _take(request: Request) -> Response:
    sent = await request.json()
    answer = {
        "id": "reg_" + "0" * 26,
        "job_id": sent["job_id"],
        "workspace": "default",
        "status": "active",
        "endpoint": {"id": "ep_" + "0" * 26, "url": "http://127.0.0.1/…", "format": "standard"},
        "events": ["job.completed", "job.failed", "job.cancelled", "job.not_found", "job.expired"],
        "metadata": sent["metadata"],
        "created_at": "2026-01-01T00:00:00.000Z",
        "trace_id": "0" * 32,
    }
    return JSONResponse(answer, 201)


async def _well(_: Request) -> Response:
    return Response()


class _KeepsTheFirst:
    """A store that writes once, and reads once for each question; whatever else, it says that it came to the same."""

    def __init__(self, store: Store) -> None:
        self._store, self._first = store, list[Any]()
        self._read: dict[Any, Any] = {}

    async def read(self, work: Callable[[Tx], T]) -> T:
        question = work.__code__
        if question not in self._read:
            self._read[question] = await self._store.read(work)
        return cast(T, self._read[question])

    async def write(self, work: Callable[[Tx], T]) -> T:
        if not self._first:
            self._first.append(await self._store.write(work))
        return cast(T, self._first[0])

    async def write_together(self, work: Callable[[Tx, Sequence[Item]], Sequence[T]], item: Item) -> T:
        return await self.write(lambda tx: work(tx, [item])[0])

    async def aclose(self) -> None:
        await self._store.aclose()


async def _serve(what: str, wish: config.Config) -> None:
    if what == "plain":
        app = Starlette(routes=[Route("/v1/registrations", _take, methods=["POST"]), Route("/healthz", _well)])
    else:
        relay = await Relay.open(wish)
        relay.store = cast(Store, _KeepsTheFirst(relay.store))
        app = create_app(relay, owns_relay=False)
    served = server_config(app)
    served.host, served.port = wish.server.host, wish.server.port
    tune_interpreter()
    await uvicorn.Server(served).serve()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], config.load(Path(sys.argv[2]), {})))
