"""The documentation's commands that call a relay, page by page and unchanged, against a running relay."""

import asyncio
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import DOCS, ROOT, all_pages, commands
from tests.e2e.conftest import API_KEY, SECOND_KEY, Served, Stage
from tests.forking import processes
from tests.make import SECRET
from tests.node import needs

RELAY = "https://relay.example.com"
ELSEWHERE = {"README.md", "production.md", "quick-start.md", "wait.md"}
"""Typed by tests of their own."""
MOVES = "relay import "
"""Wants a PostgreSQL: `tests/cli/test_import.py`, and beside a relay at work `tests/torture/moving.py`, have one."""
FILES = {
    "make-key.txt": "x-make-apikey: a long random text",
    "n8n-token.txt": "x-relay-token: a long random text",
    "secret.txt": SECRET,
    "slack-url.txt": "https://hooks.slack.com/services/T000/B000/XXXX",
    "webex.json": '{"markdown": "{{ summary }}"}',
}
"""What the pages have their readers write before."""
NOWHERE = {"deny_networks": ["0.0.0.0/0", "::/0"], "allow_networks": []}
"""Whatever a page has the relay call, nothing is dialled."""


def asked(page: Path) -> list[str]:
    """The commands of a page that call a relay or belong to it; other programs have tests of their own."""
    found = commands(page.read_text()) if page.name not in ELSEWHERE else []
    mine = [one for one in found if one.startswith("relay ") or (one.startswith("curl ") and RELAY in one)]
    return [one for one in mine if not one.startswith(MOVES)]


PAGES = [page for page in all_pages() if asked(page)]


@dataclass
class Reader:
    """Somebody with a page, a terminal and a relay."""

    stage: Stage
    relay: Served
    endpoint: str
    delivery: str

    async def type(self, command: str) -> None:
        """Runs a command, and confirms if it asks. Fails if the command fails."""
        if restoring := command.startswith("relay restore"):
            assert await self.relay.stop() == 0
        if command == "relay sending discard":  # the page has resumed already: it says either or
            await self._run("relay sending suspend")
        typed = command.replace(RELAY, self.relay.url).replace("/backups/", f"{self.stage.folder}/backups/")
        typed = typed.replace("ep_01JC...", self.endpoint).replace("dlv_01JC4ZJ5QX0000000000000000", self.delivery)
        said = await self._run(typed.replace("curl ", "curl -sSf ", 1))
        if found := re.search(r'^{"id":"(ep_\w+)"', said):
            self.endpoint = found[1]
        if restoring:
            self.relay.probe = "/readyz?exclude=exec"  # it sends nothing until the page says so
            await self.relay.start()
            self.relay.probe = "/readyz"

    async def _run(self, command: str) -> str:
        known = {"PATH": f"{self.stage.folder}/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        known |= {"RELAY_URL": self.relay.url, "RELAY_API_KEY": API_KEY}
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", command), cwd=self.stage.folder, env=known, stdin=pipe, stdout=pipe, stderr=pipe
        )
        said, wrong = await asyncio.wait_for(process.communicate(b"y\n"), 60)
        # Nothing is dialled here: what sends a sample says that it did not arrive.
        sends = command.startswith("relay endpoints test ") or command.endswith(" --send")
        code = 1 if sends and "✗" in (said + wrong).decode() else 0
        assert process.returncode == code, f"{command}\n{said.decode()}{wrong.decode()}"
        return said.decode()


async def reader(stage: Stage) -> Reader:
    """A relay with an endpoint and a delivery, before any command runs."""
    relay, written = stage.serve(security=NOWHERE), stage.folder / "config.yaml"
    known = yaml.safe_load(written.read_text())
    key = known["exec"].pop("api_key")
    known["workspaces"] = [{"name": "default", "api_key": key}, {"name": "sales", "api_key": SECOND_KEY}]
    written.write_text(yaml.safe_dump(known))
    processes.make_executable(stage.folder / "bin/relay")
    (stage.folder / "backups").mkdir()
    for name, text in FILES.items():
        (stage.folder / name).write_text(text)
    await relay.start()
    seed, found = stage.exec.add(lasts=1), Reader(stage, relay, "", "")
    await found.type(f"relay register {seed.id} --url https://example.com/seed")
    async with asyncio.timeout(30):
        while not (made := (await relay.ask("GET", "/v1/deliveries")).json()["data"]):
            await asyncio.sleep(0.02)
    found.delivery, found.endpoint = made[0]["id"], made[0]["endpoint"]["id"]
    await found.type("relay endpoints add https://example.com/orders --name orders")
    return found


@pytest.mark.timeout(240)
async def test_every_command_of_the_pages_succeeds(stage: Stage) -> None:
    """All pages, one after the other, against the same relay."""
    needs("curl", "the commands of the pages")
    typing = await reader(stage)
    for page in PAGES:
        for job_id in set(re.findall(r"\bj[0-9a-z]{11}\b", page.read_text())) - set(stage.exec.jobs):
            stage.exec.add(job_id=job_id, lasts=1)
        for command in asked(page):
            await typing.type(command)
        for name in re.findall(r"relay keys create (\w+)", page.read_text()):  # the next page makes one of its own
            await typing.type(f"relay keys revoke {name} || true")


def test_the_pages_contain_commands() -> None:
    """The test above finds pages and commands of every kind."""
    typed = [command for page in PAGES for command in asked(page)]
    assert len(PAGES) >= 12
    assert len(typed) >= 35
    assert {DOCS / "operations.md", DOCS / "how-to/slack.md"} <= set(PAGES)
