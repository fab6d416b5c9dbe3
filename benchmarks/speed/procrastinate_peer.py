"""The same signed POST as a task of procrastinate's, on PostgreSQL: its database is in PEER_DATABASE.

`python -m benchmarks.speed.procrastinate_peer defer URL NUMBER` makes the tables and the tasks; `... work` works.
"""

import asyncio
import os
import sys
from datetime import UTC, datetime

import httpx
from procrastinate import App, PsycopgConnector
from procrastinate.types import JSONValue
from standardwebhooks.webhooks import Webhook

from benchmarks.speed.subjects import BODY
from benchmarks.speed.whole import SECRET

AT_A_TIME = 10
"""httpx's own pool is fastest so, of the numbers tried."""

app = App(connector=PsycopgConnector(conninfo=os.environ["PEER_DATABASE"]))
clients: list[httpx.AsyncClient] = []


async def post(url: str, id: str, body: str, secret: str) -> None:
    """Signs and sends; an error is a task that failed."""
    now = datetime.now(UTC)
    signed = {
        "webhook-id": id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(id, now, body),
    }
    answer = await clients[0].post(url, headers={"content-type": "application/json", **signed}, content=body)
    answer.raise_for_status()


posts = app.task(name="post")(post)


async def defer(url: str, number: int) -> None:
    """The tables, and so many tasks."""
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        same: dict[str, JSONValue] = {"url": url, "body": BODY.decode(), "secret": SECRET}
        wishes = [same | {"id": f"peer_{n}"} for n in range(number)]
        for first in range(0, number, 1_000):
            await posts.batch_defer_async(*wishes[first : first + 1_000])


async def work() -> None:
    """One worker, until it is stopped."""
    clients.append(httpx.AsyncClient(trust_env=False))
    async with app.open_async():
        await app.run_worker_async(concurrency=AT_A_TIME, install_signal_handlers=False)


if __name__ == "__main__":
    asyncio.run(defer(sys.argv[2], int(sys.argv[3])) if sys.argv[1] == "defer" else work())
