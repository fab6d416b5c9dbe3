"""Programs that the pages start."""

import asyncio
import time
from pathlib import Path

from tests.forking.processes import Process
from tests.loopback import http_client

STARTS_WITHIN = 20.0


async def listening(
    port: int, process: asyncio.subprocess.Process | Process, log: Path, within: float = STARTS_WITHIN
) -> None:
    """Returns when something listens on `port`; fails with the log if the process ends before."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline and process.returncode is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            await writer.wait_closed()
            return
    raise AssertionError(f"nothing listens at {port}: {log.read_text()}")


async def ready(port: int) -> None:
    """Returns when the relay that listens on `port` has started: until then it answers each call with 503."""
    async with http_client(trust_env=False) as http, asyncio.timeout(30):
        while (await http.get(f"http://127.0.0.1:{port}/readyz?exclude=exec")).status_code != 200:
            await asyncio.sleep(0.02)
