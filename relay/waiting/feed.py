"""The live feed: numbers new events, and wakes the waiters of their jobs and of the feed.

It is kicked by this relay's own poller after each commit, by the other relays (NOTIFY), and by a tick that finds an
event without a position. Recent events stay in memory while anybody waits: a thousand readers cost the database one
query.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice, takewhile

from relay.errors import StoreError
from relay.model import FINAL_EVENTS, SECOND, Instant
from relay.model.feed_cursor import FeedPosition, check_of
from relay.store import Store, Tx
from relay.store.tables import event_feed, events
from relay.store.tables.event_feed import FeedState
from relay.store.tables.events import EventFilter, FeedEvent
from relay.telemetry import Telemetry
from relay.waiting.waiters import FEED, Waiters

_BATCH = 500
"""Events that one query reads."""

_MAX_RECENT = 250
"""Recent events in memory; each has its job, a few kilobytes."""

_RETRIES = (0.02, 0.05, 0.1, 0.25, 1.0)
"""Seconds until the next try to number events while another relay does, by how often it was busy."""

_LAG_REPORTED_AFTER = 10 * SECOND
"""An event without a position for longer is reported."""

_EVERYTHING = EventFilter()


class EventFeed:
    """The feed of one relay."""

    def __init__(
        self,
        store: Store,
        waiters: Waiters,
        clock: Callable[[], Instant],
        telemetry: Telemetry,
        notify_others: Callable[[], None],
    ) -> None:
        """`notify_others` is called when this relay has numbered events."""
        self._store, self._waiters, self._clock, self._telemetry = store, waiters, clock, telemetry
        self._notify_others = notify_others
        self._is_kicked = self._stopped = False
        self._advancing_task: asyncio.Task[None] | None = None
        self._advancing = asyncio.Lock()
        self._followers = 0
        self._at: FeedPosition | None = None
        """Up to where the feed was followed; None while nobody follows it."""
        self._recent: deque[FeedEvent] = deque()
        self._recent_after = 0
        """The position before the first recent event."""
        self._busy = 0
        self._is_late = False

    def kick(self) -> None:
        """There may be new events: the feed is advanced soon."""
        self._is_kicked = True
        if self._advancing_task is None and not self._stopped:
            self._advancing_task = asyncio.create_task(self._advance_while_kicked())

    def found(self, unnumbered_since: Instant | None) -> None:
        """A tick has read since when an event has no position; None if all have one. The feed is advanced if so, or if
        anybody follows it, in case a kick was lost."""
        if unnumbered_since is not None or self._at is not None:
            self.kick()
        else:
            self._report_lag(None)

    async def stop(self) -> None:
        """Ends what `kick` began."""
        self._stopped = True
        if (task := self._advancing_task) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _advance_while_kicked(self) -> None:
        try:
            while self._is_kicked:
                self._is_kicked = False
                try:
                    all_numbered = await self.advance()
                except StoreError as error:
                    self._telemetry.log.debug(
                        "the event feed is not read for now, the next tick tries again: %s", error
                    )
                    return
                self._busy = 0 if all_numbered else self._busy + 1
                if not all_numbered:
                    await asyncio.sleep(_RETRIES[min(self._busy, len(_RETRIES)) - 1])
                    self._is_kicked = True
        finally:
            self._advancing_task = None

    async def advance(self) -> bool:
        """Numbers events that have no position yet, and wakes waiters. False if some are left. Raises StoreError."""
        async with self._advancing:
            all_numbered = True
            # A database with one writer numbers an event when it is inserted, so none is left there.
            oldest = None if self._store.has_one_writer else await self._store.read(event_feed.oldest_unnumbered)
            self._report_lag(oldest)
            if oldest is not None:
                all_numbered = await self._store.write(event_feed.number)
                self._notify_others()
            if self._at is not None:
                await self._read_new(self._at)
        return all_numbered

    async def advance_fully(self) -> None:
        """Advances until all events that are committed now have a position, for at most a second and a half: another
        relay may be numbering them. Raises StoreError."""
        for delay in _RETRIES:
            if await self.advance():
                return
            await asyncio.sleep(delay)

    def follow(self) -> None:
        """Until `unfollow`, new events wake waiters; call `catch_up` after it, before reading anything."""
        self._followers += 1

    def unfollow(self) -> None:
        """Ends what `follow` began."""
        self._followers -= 1
        if not self._followers:
            self._at = None
            self._recent.clear()

    async def catch_up(self) -> None:
        """Begins to follow at the newest event, unless somebody follows already. Raises StoreError."""
        if self._at is None:
            async with self._advancing:
                if self._at is None:
                    self._at = await self._store.read(_newest_now)
                    self._recent_after = self._at.position

    async def _read_new(self, at: FeedPosition) -> None:
        while True:
            batch = await self._store.read(
                lambda tx, position=at.position: events.after(tx, position, _EVERYTHING, _BATCH)  # type: ignore[misc]
            )
            if not batch or self._at is None:
                return
            at = self._at = position_of(batch[-1])
            self._keep(batch)
            for job_id in {entry.event.job_id for entry in batch if entry.event.type in FINAL_EVENTS}:
                self._waiters.wake(job_id)
            self._waiters.wake(FEED)
            if len(batch) < _BATCH:
                return

    def _keep(self, batch: list[FeedEvent]) -> None:
        self._recent.extend(batch)
        while len(self._recent) > _MAX_RECENT:
            self._recent_after = self._recent.popleft().position

    def recent(self, after: int, event_filter: EventFilter, limit: int) -> tuple[list[FeedEvent], FeedPosition] | None:
        """The next events after a position, and the position to go on after; None if they are not all in memory."""
        if self._at is None or after < self._recent_after or after > self._at.position:
            return None
        newer = list(takewhile(lambda entry: entry.position > after, reversed(self._recent)))
        batch = list(islice((entry for entry in reversed(newer) if event_filter.matches(entry.event)), limit))
        return batch, position_of(batch[-1]) if len(batch) == limit else self._at

    def _report_lag(self, oldest: Instant | None) -> None:
        """Reports since when the oldest event has had no position; in the log once, if that is long."""
        lag = 0 if oldest is None else max(0, self._clock() - oldest)
        self._telemetry.metrics.feed_lag.set(lag / SECOND)
        if lag > _LAG_REPORTED_AFTER and not self._is_late:
            self._telemetry.log.warning(
                "an event has been missing from the feed for %d s: another transaction holds the table event_feed, or "
                "the database takes no writes; pg_stat_activity and pg_prepared_xacts show who holds it",
                lag // SECOND,
            )
        self._is_late = lag > _LAG_REPORTED_AFTER


def position_of(entry: FeedEvent) -> FeedPosition:
    """The position after an event."""
    return FeedPosition(entry.position, check_of(entry.event.id))


def newest_position(tx: Tx, state: FeedState) -> FeedPosition:
    """The position of the newest event, or 0 while there is none."""
    id = events.id_at(tx, state.head)
    return FeedPosition(state.head, check_of(id) if id else "")


def _newest_now(tx: Tx) -> FeedPosition:
    state = event_feed.state(tx)
    return newest_position(tx, state) if state is not None else FeedPosition(0)
