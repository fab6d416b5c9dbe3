"""Exec's own callback: when a job ends, one unsigned POST of the job as a poll returns it, without retries."""

import asyncio
import heapq
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from relay.egress.tls import client_tls_context
from relay.model import SECOND, Instant

TIMEOUT = 10 * SECOND
_CLOCK_CHECK_MS = 50
"""Milliseconds between checks of the clock while a callback is due: tests move the clock."""


@dataclass(frozen=True, slots=True)
class Callback:
    """The URL to call when the job ends."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CallbackResult:
    """The outcome of a callback."""

    at: Instant
    status: int | None
    error: str | None


class Callbacks:
    """Sends callbacks when jobs end, while `run` runs. `show` returns the job's body."""

    def __init__(self, clock: Callable[[], Instant], show: Callable[[str], Mapping[str, Any]]) -> None:
        self.called: dict[str, CallbackResult] = {}
        self._clock = clock
        self._show = show
        self._waiting: dict[str, Callback] = {}
        self._due: list[tuple[Instant, str]] = []
        self._woken = asyncio.Event()

    def schedule(self, job_id: str, callback: Callback, ends_at: Instant | None) -> None:
        """Sends a callback at `ends_at`; None: the job never ends by itself."""
        self._waiting[job_id] = callback
        if ends_at is not None:
            self.reschedule(job_id, ends_at)

    def reschedule(self, job_id: str, at: Instant) -> None:
        """The job now ends at `at`, perhaps earlier than scheduled."""
        heapq.heappush(self._due, (at, job_id))
        self._woken.set()

    async def run(self) -> None:
        """Sends callbacks until cancelled."""
        await self._wait_until_due()
        tls = client_tls_context()
        client = httpx.AsyncClient(timeout=TIMEOUT / SECOND, follow_redirects=False, trust_env=False, verify=tls)
        async with client as http, asyncio.TaskGroup() as group:
            while True:
                while self._due and self._due[0][0] <= self._clock():
                    _, job_id = heapq.heappop(self._due)
                    if callback := self._waiting.pop(job_id, None):
                        group.create_task(self._call(http, job_id, callback))
                await self._wait_until_due()

    async def _wait_until_due(self) -> None:
        self._woken.clear()
        if not self._due:
            await self._woken.wait()
        wait = min(max(self._due[0][0] - self._clock(), 0), _CLOCK_CHECK_MS)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), wait / SECOND)

    async def _call(self, http: httpx.AsyncClient, job_id: str, callback: Callback) -> None:
        at = self._clock()
        try:
            headers = {"user-agent": "exec-sandbox", **callback.headers}
            response = await http.post(callback.url, json=self._show(job_id), headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
            self.called[job_id] = CallbackResult(at, None, type(error).__name__)
        else:
            self.called[job_id] = CallbackResult(at, response.status_code, None)
