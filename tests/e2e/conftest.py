"""Real processes: `relay serve` as users start it, beside the shipped sandbox and receiver."""

import asyncio
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from relay.process import system_clock
from relay.sandbox.exec_server import BASE, SANDBOX_KEY, ExecSettings, FakeExec
from relay.sandbox.local_server import serve
from relay.sandbox.rate_limits import UNLIMITED
from relay.sandbox.receiver import Receiver
from tests.forking import processes
from tests.forking.processes import Process
from tests.loopback import http_client
from tests.make import SECRET

API_KEY = "relay_" + "k" * 43
STARTS_WITHIN = 100.0

SECOND_KEY = SANDBOX_KEY[:-1] + ("2" if SANDBOX_KEY[-1] != "2" else "3")
"""The key of a second workspace."""


class Served:
    """A `relay serve` process that can be killed and started again on the same store and port."""

    def __init__(self, config: Path, port: int, program: Sequence[str] = ("relay",), **as_user: Any) -> None:
        self._config, self._program, self._as_user = config, program, as_user
        self.url = f"http://127.0.0.1:{port}"
        self.process: asyncio.subprocess.Process | Process | None = None
        self.log = config.with_suffix(".log")
        self.probe = "/readyz"

    async def start(self, **environ: str) -> None:
        """Starts the process and waits until it is ready."""
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])} | environ
        words, folder = [*self._program, "serve", "--config", str(self._config)], self._config.parent
        with self.log.open("ab") as log:
            if self._as_user:
                self.process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", *words), stdout=log, stderr=log, env=environ, cwd=folder, **self._as_user
                )
            else:
                self.process = await asyncio.to_thread(processes.start, words, environ, folder, log.fileno())
        deadline = time.monotonic() + STARTS_WITHIN
        async with http_client(trust_env=False) as http:
            while time.monotonic() < deadline and self.process.returncode is None:
                try:
                    if (await http.get(self.url + self.probe, timeout=2)).status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.02)
        raise AssertionError(f"the relay did not become ready: {self.log.read_text()}")

    async def ask(self, method: str, path: str) -> httpx.Response:
        """One request with the API key."""
        headers = {"authorization": f"Bearer {API_KEY}"}
        async with http_client(base_url=self.url, headers=headers, trust_env=False) as http:
            return await http.request(method, path)

    async def logs(self, words: str) -> None:
        """Returns when the log contains this text."""
        async with asyncio.timeout(30):
            while words not in self.log.read_text().replace('\\"', '"'):
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """kill -9."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def send_signal(self, number: int) -> None:
        """Sends the process a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Asks the process to stop; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 30)


class Stage:
    """Sandbox, receiver and the configuration between them."""

    def __init__(self, folder: Path, exec: FakeExec, exec_url: str, receiver: Receiver, receiver_url: str) -> None:
        self.folder, self.exec, self.exec_url = folder, exec, exec_url
        self.receiver, self.receiver_url = receiver, receiver_url
        self.served: list[Served] = []

    def write_config(self, *endpoints: dict[str, Any], **sections: dict[str, Any]) -> Path:
        """config.yaml, with sections added to or changed from what all of these tests need."""
        base: dict[str, dict[str, Any]] = {
            "exec": {"api_key": SANDBOX_KEY, "base_url": self.exec_url + BASE, "timeout": "2s"},
            "polling": {"strategy": "interval", "interval": "200ms", "tick": "50ms"},
            "delivery": {"timeout": "2s", "schedule": ["0s"] + ["300ms"] * 20},
            "storage": {"url": f"sqlite:///{self.folder}/relay.db"},
            "security": {"api_keys": [API_KEY], "allow_http": True, "allow_networks": ["127.0.0.0/8"]},
        }
        base["exec"]["budget"] = {"per_minute": 100_000, "per_day": 10_000_000, "share": 1.0}
        merged = {name: base.get(name, {}) | sections.get(name, {}) for name in {*base, *sections}}
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(merged | {"endpoints": list(endpoints)}))
        return path

    def serve(self, *endpoints: dict[str, Any], **sections: dict[str, Any]) -> Served:
        port = free_port()
        sections["server"] = {"port": port} | sections.get("server", {})
        self.served.append(Served(self.write_config(*endpoints, **sections), port))
        return self.served[-1]


def run(*words: str, folder: Path, stderr: int = subprocess.PIPE, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        [*processes.command(), *words],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])} | environ,
    )


_PORTS_OF_WORKER = 1_000
_ports = itertools.count(random.randrange(_PORTS_OF_WORKER))


def free_port() -> int:
    """A port that is free, below those that the system gives to connections; each worker has a range of its own, so
    that no other test takes the port before a program listens there."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 20
    first = 10_000 + worker * _PORTS_OF_WORKER
    for _ in range(_PORTS_OF_WORKER):
        port = first + next(_ports) % _PORTS_OF_WORKER
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            return port
    raise RuntimeError(f"no port of {first} to {first + _PORTS_OF_WORKER} is free")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own user may enter."""
    made = Path(tempfile.mkdtemp(prefix="relay-postgres-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    exec = FakeExec(ExecSettings(limits=UNLIMITED, seed=5, keys=(SANDBOX_KEY, SECOND_KEY)), system_clock)
    receiver = Receiver(SECRET, system_clock)
    async with AsyncExitStack() as stack:
        exec_url = await stack.enter_async_context(serve(exec.app))
        receiver_url = await stack.enter_async_context(serve(receiver.app))
        stage = Stage(tmp_path, exec, exec_url, receiver, receiver_url)
        yield stage
        for relay in stage.served:
            await relay.kill()
