"""The scheduler: APScheduler, which calls what is to be done every so often, whatever becomes of the machine's clock.

APScheduler plans by the time of day. Where that is set back by an hour, it would wait for an hour; where it is set on
by years, it would count every beat that was missed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from relay.model import SECOND

_CHECK_EVERY = SECOND
"""How often it is seen to that no beat is too far off."""


class _FixedDelayTrigger(BaseTrigger):  # type: ignore[misc]
    """A beat each `every`; those that were missed are not made up for."""

    def __init__(self, every: timedelta) -> None:
        self.every = every

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        return now + self.every


class Scheduler:
    """Calls, once it is started, until it is stopped; what is still at work when its next beat comes is left to it."""

    def __init__(self) -> None:
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._minding: asyncio.Task[None] | None = None

    def every(self, ms: int, work: Callable[[], Awaitable[None]]) -> None:
        """`work` is called every so many milliseconds."""
        at_work = False

        async def beat() -> None:
            nonlocal at_work
            if at_work:
                return
            at_work = True
            try:
                await work()
            except asyncio.CancelledError:
                if self._scheduler.running:
                    raise
                # It was stopped, which APScheduler would call an error.
            finally:
                at_work = False

        # Of two instances one is at work and the other returns: of one APScheduler would warn at each beat.
        once: dict[str, Any] = {"max_instances": 2, "coalesce": True, "misfire_grace_time": None}
        self._scheduler.add_job(beat, _FixedDelayTrigger(timedelta(milliseconds=ms)), **once)

    def start(self) -> None:
        """Begins to beat."""
        self._scheduler.start()
        self._minding = asyncio.create_task(self._reschedule_after_clock_change())

    def stop(self) -> None:
        """No further beat; what is at work is cancelled."""
        if self._minding is not None:
            self._minding.cancel()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    async def _reschedule_after_clock_change(self) -> None:
        """A beat that is further off than it can have been planned was planned before the clock was set back."""
        while True:
            await asyncio.sleep(_CHECK_EVERY / SECOND)
            now = datetime.now(UTC)
            for job in self._scheduler.get_jobs():
                if job.next_run_time - now > job.trigger.every:
                    job.modify(next_run_time=now)
