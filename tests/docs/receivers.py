"""Starts the receivers of the documentation as their pages say, and sends them valid and invalid requests."""

import asyncio
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from relay import config
from relay.model import MINUTE, Attempt, Secret
from relay.process import system_clock
from relay.sandbox.exec_server import SANDBOX_KEY
from relay.service import Relay
from relay.signing import standard_webhooks
from tests.docs.pages import ROOT, Section
from tests.docs.processes import STARTS_WITHIN, listening
from tests.e2e.conftest import free_port
from tests.loopback import http_client
from tests.make import SECRET, make_endpoint

PORT = "8001"
"""What the pages say; the tests take a free one."""
PROGRAMS = {
    "python": [sys.executable],
    "uvicorn": [sys.executable, "-m", "uvicorn"],
    "flask": [sys.executable, "-m", "flask"],
    "django-admin": [sys.executable, "-m", "django"],
}
BODY = (
    b'{"type":"job.completed","timestamp":"2024-03-01T10:00:45.000Z","data":{"job":{"id":"j1","status":"completed",'
    b'"scenario":{"id":"s1","name":"Discovery \xc3\xa0 deux","url":"https://acme.example.com/s1"}},'
    b'"registration":null,"workspace":"default"}}'
)


@dataclass(frozen=True)
class Printed:
    """What a receiver prints of a completed job, of a failed one, and of the relay's sample."""

    ready: str = "j1 is ready: Discovery à deux at https://acme.example.com/s1"
    failed: str = "j1: job.failed"
    sample: str = "j1o2b3i4d5x6 is ready: Discovery Call with IT Director"


class Receiver:
    """A receiver that runs as its page says."""

    def __init__(self, port: int, log: Path) -> None:
        self.url, self._log = f"http://127.0.0.1:{port}/scenario-ready", log

    @property
    def said(self) -> str:
        return self._log.read_text()

    async def post(self, headers: dict[str, str], body: bytes = BODY) -> int:
        """The status of the answer."""
        async with http_client(trust_env=False) as http:
            sent = {"content-type": "application/json"} | headers
            return (await http.post(self.url, content=body, headers=sent)).status_code


@asynccontextmanager
async def running(
    folder: Path, parts: list[Section], key: str = SECRET, within: float = STARTS_WITHIN
) -> AsyncIterator[Receiver]:
    """Writes the files and runs the commands of these sections; the last command starts the server with `key`, which
    has `within` seconds to listen."""
    port = free_port()
    *before, serve = [command for part in parts for command in part.commands]
    for command in before:
        _, argv = asked(command, port, key)
        await asyncio.to_thread(subprocess.run, argv, cwd=folder, check=True, capture_output=True, timeout=30)
    for name, code in ((name, code) for part in parts for name, code in part.files.items()):
        (folder / name).write_text(code.replace(PORT, str(port)))
    environ, argv = asked(serve, port, key)
    log = folder / "log.txt"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=folder, env=environ, stdout=out, stderr=out, start_new_session=True
        )
    try:
        await listening(port, process, log, within)
        yield Receiver(port, log)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # Django's server is two processes
        await process.wait()


def asked(command: str, port: int, key: str) -> tuple[dict[str, str], list[str]]:
    """The environment and the arguments of a command on the page."""
    words = shlex.split(command.replace(PORT, str(port)).replace("whsec_...", key).replace("whpk_...", key))
    environ = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(ROOT)}
    while "=" in words[0]:
        name, _, environ[name] = words.pop(0).partition("=")
    return environ, [*PROGRAMS.get(words[0], words[:1]), *words[1:]]


async def judge(receiver: Receiver, folder: Path, secret: str = SECRET, printed: Printed = Printed()) -> None:
    """The receiver accepts what the relay signs with `secret`, does its work once, and refuses everything else."""
    now, secrets = system_clock(), [Secret(secret)]
    signed = standard_webhooks.headers("evt_1", BODY, secrets, now)
    assert 200 <= await receiver.post(signed) < 300, receiver.said
    assert 200 <= await receiver.post(signed) < 300, receiver.said
    assert receiver.said.count(printed.ready) == 1, receiver.said

    wrong_secret = [Secret(standard_webhooks.new_secret(b"another secret of thirty-two byt"))]
    assert await receiver.post(signed, BODY.replace(b"j1", b"j2")) == 400
    assert await receiver.post(standard_webhooks.headers("evt_2", BODY, wrong_secret, now)) == 400
    assert await receiver.post(standard_webhooks.headers("evt_3", BODY, secrets, now - 6 * MINUTE)) == 400
    assert await receiver.post(signed | {"webhook-id": "evt_4"}) == 400
    assert await receiver.post(signed | {"webhook-signature": "nonsense"}) == 400
    for signature in ("v1,%%%", "v1a,%%%", "v1a," + signed["webhook-signature"].partition(",")[2][:-4] + "AAAA"):
        assert await receiver.post(signed | {"webhook-signature": signature}) == 400
    assert await receiver.post(signed | {"webhook-timestamp": "soon"}) == 400
    assert await receiver.post({}) == 400
    assert receiver.said.count(printed.ready) == 1, receiver.said

    failed = BODY.replace(b"job.completed", b"job.failed")
    assert 200 <= await receiver.post(standard_webhooks.headers("evt_5", failed, secrets, now), failed) < 300
    assert printed.failed in receiver.said

    assert (await sample(receiver, secret, folder)).outcome == "delivered"
    assert printed.sample in receiver.said
    assert (await sample(receiver, wrong_secret[0].value, folder)).status_code == 400


async def sample(receiver: Receiver, secret: str, folder: Path) -> Attempt:
    """The result of the relay's own `test` of the receiver's endpoint."""
    settings = {
        "exec": {"api_key": SANDBOX_KEY},
        "storage": {"url": f"sqlite:///{folder}/relay.db"},
        "security": {"allow_http": True, "allow_networks": ["127.0.0.1/32"]},
    }
    relay = await Relay.open(config.from_mapping(settings))
    try:
        host = receiver.url.split("/")[2]
        return await relay.send_test(
            replace(make_endpoint(), url=receiver.url, host=host, secrets=(Secret(secret),)), relay.clock()
        )
    finally:
        await relay.stop()
