"""The Zapier integration: what it promises is what the relay sends, and its own tests pass against a real relay."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relay import config, formats
from relay.formats import flat
from relay.formats.sample_event import SAMPLE_CONTEXT, SAMPLE_JOB
from relay.model import FINAL_EVENTS, Event, EventType, event_id, from_rfc3339
from relay.process import system_clock
from relay.sandbox.exec_server import BASE, SANDBOX_KEY, ExecSettings, FakeExec
from relay.sandbox.job_simulation import JobProfile
from relay.sandbox.local_server import serve
from relay.sandbox.rate_limits import UNLIMITED
from relay.service import Relay
from relay.web.app import create_app
from relay.web.schemas.responses import RegistrationResponse
from tests.make import make_event
from tests.node import DEPENDENCY_FREE, PACKAGES, ROOT, installed

FOLDER = ROOT / "integrations/zapier"
TRIGGER = json.loads((FOLDER / "triggers/job_ended.json").read_text())
ACTION = json.loads((FOLDER / "creates/register_job.json").read_text())
CREATED = json.loads((FOLDER / "creates/create_scenario_job.json").read_text())
FOUND = json.loads((FOLDER / "searches/find_job.json").read_text())
KEY, READ_KEY = ("relay_" + letter * 43 for letter in "zr")


def sample_event() -> Event:
    """What `test` sends to an endpoint, at the time that Exec's example names."""
    ended = from_rfc3339(SAMPLE_JOB["completed_at"]) or 0
    job_id = SAMPLE_JOB["id"]
    id = event_id("default", job_id, EventType.COMPLETED)
    return Event(
        id=id,
        workspace="default",
        job_id=job_id,
        type=EventType.COMPLETED,
        occurred_at=ended,
        job=SAMPLE_JOB,
        created_at=ended,
        context=replace(SAMPLE_CONTEXT, metadata={}),
    )


def test_the_triggers_fields_are_the_formats_keys() -> None:
    """In the same order: what a Zap maps is what comes."""
    assert [field["key"] for field in TRIGGER["outputFields"]] == list(flat.flat_fields(make_event(), None))


def test_the_triggers_sample_matches_the_relay() -> None:
    """Rendered by the format itself, so it can't drift."""
    assert json.loads(formats.render("zapier", sample_event(), None)) == TRIGGER["sample"]


def test_the_triggers_fields_have_the_right_types() -> None:
    """A number is called a number, a time a time, all else text."""
    for field in TRIGGER["outputFields"]:
        value = TRIGGER["sample"][field["key"]]
        is_time = isinstance(value, str) and from_rfc3339(value) is not None
        is_number = isinstance(value, int) and not isinstance(value, bool)
        expected = (
            "boolean" if isinstance(value, bool) else "number" if is_number else "datetime" if is_time else "string"
        )
        assert field["type"] == expected, field


def test_the_triggers_choices_are_the_endings() -> None:
    """No event is missing from the trigger's list, and none is made up."""
    assert list(TRIGGER["events"]) == [event.value for event in FINAL_EVENTS]


def test_the_actions_fields_are_in_the_answer() -> None:
    """What the action shows is what POST /v1/registrations answers."""
    keys = [field["key"] for field in ACTION["outputFields"]]
    assert list(ACTION["sample"]) == keys
    assert set(keys) <= set(RegistrationResponse.model_fields)


def test_the_new_actions_samples_have_their_fields() -> None:
    """Creating and finding a job show exactly the fields that they promise."""
    for shown in (CREATED, FOUND):
        assert list(shown["sample"]) == [field["key"] for field in shown["outputFields"]]


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.name)
def test_the_lock_file_holds_no_address(folder: Path) -> None:
    """Each package is pinned by version and hash, not by where somebody once downloaded it."""
    assert "omit-lockfile-registry-resolved=true" in (folder / ".npmrc").read_text().splitlines()
    lock = json.loads((folder / "package-lock.json").read_text())
    packages = {name: found for name, found in lock["packages"].items() if name}
    assert packages
    assert all(re.match(r"sha512-", found["integrity"]) for found in packages.values())
    assert not any("resolved" in found for found in packages.values())


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.name)
def test_packages_are_pinned(folder: Path) -> None:
    """Exactly one version of each, the one that the tests ran with."""
    package = json.loads((folder / "package.json").read_text())
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in package["dependencies"].values())


def test_the_build_includes_conditional_modules() -> None:
    """Files that only Node's `module-sync` condition leads to: without them what is pushed does not start."""
    patterns = json.loads((FOLDER / ".zapierapprc").read_text())["includeInBuild"]
    assert any(re.search(pattern, "node_modules/async-function/require.mjs") for pattern in patterns)
    assert not any(re.search(pattern, "test/app.test.js") for pattern in patterns)


def test_every_package_is_listed() -> None:
    """PACKAGES names each package.json of ours: those of a virtual environment or of installed packages are not."""

    def ours(path: Path) -> bool:
        return not any(part == "node_modules" or part.startswith(".") for part in path.relative_to(ROOT).parts)

    assert {path.parent for path in ROOT.rglob("package.json") if ours(path)} == {*PACKAGES, *DEPENDENCY_FREE}
    for folder in DEPENDENCY_FREE:
        assert not {"dependencies", "devDependencies"} & set(json.loads((folder / "package.json").read_text()))


@pytest.fixture
async def surroundings(tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """A relay between Exec's stand-in and loopback, as the integration's tests want it in their environment."""
    law = JobProfile(median=300, sigma=0, queued=50)
    exec = FakeExec(ExecSettings(limits=UNLIMITED, profile=law, seed=1), system_clock)
    async with AsyncExitStack() as stack:
        exec_url = await stack.enter_async_context(serve(exec.app))
        relay = await Relay.open(config.from_mapping(settings(f"{exec_url}{BASE}", tmp_path)))
        url = await stack.enter_async_context(serve(create_app(relay)))
        environment = {"RELAY_URL": url, "RELAY_KEY": KEY, "RELAY_READ_KEY": READ_KEY}
        yield environment | {"EXEC_URL": exec_url, "EXEC_KEY": SANDBOX_KEY}


def settings(exec_url: str, folder: Path) -> dict[str, Any]:
    keys: list[dict[str, Any]] = [
        {"name": "zapier", "key": KEY, "scopes": ["subscribe", "register", "read"]},
        {"name": "reader", "key": READ_KEY, "scopes": ["read"]},
    ]
    budget = {"per_minute": 100_000, "per_day": 10_000_000, "share": 1.0}
    return {
        "exec": {"base_url": exec_url, "api_key": SANDBOX_KEY, "budget": budget},
        "polling": {"strategy": "interval", "interval": "200ms", "tick": "50ms"},
        "storage": {"url": f"sqlite:///{folder}/relay.db"},
        "security": {
            "api_keys": keys,
            "allow_http": True,
            "allow_networks": ["127.0.0.0/8"],
            "allow_networks_for": "register",
        },
    }


@pytest.mark.timeout(300)
async def test_the_integrations_own_tests_pass(surroundings: dict[str, str]) -> None:
    """Connecting, subscribing, a job's whole way into a Zap, samples and unsubscribing, called as Zapier does."""
    folder = await asyncio.to_thread(installed, FOLDER)
    environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *("npm", "test"),
        cwd=folder,
        env=environ | surroundings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, said.decode()
