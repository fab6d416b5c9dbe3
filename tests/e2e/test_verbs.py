"""Commands that call a running relay, as processes of their own."""

import asyncio
import json
import os
import re
import subprocess

from relay.sandbox.receiver import Respond
from tests.e2e.conftest import API_KEY, Stage, run


async def test_one_command_resends_an_outage(stage: Stage) -> None:
    """`relay resend --failed` counts, asks and sends; without a confirmation or --yes it sends nothing."""
    relay = stage.serve(delivery={"timeout": "2s", "schedule": ["0s"]})
    await relay.start()
    stage.receiver.script(*[Respond(status=500)] * 3)

    async def verb(*words: str, stderr: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
        known = {"RELAY_URL": relay.url, "RELAY_API_KEY": API_KEY}
        return await asyncio.to_thread(run, *words, folder=stage.folder, stderr=stderr, **known)

    for number in range(3):
        job = stage.exec.add(lasts=1)
        assert (await verb("register", job.id, "--url", f"{stage.receiver_url}/out{number}")).returncode == 0
        await stage.receiver.wait_for(number + 1)
    counted = await verb("resend", "--failed", "--dry-run")
    while "3 failed deliveries would be sent again" not in counted.stdout:  # the last is being written down
        counted = await verb("resend", "--failed", "--dry-run")
    unsure = await verb("resend", "--failed")
    assert (unsure.returncode, "Send 3 failed deliveries again?" in unsure.stderr) == (1, True)
    assert len(stage.receiver.received) == 3
    terminal, its_end = os.openpty()
    sure = await verb("resend", "--failed", "--yes", stderr=its_end)
    assert (sure.returncode, sure.stdout) == (0, "3 failed deliveries are being sent again\n")
    os.close(its_end)
    assert re.search(r"sending again.*3/3", os.read(terminal, 65_536).decode(), re.DOTALL), "the bar"
    os.close(terminal)
    assert len(await stage.receiver.wait_for(6)) == 6
    again = await verb("resend", "--failed", "--yes", "--json")
    assert json.loads(again.stdout)["count"] == 0
    assert (await verb("resend", "--failed", "--delivered")).returncode == 2
    assert await relay.stop() == 0


async def test_commands_work_against_a_running_relay(stage: Stage) -> None:
    """register, jobs, deliveries and resend do what their help says, against a relay that requires a key."""
    relay = stage.serve()
    await relay.start()
    job = stage.exec.add(lasts=1, name="Discovery Call")

    async def verb(*words: str, key: str = API_KEY) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(run, *words, folder=stage.folder, RELAY_URL=relay.url, RELAY_API_KEY=key)

    made = await verb("register", job.id, "--url", f"{stage.receiver_url}/cli", "--metadata", "team=sales")
    assert made.returncode == 0, made.stderr
    secret = made.stdout.split('"secret": "')[1].split('"')[0]
    assert secret.startswith("whsec_")
    [one] = await stage.receiver.wait_for(1, path="/cli")
    assert b'"team"' in one.body
    assert "Discovery Call" in (await verb("jobs")).stdout
    listed = await verb("deliveries", "--json")
    dlv = listed.stdout.split('"id": "')[1].split('"')[0]
    assert '"attempts"' in (await verb("deliveries", dlv)).stdout
    assert (await verb("resend", dlv)).returncode == 0
    assert len(await stage.receiver.wait_for(2, path="/cli")) == 2
    assert "0 failed deliveries would be sent again" in (await verb("resend", "--failed", "--dry-run")).stdout
    assert (await verb("resend")).returncode == 2
    refused = await verb("jobs", key="relay_wrong")
    assert refused.returncode == 1
    assert "RELAY_API_KEY" in refused.stderr
    assert await relay.stop() == 0
    gone = await verb("jobs")
    assert gone.returncode == 1
    assert "relay serve" in gone.stderr
