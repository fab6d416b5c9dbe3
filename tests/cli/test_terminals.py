"""What people see: every list on terminals of four widths, captured from a pseudo-terminal; and the same in a pipe."""

import asyncio
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import yaml
from rich.cells import cell_len
from sqlalchemy import func, select, update

from relay.cli.output import strip_control_chars
from relay.delivery.enqueue import enqueue
from relay.model import EventType, Instant, ScenarioJob, WatchState
from relay.sandbox.local_server import serve
from relay.store.engine import schema
from relay.store.engine.database import Tx
from relay.store.tables import events, registrations, watches
from relay.web.app import create_app
from tests.commands import EACH
from tests.conftest import Clock
from tests.forking import processes
from tests.forking.each import END
from tests.make import make_event
from tests.node import ROOT
from tests.web.conftest import EXEC_KEY, open_api

WIDTHS = [80, 100, 130, 160]
LONG = "a-channel-with-the-longest-name-that-an-endpoint-can-have-0123"
SCENARIO = "Executive briefing \x1b[31m with a very sceptical [bold] IT director 価格 and her team " * 2
JOB = "j1o2b3i4d5x6"

LISTS = {
    "jobs": [JOB, "active", "settled"],
    "deliveries": [JOB, "pending", "failed"],
    "events": ["job.failed", JOB],
    "endpoints list": ["slack", "enabled", "disabled"],
    "keys create ops --scope read": ["relay_"],  # from now on the API needs a key
    "keys list": ["read"],
    "keys list --all": ["read"],
    "plan": ["the relay polls a job"],
    "check": ["✓ configuration", "✗ Exec workspace default"],
    "doctor": ["## Machine", "## Store"],
    "--help": ["List, add, test and change endpoints."],
}
"""Each list, with what no width may cut off."""
TIMES = ("jobs", "deliveries", "events", "keys list --all")


def on_terminal(command: list[str], width: int, **environ: str) -> str:
    """What the command prints on a terminal of this width, without its control sequences."""
    terminal, its_end = pty.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm"} | environ
    process = subprocess.Popen(command, stdin=its_end, stdout=its_end, stderr=its_end, env=variables)
    os.close(its_end)
    captured = b""
    with suppress(OSError):  # the program has closed its end
        while part := os.read(terminal, 65_536):
            captured += part
    os.close(terminal)
    assert process.wait(60) == 0, captured.decode()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", captured.decode()).replace("\r\n", "\n")


@dataclass
class Stage:
    """A served relay with long names in it, and its configuration file."""

    url: str
    config: Path

    def command(self) -> list[str]:
        """A command that prints all lists, one after another."""
        local = ("keys", "plan", "check", "doctor")
        all_words = [name.split() for name in LISTS]
        lines = [[*words, *(["--config", str(self.config)] if words[0] in local else [])] for words in all_words]
        return [*processes.command(EACH), json.dumps([(str(ROOT), line) for line in lines])]

    def environ(self) -> dict[str, str]:
        return {"RELAY_URL": self.url, "HOME": str(self.config.parent)}

    def on_terminal(self, width: int) -> dict[str, list[str]]:
        """What each command prints on a terminal of this width, without colours."""
        text = on_terminal(self.command(), width, **self.environ())
        return dict(zip(LISTS, (part.split("\n") for part in re.split(rf"{END}\d+{END}\n", text)), strict=False))

    def in_pipe(self) -> dict[str, str]:
        """What each command prints into a pipe, errors apart."""
        done = subprocess.run(
            self.command(), capture_output=True, text=True, timeout=60, check=True, env=os.environ | self.environ()
        )
        return dict(zip(LISTS, re.split(rf"{END}\d+{END}\n", done.stdout), strict=False))


@pytest.fixture
async def stage(sqlite_url: str, tmp_path: Path, clock: Clock) -> AsyncIterator[Stage]:
    config = tmp_path / "config.yaml"
    exec = {"base_url": "http://127.0.0.1:9/rest/v1", "api_key": EXEC_KEY}
    config.write_text(yaml.safe_dump({"exec": exec, "storage": {"url": sqlite_url}}))
    async with open_api(sqlite_url, clock) as api, serve(create_app(api.relay, owns_relay=False)) as url:
        for number, name in enumerate((LONG, "sales")):
            slack = f"https://hooks.slack.com/services/T0/B0/{number}"
            made = await api.make_endpoint(name=name, url=slack, events=["job.failed", "job.completed"])
        await api.post(f"/v1/endpoints/{made['id']}/disable")
        for job_id in (JOB, "j2"):
            await api.register(job_id)
        await api.relay.store.write(partial(fail, now=clock()))
        yield Stage(url, config)


def fail(tx: Tx, now: Instant) -> None:
    """The job ends with long names, and one of its deliveries fails for a long reason."""
    job = {"id": JOB, "status": "failed", "scenario": {"name": SCENARIO}, "error": {"message": SCENARIO}}
    event = events.add(tx, replace(make_event(JOB, EventType.FAILED, now), job=job))
    watch = watches.get_for_update(tx, "default", JOB)
    assert watch is not None
    watch = replace(watch, state=WatchState.SETTLED, next_poll_at=None, ended_at=now)
    watches.save(tx, replace(watch, job=ScenarioJob.model_validate(job)))
    enqueue(tx, event, registrations.lock_subscribers(tx, "default", JOB, EventType.FAILED), now, first_delay=0)
    is_first = schema.deliveries.c.id == select(func.min(schema.deliveries.c.id)).scalar_subquery()
    failed = {"status": "failed", "next_attempt_at": None, "reason": f"500: {SCENARIO}"}
    tx.execute(update(schema.deliveries).where(is_first).values(failed))


@pytest.mark.parametrize("width", WIDTHS)
async def test_every_list_holds(stage: Stage, width: int) -> None:
    """No line is wider than the terminal, ids and statuses are whole, names are shortened, times are relative."""
    shown = await asyncio.to_thread(stage.on_terminal, width)
    for name, whole in LISTS.items():
        text = "\n".join(shown[name])
        assert "Traceback" not in text, text
        # A path is one word, which nothing wraps; how long this one is, pytest decides.
        assert max(cell_len(line) for line in shown[name] if not line.strip().startswith("/")) <= width, text
        for part in whole:
            assert part in text, text
        if name in TIMES:
            assert re.search(r"\b(\d+ [smhd] ago|now)\b", text), text
    ids = "\n".join(shown["deliveries"] + shown["endpoints list"])
    assert len(re.findall(r"\b(?:dlv|ep)_[0-9A-Z]{26}\b", ids)) == 3 + 2
    assert ("…" in "".join(shown["jobs"])) is (width < len(SCENARIO))
    if width >= 130:
        assert "failed, completed" in "\n".join(shown["endpoints list"])


async def test_a_pipe_gets_everything(stage: Stage) -> None:
    """Each row is one line with the same columns, and no name, reason or time is shortened; JSON is whole too."""
    shown = await asyncio.to_thread(stage.in_pipe)
    for name in ("jobs", "deliveries", "events", "endpoints list", "keys list"):
        titles, *rows = [line.split("\t") for line in shown[name].splitlines()]
        assert rows
        assert {len(row) for row in rows} == {len(titles)}
        assert "…" not in shown[name].replace(".com/…", "")  # a masked URL
    clean = strip_control_chars(SCENARIO)
    assert clean in shown["jobs"]
    assert f"500: {clean}" in shown["deliveries"]
    assert LONG in shown["endpoints list"]
    assert re.search(r"\t2024-03-01T12:00:00.000Z\t", shown["deliveries"])
    [finding] = [line for line in shown["check"].splitlines() if line.startswith("✗ Exec workspace default")]
    assert finding.endswith("can this machine reach it?")


def test_the_demo_holds_on_a_terminal_of_80() -> None:
    """The live table and the summary, as the pseudo-terminal shows them."""
    shown = on_terminal([*processes.command(), "demo", "--jobs", "1"], 80)
    assert max(map(cell_len, shown.splitlines())) <= 80, shown
    assert "✓ verified" in shown
    assert "1 of 1 jobs notified" in shown
