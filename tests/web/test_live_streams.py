"""Event streams of the dashboard: counted before they begin, and ended with their session."""

import asyncio
from typing import Any

from relay.web.dashboard.live_updates import MAX_STREAMS
from tests.conftest import Clock
from tests.web.conftest import SELF, Api, open_api

KEY = "relay_key_0123456789abcdef"
KEYS: dict[str, Any] = {"api_keys": [{"name": "one", "key": KEY}], "requests_per_minute": None}
HTML = {"accept": "text/html", "origin": SELF}


class Stream:
    """One request for `/live`, straight to the application."""

    def __init__(self, api: Api, cookie: str) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._leave = asyncio.Event()
        headers = [(b"host", b"127.0.0.1:8080"), (b"cookie", cookie.encode())]
        path = {"path": "/live", "raw_path": b"/live", "query_string": b""}
        scope = {"type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "headers": headers, **path}
        self.task = asyncio.create_task(self._run(api, scope))

    async def _run(self, api: Api, scope: dict[str, Any]) -> None:
        await api.app(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        await self._leave.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status.set_result(message["status"])

    async def leave(self) -> None:
        self._leave.set()
        await self.task


async def _log_in(api: Api) -> str:
    answer = await api.http.post("/login", data={"api_key": KEY}, headers=HTML)
    cookie: str = answer.headers["set-cookie"].partition(";")[0]
    return cookie


async def test_concurrent_streams_are_limited(sqlite_url: str, clock: Clock) -> None:
    """Of 190 at once a hundred are accepted; closed ones free their places."""
    async with open_api(sqlite_url, clock, security=KEYS) as api:
        cookie = await _log_in(api)
        for _ in range(2):
            streams = [Stream(api, cookie) for _ in range(190)]
            async with asyncio.timeout(60):
                statuses = [await stream.status for stream in streams]
                await asyncio.gather(*(stream.leave() for stream in streams))
            assert sorted(statuses) == [200] * MAX_STREAMS + [503] * (190 - MAX_STREAMS)


async def test_streams_end_with_their_session(sqlite_url: str, clock: Clock) -> None:
    """After a logout none goes on; those of another session of the same key do."""
    async with open_api(sqlite_url, clock, security=KEYS) as api:
        cookie = await _log_in(api)
        ending = [Stream(api, cookie) for _ in range(20)]
        api.http.cookies.clear()
        other = Stream(api, await _log_in(api))
        api.http.cookies.clear()
        async with asyncio.timeout(60):
            assert {await stream.status for stream in [*ending, other]} == {200}
            page = await api.http.get("/jobs", headers=HTML | {"cookie": cookie})
            csrf = page.text.split('name="csrf" value="')[1].split('"')[0]
            left = await api.http.post("/logout", data={"csrf": csrf}, headers=HTML | {"cookie": cookie})
            assert left.status_code == 303
            await asyncio.gather(*(stream.task for stream in ending))
        assert not other.task.done()
        await other.leave()
