"""The scheduler: calls functions at fixed intervals with APScheduler, even if the machine's clock is set.

APScheduler plans by the time of day. If the clock is set back by an hour, it would wait for an hour; if it is set
forward by years, it would count every missed run.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from relay.model import SECOND

_CHECK_EVERY = SECOND
"""How often planned runs are checked against the clock."""


class _FixedDelayTrigger(BaseTrigger):  # type: ignore[misc]
    """Runs each `every` from now; missed runs are not repeated."""

    def __init__(self, every: timedelta) -> None:
        self.every = every

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        return now + self.every


class Scheduler:
    """Calls functions from `start` to `stop`. A run is skipped while the previous run of the same function goes on."""

    def __init__(self) -> None:
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._clock_check: asyncio.Task[None] | None = None

    def every(self, ms: int, work: Callable[[], Awaitable[None]]) -> None:
        """Calls `work` every `ms` milliseconds."""
        is_running = False

        async def run() -> None:
            nonlocal is_running
            if is_running:
                return
            is_running = True
            try:
                await work()
            except asyncio.CancelledError:
                if self._scheduler.running:
                    raise
                # `stop` cancelled it, which APScheduler would log as an error.
            finally:
                is_running = False

        # With one instance, APScheduler would log a warning each time a run is skipped.
        options: dict[str, Any] = {"max_instances": 2, "coalesce": True, "misfire_grace_time": None}
        self._scheduler.add_job(run, _FixedDelayTrigger(timedelta(milliseconds=ms)), **options)

    def start(self) -> None:
        """Starts calling."""
        self._scheduler.start()
        self._clock_check = asyncio.create_task(self._reschedule_after_clock_change())

    def stop(self) -> None:
        """Ends all calls, and cancels the running ones."""
        if self._clock_check is not None:
            self._clock_check.cancel()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    async def _reschedule_after_clock_change(self) -> None:
        """Reschedules runs further ahead than their interval: they were planned before the clock was set back."""
        while True:
            await asyncio.sleep(_CHECK_EVERY / SECOND)
            now = datetime.now(UTC)
            for job in self._scheduler.get_jobs():
                if job.next_run_time - now > job.trigger.every:
                    job.modify(next_run_time=now)
