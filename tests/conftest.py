"""Fixtures that every layer's tests share: a clock that stands still until it is told, and a real store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.model import Instant
from relay.store.database import Store

NOON = 1_709_294_400_000
"""2024-03-01T12:00:00Z."""


class Clock:
    """An injected clock: says `at` until `advance` moves it."""

    def __init__(self, at: Instant = NOON) -> None:
        self.at = at

    def __call__(self) -> Instant:
        return self.at

    def advance(self, ms: int) -> Instant:
        """Moves time on by `ms` milliseconds."""
        self.at += ms
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/relay.db"


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = await Store.open(store_url)
    yield opened
    await opened.aclose()
