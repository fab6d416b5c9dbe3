"""A relay in the middle of its day, for the browser to show: jobs that go on, that ended well and badly, receivers
that work and one that does not. Time is injected: it moves only when the test moves it.
"""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from relay.model import HOUR, MINUTE, SECOND
from relay.sandbox.exec_server import ExecSettings, FakeExec
from relay.sandbox.job_simulation import Outcome
from relay.sandbox.local_server import serve
from relay.sandbox.receiver import Receiver, Respond
from relay.service import Relay
from relay.web.app import create_app
from tests.conftest import Clock
from tests.flows.conftest import World
from tests.make import SECRET

NAMES = (
    "Discovery call with an IT director",
    "Price objection from procurement",
    "Renewal with a silent champion",
    "Cold call to a plant manager",
    "Demo for a sceptical CFO",
    "Security review with a CISO",
)
SUBSCRIBERS = {"sales-channel": "slack", "enablement-zap": "zapier", "crm": "standard"}
"""Standing endpoints with their formats."""
BROKEN = Respond(status=500, body=b"upstream is down")


class Scene(World):
    """A world whose relay also serves its pages."""

    url: str


@asynccontextmanager
async def scene(folder: Path, standing: bool = False, **sections: dict[str, Any]) -> AsyncIterator[Scene]:
    """Everything is served on loopback; nothing has happened yet. With `standing`, SUBSCRIBERS are notified of every
    job."""
    clock = Clock(time.time_ns() // 1_000_000)
    exec = FakeExec(ExecSettings(seed=1), clock)
    receiver = Receiver(SECRET, clock)
    async with AsyncExitStack() as stack:
        exec_url = await stack.enter_async_context(serve(exec.app))
        receiver_url = await stack.enter_async_context(serve(receiver.app))
        made = Scene(clock, exec, receiver, exec_url, receiver_url)
        made.sections = {"polling": {"strategy": "adaptive"}} | sections
        named = [
            {"name": name, "url": f"{receiver_url}/{name}", "format": format, "secret": SECRET}
            for name, format in SUBSCRIBERS.items()
        ]
        config = made.config(f"sqlite:///{folder}/relay.db", named if standing else (), **made.sections)
        made.relay = await Relay.open(config, clock, seed=1)
        await made.relay.reload(lambda: config)
        stack.push_async_callback(lambda: made.relay.stop())
        made.url = await stack.enter_async_context(serve(create_app(made.relay, owns_relay=False)))
        yield made


async def lively_day(made: Scene, jobs: int = 40) -> None:
    """Some hours of work of a scene with standing endpoints: jobs that ended, three that go on, one receiver that
    broke."""
    for number in range(jobs):
        outcome = Outcome.FAILED if number % 9 == 4 else Outcome.COMPLETED
        lasts = 240 * SECOND + (number * 37 % 120) * SECOND
        job = made.exec.add(queued=4 * SECOND, lasts=lasts, outcome=outcome, name=NAMES[number % len(NAMES)])
        await made.register(job.id, callback=None)
        await made.advance(9 * MINUTE)
    made.receiver.always(BROKEN, path="/crm")
    job = made.exec.add(lasts=200 * SECOND, name="Negotiation with legal")
    await made.register(job.id, callback=None)
    await made.advance(HOUR)
    for age in (220, 100, 30):
        job = made.exec.add(queued=3 * SECOND, lasts=400 * SECOND, name="Executive briefing")
        await made.register(job.id, callback=None)
        await made.advance(age * SECOND)
