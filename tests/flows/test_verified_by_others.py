"""JavaScript's public packages verify what a whole relay sends; Python's verifies it in every flow."""

import asyncio
import base64
import json
import subprocess

import pytest

from relay.endpoints import admin as standing
from relay.formats import FORMATS
from relay.model import MINUTE, SECOND
from relay.sandbox.job_simulation import Outcome
from relay.sandbox.receiver import Respond
from relay.store.tables import deliveries
from tests.flows.conftest import Start
from tests.make import SECRET
from tests.node import ROOT, installed

SIGNED = [name for name in FORMATS if name not in ("email", "slack_app")]
"""A mail has no header of ours, and a Slack app's requests carry its token instead."""
NAME = "🎭 Предложение <@here> & שלום \u2028 “cited” \\ " + "long " * 200


@pytest.mark.timeout(300)
async def test_standardwebhooks_and_svix_verify_every_request(start: Start) -> None:
    """Both packages accept each format, ending, odd name, retry and resend with every valid secret, also during a
    rotation, and refuse anything changed."""
    folder = await asyncio.to_thread(installed, ROOT / "tests/javascript")
    async with start() as world:
        world.receiver.script(Respond(status=500), path="/standard")
        for outcome in Outcome:
            job = world.exec.add(lasts=SECOND, outcome=outcome, name=NAME)
            for format in SIGNED:
                made = await world.register(job.id, path=f"/{format}", format=format)
        await world.advance(30 * SECOND)
        endpoint = await world.relay.store.read(lambda tx: standing.get(tx, made.endpoint.id))
        rotated = await world.relay.store.write(lambda tx: standing.rotate(tx, endpoint, None, world.clock(), ()))
        [sent] = [one for one in await world.deliveries() if one.endpoint_id == endpoint.id][:1]
        await world.relay.store.write(lambda tx: deliveries.resend(tx, sent.id, world.clock()))
        await world.advance(MINUTE)

        both = [rotated.secrets[0].value, SECRET]
        last = len(world.received()) - 1
        asked = [
            {
                "headers": dict(one.headers),
                "body": base64.b64encode(one.body).decode(),
                "secrets": both if number == last else [SECRET],
            }
            for number, one in enumerate(world.received())
        ]
    assert len(asked) >= len(Outcome) * len(SIGNED) + 2
    argv = ["node", "verify.mjs"]
    done = await asyncio.to_thread(
        subprocess.run, argv, cwd=folder, input=json.dumps(asked), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, f"{len(asked)}\n"), done.stderr
