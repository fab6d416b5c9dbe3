"""One reader of the event feed: checks its cursor, then reads on from there, from memory if it can."""

from dataclasses import dataclass

from relay.errors import Gone
from relay.model.feed_cursor import FeedCursor, FeedPosition, check_of
from relay.store import Store, Tx
from relay.store.tables import event_feed, events
from relay.store.tables.event_feed import FeedState
from relay.store.tables.events import EventFilter, FeedEvent
from relay.waiting.feed import EventFeed, newest_position, position_of

FROM_OLDEST = "0"
"""In place of a cursor: from the oldest event that is stored."""
FROM_NOW = "now"
"""In place of a cursor: only events from now on."""


@dataclass(slots=True)
class FeedReader:
    """Where one reader is. `open` makes it, while its request follows the feed."""

    store: Store
    feed: EventFeed
    identity: str
    at: FeedPosition
    event_filter: EventFilter

    @classmethod
    async def open(
        cls, store: Store, feed: EventFeed, after: FeedCursor | str, event_filter: EventFilter
    ) -> "FeedReader":
        """A reader that goes on after a cursor, FROM_OLDEST or FROM_NOW. Raises Gone, StoreError."""
        await feed.catch_up()
        if await store.read(event_feed.oldest_unnumbered) is not None:
            await feed.advance_fully()  # committed a moment ago: this reader gets it
        if await store.read(event_feed.state) is None:
            await store.write(event_feed.ensure)
        identity, at = await store.read(lambda tx: _start(tx, after))
        return cls(store, feed, identity, at, event_filter)

    async def read(self, limit: int) -> list[FeedEvent]:
        """The next events, at most `limit`; the reader is after them then, or at the newest event if there are none.
        Raises Gone if retention has deleted events that it did not read yet, and StoreError."""
        batch = self.feed.recent(self.at.position, self.event_filter, limit)
        if batch is None:
            batch = await self.store.read(lambda tx: _read(tx, self.identity, self.at, self.event_filter, limit))
        new_events, self.at = batch
        return new_events

    def cursor(self, is_end: bool = False) -> str:
        """The cursor after what was read."""
        return FeedCursor(self.identity, self.at, is_end).encode()

    def cursor_after(self, entry: FeedEvent) -> str:
        """The cursor after one event."""
        return FeedCursor(self.identity, position_of(entry)).encode()


def _start(tx: Tx, after: FeedCursor | str) -> tuple[str, FeedPosition]:
    state = event_feed.state(tx)
    if state is None:
        raise RuntimeError("the feed was made and is not there")
    if after == FROM_OLDEST:
        return state.identity, FeedPosition(state.pruned)
    if isinstance(after, str):
        return state.identity, newest_position(tx, state)
    if after.identity != state.identity:
        raise _gone(tx, state, "is of another database, or of this one before a restore")
    if after.at.position > state.head:
        raise _gone(tx, state, "is ahead of the newest event: the database was restored from an older copy")
    _check_not_pruned(tx, state, after.at)
    event_id = events.id_at(tx, after.at.position)
    if event_id is not None and after.at.event_check and check_of(event_id) != after.at.event_check:
        raise _gone(tx, state, "names another event than the one at its place: the database was restored")
    return state.identity, after.at


def _read(
    tx: Tx, identity: str, at: FeedPosition, event_filter: EventFilter, limit: int
) -> tuple[list[FeedEvent], FeedPosition]:
    state = event_feed.state(tx)
    if state is None or state.identity != identity:
        raise _gone(tx, state or FeedState(identity, 0, 0), "is of this database before a restore")
    _check_not_pruned(tx, state, at)
    batch = events.after(tx, at.position, event_filter, limit)
    if len(batch) == limit:
        return batch, position_of(batch[-1])
    return batch, newest_position(tx, state) if state.head > at.position else at


def _check_not_pruned(tx: Tx, state: FeedState, at: FeedPosition) -> None:
    if at.position < state.pruned:
        raise _gone(tx, state, "is older than storage.retention: events after it are deleted already")


def _gone(tx: Tx, state: FeedState, reason: str) -> Gone:
    oldest, newest = FeedPosition(state.pruned), newest_position(tx, state)
    details = {
        "oldest_cursor": FeedCursor(state.identity, oldest).encode(),
        "newest_cursor": FeedCursor(state.identity, newest).encode(),
    }
    text = (
        f"this cursor {reason}; events may be missing: go on with oldest_cursor, or leave them out with newest_cursor"
    )
    return Gone("cursor_gone", text, "after", details)
