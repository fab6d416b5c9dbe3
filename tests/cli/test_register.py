"""`relay register`: what it prints where nothing is sent for now."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relay.cli import main
from relay.sandbox.local_server import serve
from tests.conftest import Clock
from tests.web.conftest import open_api

URL = "https://example.com/zap"


async def test_register_warns_of_a_disabled_endpoint(
    sqlite_url: str, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason and what enables it; standard output stays the JSON of the registration."""
    monkeypatch.chdir(tmp_path)

    async def register(job_id: str) -> Result:
        words = ["register", job_id, "--url", URL, "--server", at]
        return await asyncio.to_thread(CliRunner().invoke, main, words)

    async with open_api(sqlite_url, clock) as api, serve(api.app) as at:
        first = await register("j1")
        assert (first.exit_code, first.stderr) == (0, "")
        id = json.loads(first.stdout)["endpoint"]["id"]
        await api.post(f"/v1/endpoints/{id}/disable")
        second = await register("j2")
        assert second.exit_code == 0
        assert json.loads(second.stdout)["endpoint"]["enabled"] is False
        assert "it is disabled, because disabled by hand" in second.stderr
        assert f"deliveries wait until `relay endpoints enable {id}`" in second.stderr
