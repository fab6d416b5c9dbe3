"""The relay as a process: clean stops, failed starts, a full disk."""

import asyncio
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from relay.cli import COMMANDS
from relay.cli.stopping import STOP_TIMEOUT
from relay.sandbox.receiver import FINE, HANG, Respond
from tests.commands import outputs
from tests.e2e.conftest import API_KEY, Stage, free_port, run
from tests.forking import processes
from tests.loopback import http_client
from tests.make import SECRET
from tests.torture import disks

BEARER = {"authorization": f"Bearer {API_KEY}"}
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_signal_ends_the_relay_within_ten_seconds(stage: Stage, number: int) -> None:
    """The attempt in flight ends or is released, the exit code is 0, and the next run makes it."""
    relay = stage.serve(delivery={"timeout": "30s"})
    await relay.start()
    stage.receiver.always(HANG)
    job = stage.exec.add(lasts=1)
    async with http_client(base_url=relay.url, headers=BEARER, trust_env=False) as http:
        asked = {"job_id": job.id, "callback_url": f"{stage.receiver_url}/x", "secret": SECRET}
        (await http.post("/v1/registrations", json=asked)).raise_for_status()
    [first] = await stage.receiver.wait_for(1)
    assert await relay.stop(number) == 0, "it exits with 1 after STOP_TIMEOUT"
    assert STOP_TIMEOUT < 10
    stage.receiver.always(FINE)
    await relay.start()
    both = await stage.receiver.wait_for(2)
    assert (both[1].webhook_id, both[1].body) == (first.webhook_id, first.body)
    assert await relay.stop() == 0


async def test_a_relay_killed_before_it_told_the_operator_tells_in_its_next_run(stage: Stage) -> None:
    """kill -9 as soon as the endpoint is disabled, while the operator's own endpoint does not answer: nothing of the
    news was only in memory."""
    ops = {"name": "ops", "url": f"{stage.receiver_url}/ops", "secret": SECRET, "events": []}
    relay = stage.serve(ops, operator={"endpoints": ["ops"]})
    await relay.start()
    stage.receiver.always(Respond(status=410), path="/gone")
    stage.receiver.always(HANG, path="/ops")
    job = stage.exec.add(lasts=1)
    async with http_client(base_url=relay.url, headers=BEARER, trust_env=False) as http:
        asked = {"job_id": job.id, "callback_url": f"{stage.receiver_url}/gone", "secret": SECRET}
        made = (await http.post("/v1/registrations", json=asked)).raise_for_status().json()
        async with asyncio.timeout(60):
            while (await http.get(f"/v1/endpoints/{made['endpoint']['id']}")).json()["enabled"]:
                await asyncio.sleep(0.01)
    await relay.stop(signal.SIGKILL)
    stage.receiver.always(FINE, path="/ops")
    await relay.start()
    async with asyncio.timeout(60):
        told: set[str | None] = set()
        while told != {"endpoint.disabled", "delivery.failed"}:
            await asyncio.sleep(0.05)
            told = {one.event_type for one in stage.receiver.received if one.path == "/ops" and one.answered == 204}
    assert await relay.stop() == 0


async def test_a_hangup_reloads_the_configuration(stage: Stage) -> None:
    """SIGHUP: a mistake is logged with its line and changes nothing; then another API key is valid, the old one not."""
    relay, new_key = stage.serve(), "relay_" + "n" * 43
    await relay.start()
    assert relay.process is not None
    path = stage.folder / "config.yaml"
    good = path.read_text()
    async with http_client(base_url=relay.url, trust_env=False) as http:

        async def status(key: str) -> int:
            return (await http.get("/v1/jobs", headers={"authorization": f"Bearer {key}"})).status_code

        path.write_text(good.replace("tick:", "tack:"))
        relay.process.send_signal(signal.SIGHUP)
        await relay.logs('polling.tack: unknown key; did you mean "tick"?')
        assert f"config.yaml:{good[: good.index('tick:')].count(chr(10)) + 1}: " in relay.log.read_text()
        assert (await status(API_KEY), await status(new_key)) == (200, 401)
        path.write_text(good.replace(API_KEY, new_key).replace("200ms", "300ms"))
        relay.process.send_signal(signal.SIGHUP)
        await relay.logs("polling.interval was changed in the configuration, but takes effect only after a restart")
        assert (await status(API_KEY), await status(new_key)) == (401, 200)
    assert await relay.stop() == 0


async def test_keys_are_made_and_revoked_while_it_runs(stage: Stage) -> None:
    """With a key in its store a relay may listen on other addresses; a new key works at once, a revoked one fails
    within a second. `relay keys` works although the running relay holds the SQLite file."""
    relay = stage.serve(security={"api_keys": []}, server={"host": "0.0.0.0"})  # noqa: S104

    async def keys(*words: str) -> str:
        done = await asyncio.to_thread(run, "keys", *words, "--config", "config.yaml", folder=stage.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = (await keys("create", "ops", "--scope", "read")).strip()
    await relay.start()
    second = (await keys("create", "zapier", "--scope", "read")).strip()
    async with http_client(base_url=relay.url, trust_env=False) as http:

        async def becomes(key: str, expected: int) -> None:
            async with asyncio.timeout(30):
                while (await http.get("/v1/jobs", headers={"authorization": f"Bearer {key}"})).status_code != expected:
                    await asyncio.sleep(0.05)

        assert (await http.get("/v1/jobs")).status_code == 401
        await becomes(second, 200)
        await keys("revoke", "zapier")
        await becomes(second, 401)
        await becomes(first, 200)
    assert await relay.stop() == 0


async def test_requests_without_a_key_are_refused(stage: Stage) -> None:
    """`relay serve` serves as in `tests/web/test_http_protocol.py`: malformed HTTP gets an answer in the envelope."""
    relay = stage.serve()
    await relay.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(relay.url.rpartition(":")[2]))
    writer.write(b"nonsense\r\n\r\n")
    said = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    assert said.startswith(b"HTTP/1.1 400")
    assert b'"invalid_http"' in said
    assert await relay.stop() == 0


async def test_a_wrong_configuration_is_exit_code_2(stage: Stage) -> None:
    """The place and the right name are on stderr, and nothing was started."""
    path = stage.write_config(polling={"intervall": "1s"})
    done = await asyncio.to_thread(run, "serve", "--config", str(path), folder=stage.folder)
    assert done.returncode == 2
    assert 'polling.intervall: unknown key; did you mean "interval"?' in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_configured_endpoint_that_may_not_be_called_is_exit_code_2(stage: Stage) -> None:
    """A metadata address in the configuration is refused at start, naming the endpoint."""
    endpoint = {"name": "meta", "url": "https://169.254.169.254/latest"}
    path = stage.write_config(endpoint, server={"port": free_port()})
    done = await asyncio.to_thread(run, "serve", "--config", str(path), folder=stage.folder)
    assert done.returncode == 2
    assert "endpoints.meta.url" in done.stderr


async def test_a_port_in_use_is_exit_code_1(stage: Stage) -> None:
    """Says which port, and what to set."""
    taken = int(stage.receiver_url.rpartition(":")[2])
    path = stage.write_config(server={"port": taken})
    done = await asyncio.to_thread(run, "serve", "--config", str(path), folder=stage.folder)
    assert done.returncode == 1
    assert f"127.0.0.1:{taken}" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_second_relay_on_one_file_is_exit_code_1(stage: Stage) -> None:
    """Two relays on one SQLite file would poll and send twice."""
    relay = stage.serve()
    await relay.start()
    path = stage.write_config(server={"port": free_port()})
    done = await asyncio.to_thread(run, "serve", "--config", str(path), folder=stage.folder)
    assert await relay.stop() == 0
    assert done.returncode == 1
    assert "in use by another relay" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user; tests/store runs it for ordinary users")
async def test_a_store_that_can_not_be_written_is_exit_code_1(tmp_path: Path) -> None:
    """The relay reports a read-only file at the start, not at the first registration."""
    shared = tmp_path / "shared"
    shared.mkdir()
    sqlite3.connect(shared / "relay.db").close()
    (shared / "relay.db").touch()
    (shared / "relay.db").chmod(0o444)
    shared.chmod(0o555)
    for folder in [*tmp_path.parents, tmp_path]:
        if not folder.stat().st_mode & 0o001:  # the other user has to reach the folder
            folder.chmod(0o755)
    code = (
        "import os, sys, asyncio; from relay.store.engine.database import Store; os.setgid(65534); os.setuid(65534)\n"
        "try: asyncio.run(Store.open(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error); sys.exit(1)\n"
    )
    command = [*processes.command("tests.forking.code"), code, f"sqlite:///{shared}/relay.db"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30)
    assert done.returncode == 1, done.stderr
    assert "StoreError" in done.stdout
    assert "may write to" in done.stdout


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of twelve megabytes."""
    if missing := disks.why_not():
        pytest.skip(f"the full disk is NOT tried end to end here: {missing}")
    with disks.small_disk(tmp_path / "disk", 12) as mounted:
        yield mounted


async def test_a_full_disk_is_reported_and_loses_nothing(stage: Stage, disk: Path) -> None:
    """While nothing can be written, requests get 503 with the reason. Every job that got 201 is stored, and delivered
    once there is space."""
    relay = stage.serve(storage={"url": f"sqlite:///{disk}/relay.db"}, polling={"interval": "1h"})
    await relay.start()
    accepted: list[str] = []
    async with http_client(base_url=relay.url, headers=BEARER, trust_env=False, timeout=10) as http:
        for number in range(2_000):
            if number == 20:
                disks.fill(disk)
            job = stage.exec.add(lasts=1)
            asked = {"job_id": job.id, "callback_url": f"{stage.receiver_url}/{job.id}", "secret": SECRET}
            answer = await http.post("/v1/registrations", json=asked | {"metadata": {"filler": "x" * 8_000}})
            if answer.status_code != 201:
                break
            accepted.append(job.id)
        assert answer.status_code == 503, answer.text
        assert "disk is full" in answer.json()["error"]["message"]
        assert (await http.get("/healthz")).status_code == 200
        disks.make_room(disk)
        for job_id in accepted:
            assert (await http.get(f"/v1/jobs/{job_id}")).status_code == 200
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not set(accepted) <= {one.path[1:] for one in stage.receiver.received}:
        await asyncio.sleep(0.05)
    assert set(accepted) <= {one.path[1:] for one in stage.receiver.received}
    assert len(accepted) >= 20
    assert await relay.stop() == 0


async def test_check_reports_what_is_right_and_wrong(stage: Stage) -> None:
    """`relay check` exits 0 when all is well, and 1 with the reason when Exec refuses the key."""
    path = stage.write_config()
    fine = await asyncio.to_thread(run, "check", "--config", str(path), folder=stage.folder)
    assert fine.returncode == 0, fine.stdout + fine.stderr
    assert "accepts the key" in fine.stdout
    path = stage.write_config(exec={"api_key": "exec_live_" + "0" * 40})
    refused = await asyncio.to_thread(run, "check", "--config", str(path), folder=stage.folder)
    assert refused.returncode == 1
    assert "refuses the key (401" in refused.stdout
    assert "0" * 40 not in refused.stdout + refused.stderr


def test_keygen_output_is_valid_configuration(tmp_path: Path) -> None:
    """The printed snippet contains the hash of the printed key."""
    done = run("keygen", "--name", "zapier", folder=tmp_path)
    key = done.stdout.splitlines()[0]
    assert key.startswith("relay_")
    digest = f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    [_, _, _, _, *written, _, _, _, variable] = done.stdout.splitlines()
    assert yaml.safe_load("\n".join(written)) == {"security": {"api_keys": [{"name": "zapier", "hash": digest}]}}
    assert variable == f"RELAY_SECURITY__API_KEYS=[{digest}]"
    assert run("keygen", "--signing", folder=tmp_path).stdout.startswith("whsec_")


async def test_the_help_of_every_command_has_examples(tmp_path: Path) -> None:
    """`--help` of each verb shows commands that can be copied."""
    verbs = list(COMMANDS)
    for verb, (code, printed) in zip(
        verbs, await outputs([(tmp_path, (verb, "--help")) for verb in verbs]), strict=True
    ):
        assert code == 0, printed
        assert f"relay {verb}" in printed.split("Usage:")[1].split("\n", 1)[1]


@pytest.mark.timeout(150)
def test_the_demo_succeeds(tmp_path: Path) -> None:
    """`relay demo --json` ends with its summary as one line, exit code 0, everything verified."""
    done = subprocess.run(
        [*processes.command(), "demo", "--jobs", "5", "--seed", "3", "--json"],
        capture_output=True,
        text=True,
        timeout=140,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["ok"] is True
    assert summary["jobs"] == summary["notified"] == summary["verified"] == 5
    assert summary["polls"] == summary["polls_by_exec"] >= 5
    assert done.stdout.count("signature verified") == 5
