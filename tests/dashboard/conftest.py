"""A relay whose pages are asked for."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.dashboard.scene import Scene, scene
from tests.loopback import http_client


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Scene]:
    """A relay without keys, served on loopback."""
    async with scene(tmp_path) as found:
        yield found


@pytest.fixture
async def http(made: Scene) -> AsyncIterator[httpx.AsyncClient]:
    """A client that asks for pages."""
    async with http_client(base_url=made.url, headers={"accept": "text/html"}) as client:
        yield client
