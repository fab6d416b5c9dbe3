"""Waiting: requests that stay open until a job ends or an event comes, and the feed of events that wakes them."""

from relay.waiting.feed import EventFeed
from relay.waiting.feed_reader import FROM_NOW, FROM_OLDEST, FeedReader
from relay.waiting.shared_reads import SharedReads
from relay.waiting.waiters import FEED, Outcome, TooManyWaiters, Waiter, Waiters

__all__ = [
    "FEED",
    "FROM_NOW",
    "FROM_OLDEST",
    "EventFeed",
    "FeedReader",
    "Outcome",
    "SharedReads",
    "TooManyWaiters",
    "Waiter",
    "Waiters",
]
