"""The OpenAPI document for other tools: linters, and clients that are generated from it. Run by `make clients`."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from relay.web.app import OPERATIONS
from relay.web.core.openapi import build_openapi
from tests.node import ROOT, installed
from tests.web.waiting import KEY, served_relay

FOLDER = ROOT / "tests/openapi"
GENERATOR = Path(os.environ.get("RELAY_CLIENT_GENERATOR", ROOT / "build/openapi-client/bin/openapi-python-client"))

TYPESCRIPT = """\
import type { components, paths } from "./relay.d.ts";

type Register = paths["/v1/registrations"]["post"];
type Asked = Register["requestBody"]["content"]["application/json"];
type Made = Register["responses"]["201"]["content"]["application/json"];
type Job = components["schemas"]["JobDetail"];

export async function register(url: string, key: string, jobId: string): Promise<Made> {
  const asked: Asked = { job_id: jobId, format: "auto", exec_callback: false };
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  const answer = await fetch(`${url}/v1/registrations`, { method: "POST", headers, body: JSON.stringify(asked) });
  return (await answer.json()) as Made;
}

const [url, key] = process.argv.slice(2);
const made = await register(url, key, "j1");
const found = await fetch(`${url}/v1/jobs/${made.job_id}`, { headers: { authorization: `Bearer ${key}` } });
const job = (await found.json()) as Job;
console.log(JSON.stringify({ job_id: made.job_id, ended: job.ended }));
"""
"""A program against the generated types: it compiles strictly, and registers a job."""

PYTHON = """\
import json, sys

from generated import AuthenticatedClient
from generated.api.jobs import get_job
from generated.api.registrations import create_registration
from generated.models import RegistrationRequest

url, key = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=key)
made = create_registration.sync(client=client, body=RegistrationRequest(job_id="j1"))
job = get_job.sync(job_id="j1", client=client)
print(json.dumps({"job_id": made.job_id, "ended": job.ended}))
"""


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The document of a relay with API keys."""
    path = tmp_path_factory.mktemp("openapi") / "openapi.json"
    path.write_bytes(build_openapi(OPERATIONS))
    return path


def program(name: str) -> str:
    """A program of the folder's packages."""
    return str(installed(FOLDER) / "node_modules/.bin" / name)


def done(*words: str, folder: Path) -> str:
    """The output of a program that succeeded."""
    found = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_redocly_finds_no_error(document: Path) -> None:
    """`redocly lint`, with its recommended rules."""
    done(program("redocly"), "lint", str(document), folder=document.parent)


def test_spectral_finds_no_error(document: Path) -> None:
    """`spectral lint`, with its rules for OpenAPI."""
    done(
        program("spectral"), "lint", "--ruleset", str(FOLDER / ".spectral.yaml"), str(document), folder=document.parent
    )


async def printed(served_url: str, *words: str, folder: Path) -> Any:
    """The JSON that a client printed."""
    return json.loads(await asyncio.to_thread(done, *words, served_url, KEY, folder=folder))


async def test_typescript_compiles_and_registers(document: Path, sqlite_url: str, tmp_path: Path) -> None:
    """Types by openapi-typescript, checked by tsc in its strict mode."""
    done(program("openapi-typescript"), str(document), "-o", "relay.d.ts", folder=tmp_path)
    (tmp_path / "client.mts").write_text(TYPESCRIPT)
    (tmp_path / "node.d.ts").write_text("declare const process: { argv: [string, string, string, string] };\n")
    strict = ("--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom")
    done(program("tsc"), *strict, "client.mts", "node.d.ts", folder=tmp_path)
    async with served_relay(sqlite_url) as served:
        assert await printed(served.url, "node", "client.mjs", folder=tmp_path) == {"job_id": "j1", "ended": False}


async def test_python_compiles_and_registers(document: Path, sqlite_url: str, tmp_path: Path) -> None:
    """A client by openapi-python-client, compiled as a whole."""
    if not GENERATOR.exists():
        pytest.skip(f"{GENERATOR} is missing: openapi-python-client is NOT tried; `make clients` installs it")
    words = ("generate", "--path", str(document), "--output-path", "generated", "--meta", "none")
    done(str(GENERATOR), *words, folder=tmp_path)
    done(sys.executable, "-m", "compileall", "-q", "generated", folder=tmp_path)
    (tmp_path / "client.py").write_text(PYTHON)
    python = str(GENERATOR.parent / "python")
    async with served_relay(sqlite_url) as served:
        assert await printed(served.url, python, "client.py", folder=tmp_path) == {"job_id": "j1", "ended": False}
