"""Exec's own callback: when a job ends, one unsigned POST of what a poll would show, and no retry."""

import asyncio
import heapq
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from relay.model import SECOND, Instant

TIMEOUT = 10 * SECOND
_CLOCK_CHECK_MS = 50
"""Milliseconds between glances at the clock while a job is due: the clock may be one that a test turns."""


@dataclass(frozen=True, slots=True)
class Callback:
    """Where a job's creator wants to hear of its end."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CallbackResult:
    """A callback, as it went."""

    at: Instant
    status: int | None
    error: str | None


class Callbacks:
    """Calls back when jobs end, while `run` runs. `show` gives the job's body."""

    def __init__(self, clock: Callable[[], Instant], show: Callable[[str], Mapping[str, Any]]) -> None:
        self.called: dict[str, CallbackResult] = {}
        self._clock = clock
        self._show = show
        self._waiting: dict[str, Callback] = {}
        self._due: list[tuple[Instant, str]] = []
        self._woken = asyncio.Event()

    def schedule(self, job_id: str, callback: Callback, ends_at: Instant | None) -> None:
        """Calls back once the job has ended; None: it never does by itself."""
        self._waiting[job_id] = callback
        if ends_at is not None:
            self.reschedule(job_id, ends_at)

    def reschedule(self, job_id: str, at: Instant) -> None:
        """The job ends then, perhaps earlier than was said before."""
        heapq.heappush(self._due, (at, job_id))
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        await self._something_due()
        client = httpx.AsyncClient(timeout=TIMEOUT / SECOND, follow_redirects=False, trust_env=False)
        async with client as http, asyncio.TaskGroup() as group:
            while True:
                while self._due and self._due[0][0] <= self._clock():
                    _, job_id = heapq.heappop(self._due)
                    if callback := self._waiting.pop(job_id, None):
                        group.create_task(self._call(http, job_id, callback))
                await self._something_due()

    async def _something_due(self) -> None:
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
            answer = await http.post(callback.url, json=self._show(job_id), headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
            self.called[job_id] = CallbackResult(at, None, type(error).__name__)
        else:
            self.called[job_id] = CallbackResult(at, answer.status_code, None)
