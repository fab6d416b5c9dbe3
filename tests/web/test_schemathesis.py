"""The API is asked what its document allows, and much that it does not; all answers hold to the document."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest

from relay.sandbox.exec_server import ExecSettings, FakeExec
from relay.sandbox.local_server import serve
from relay.sandbox.rate_limits import UNLIMITED
from relay.security import hash_api_key
from relay.web.app import OPERATIONS, create_app
from tests.conftest import Clock
from tests.web.conftest import EXEC_KEY, Api, open_api

ROOT = Path(__file__).parents[2]
KEY = "relay_" + "s" * 43
SECURITY = {"api_keys": [{"name": "all", "hash": hash_api_key(KEY)}], "requests_per_minute": None}
NOWHERE = {"deny_networks": ["0.0.0.0/0", "::/0"]}
"""Nothing is sent to the endpoints that are made up."""
REPLACED = "positive_data_acceptance,not_a_server_error"
"""Ours allow the refusals that no schema can foresee, and that a relay is not ready after a call suspended sending:
`asked_by_schemathesis.py`."""


async def asked(url: str, folder: Path, examples: int) -> tuple[int | None, str]:
    """Exit code and words of what schemathesis has to say of the API at `url`."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    asking = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(folder / "schemathesis.toml"), "--no-color"),
        *("run", f"{url}/openapi.json", "--seed", "1", "--max-examples", str(examples)),
        *("--checks", "all", "--exclude-checks", REPLACED, "--continue-on-failure", "--generation-deterministic"),
        *("--output-truncate", "false", "--suppress-health-check", "all"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environ | {"SCHEMATHESIS_HOOKS": "tests.web.asked_by_schemathesis"},
        cwd=folder,
    )
    try:
        said, _ = await asyncio.wait_for(asking.communicate(), 1_000)
    finally:
        if asking.returncode is None:
            asking.kill()
            await asking.wait()
    return asking.returncode, said.decode()


def settings(key: str | None, ids: dict[str, list[str]]) -> str:
    """Settings of schemathesis: the ids that are there, by the first part of the path, so that not all are unknown."""
    lines = ["[dictionaries]", *(f"{name} = {{ values = {json.dumps(known)} }}" for name, known in ids.items())]
    for name in ids:
        drawn = f'{{ dictionary = "{name}", probability = 0.8 }}'
        parameter = {"jobs": "job_id", "workspaces": "workspace"}.get(name, "id")
        lines += [
            "[[operations]]",
            f'include-path-regex = "^/v1/{name}/.*"',
            f'parameters = {{ "{parameter}" = {drawn} }}',
        ]
    if key is not None:
        lines += ["[auth.openapi.key]", f'bearer = "{key}"']
    return "\n".join(lines)


async def settled(api: Api) -> dict[str, list[str]]:
    """Some of everything, and its ids."""
    for number in range(4):
        await api.make_endpoint(name=f"ops-{number}", url=f"https://example.com/{number}")
        await api.register(f"j{number}")
        await api.deliver(f"j{number}")
    named = {"endpoints": "id", "registrations": "id", "deliveries": "id", "jobs": "job_id", "workspaces": "name"}
    return {name: [row[id] for row in (await api.get(f"/v1/{name}"))["data"]] for name, id in named.items()}


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize(
    ("security", "examples"),
    [
        pytest.param(SECURITY, 3, id="in short"),
        pytest.param(SECURITY, 12, id="with a key", marks=pytest.mark.long),
        pytest.param({}, 12, id="without keys", marks=pytest.mark.long),
    ],
)
async def test_every_response_matches_the_openapi_document(
    security: dict[str, object], examples: int, sqlite_url: str, clock: Clock, tmp_path: Path
) -> None:
    """Statuses, types, schemas and headers are documented; invalid requests are refused; nothing fails."""
    key = KEY if security else None
    exec = FakeExec(ExecSettings(keys=(EXEC_KEY,), limits=UNLIMITED, seed=1), clock)
    async with (
        serve(exec.app) as exec_url,
        open_api(
            sqlite_url,
            clock,
            security=security | NOWHERE,
            exec={"base_url": f"{exec_url}/rest/v1", "api_key": EXEC_KEY},
        ) as api,
        serve(create_app(api.relay, owns_relay=False)) as url,
    ):
        api.http.headers["Authorization"] = f"Bearer {key}"
        (tmp_path / "schemathesis.toml").write_text(settings(key, await settled(api)))
        code, said = await asked(url, tmp_path, examples)
    assert code == 0, said
    tested = re.search(r"Tested: (\d+)", said)
    assert tested, said
    assert int(tested[1]) == len(OPERATIONS) - 1  # all but GET /openapi.json, which it reads
