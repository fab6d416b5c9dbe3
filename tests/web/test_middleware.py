"""What every response has, and how the relay answers if it fails itself."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import Message

from relay import __version__
from relay.model import MINUTE, SECOND
from relay.process import system_clock
from relay.web.app import create_app
from relay.web.server.middleware import DEFAULT_HEADERS, ResponseMiddleware
from tests.conftest import Clock
from tests.web.conftest import Api, assert_refused, open_api, shared


@shared
@pytest.mark.parametrize("path", ["/healthz", "/v1/jobs", "/v1/jobs?limit=0", "/nowhere", "/openapi.json"])
async def test_every_response_has_a_request_id_and_security_headers(shared_api: Api, path: str) -> None:
    """Headers against sniffing, framing and caching, and no name of the server software."""
    answer = await shared_api.http.get(path)
    assert answer.headers["x-request-id"].startswith("req_")
    assert {name: answer.headers[name] for name in DEFAULT_HEADERS} == DEFAULT_HEADERS
    assert "server" not in answer.headers


PREFLIGHT = {"origin": "https://evil.example", "access-control-request-method": "POST"}
JSON = {"content-type": "application/json"}


@shared
@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("GET", "/v1/jobs", {}, b"", 200),
        ("GET", "/", {"accept": "text/html"}, b"", 200),
        ("GET", f"/static/{__version__}/page.js", {}, b"", 200),
        ("GET", "/v1/jobs?limit=0", {}, b"", 400),
        ("POST", "/v1/registrations", JSON, b"{", 400),
        ("GET", "/v1/jobs", {"host": "evil.example"}, b"", 403),
        ("GET", "/", {"host": "evil.example", "accept": "text/html"}, b"", 403),
        ("GET", "/nowhere", {}, b"", 404),
        ("GET", "/endpoints/ep_none", {"accept": "text/html"}, b"", 404),
        ("DELETE", "/v1/jobs", {}, b"", 405),
        ("OPTIONS", "/v1/jobs", PREFLIGHT, b"", 405),
        ("OPTIONS", "/v1/registrations", PREFLIGHT, b"", 405),
        ("OPTIONS", "/", PREFLIGHT, b"", 405),
        ("POST", "/v1/registrations", JSON, b" " * 300_000, 413),
        ("POST", "/v1/registrations", {"content-type": "text/plain"}, b"{}", 415),
    ],
)
async def test_every_kind_of_response_has_security_headers(
    shared_api: Api, method: str, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    """No framing, no sniffing, no referrer, no scripts from elsewhere; no page of another site can read it."""
    answer = await shared_api.http.request(method, path, headers=headers, content=body)
    assert answer.status_code == status, answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] in ("no-referrer", "same-origin")
    assert [name for name in answer.headers if name.startswith("access-control-")] == []
    assert [name for name in answer.headers if name in ("server", "x-powered-by")] == []


@shared
@pytest.mark.parametrize(("sent", "kept"), [("trace-1.a_B", True), ("a" * 65, False), ("a b", False), ("", False)])
async def test_a_valid_request_id_is_returned(shared_api: Api, sent: str, kept: bool) -> None:
    """An invalid one is replaced."""
    answer = await shared_api.http.get("/healthz", headers={"x-request-id": sent})
    assert (answer.headers["x-request-id"] == sent) is kept


@shared
@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/jobs", "/v1/endpoints"])
async def test_head_works_where_get_does(shared_api: Api, path: str) -> None:
    """HEAD has the status and the headers of GET."""
    head, get = await shared_api.http.head(path), await shared_api.http.get(path)
    assert (head.status_code, head.headers["content-type"]) == (get.status_code, get.headers["content-type"])


async def test_health_readiness_and_metrics_are_served(api: Api) -> None:
    """Prometheus' own parser reads the metrics."""
    assert (await api.get("/"))["name"] == "exec-relay"
    assert await api.get("/healthz") == {"status": "ok"}
    ready = await api.get("/readyz")
    assert ready["status"] == "ready"
    assert {check["name"] for check in ready["checks"]} == {
        "scheduler",
        "store",
        "delivery_backlog",
        "plans",
        "sending",
        "exec:default",
    }
    await api.register()
    metrics = (await api.http.get("/metrics")).text
    found = {family.name: family for family in text_string_to_metric_families(metrics)}
    assert found["relay_active_watches"].samples[0].value == 1


async def test_a_clock_set_back_keeps_the_relay_ready(api: Api) -> None:
    """The last tick is never in the future."""
    api.clock.advance(-5 * SECOND)
    [scheduler] = [one for one in (await api.get("/readyz"))["checks"] if one["name"] == "scheduler"]
    assert scheduler["text"] == "the last tick was 0 s ago"
    assert "relay_tick_age_seconds 0.0" in (await api.http.get("/metrics")).text


async def test_readiness_names_the_reason(api: Api) -> None:
    """503 with the failing check as text; health is still 200."""
    api.clock.advance(MINUTE)
    answer = await api.http.get("/readyz")
    assert answer.status_code == 503
    body = answer.json()
    assert body["status"] == "not_ready"
    [said] = [check["text"] for check in body["checks"] if not check["ok"]]
    assert said.startswith("the last tick was 60 s ago; the log says why")
    assert (await api.http.get("/healthz")).status_code == 200
    assert (await api.http.get("/readyz?exclude=exec")).status_code == 503
    assert (await api.http.get("/readyz?exclude=scheduler")).json()["status"] == "ready"
    assert (await api.http.get("/readyz?exclude=exec:default")).json()["error"]["field"] == "exclude"


async def test_a_failing_store_gets_503(api: Api) -> None:
    """In the envelope, with the time to retry, for reads and writes; /readyz and the metrics report it too."""
    await api.get("/v1/jobs")
    await api.relay.store.aclose()
    for answer in (
        await api.http.get("/v1/jobs"),
        await api.http.post("/v1/registrations", json={"job_id": "j1"}),
    ):
        assert_refused(answer, 503, "store_unavailable")
        assert answer.json()["error"]["type"] == "service_unavailable"
        assert answer.headers["retry-after"] == "5"
    ready = await api.http.get("/readyz")
    assert ready.status_code == 503
    assert 'relay_ready{check="store"} 0.0' in (await api.http.get("/metrics")).text
    assert api.relay.woken == 0


class BrokenClock(Clock):
    """A clock that raises, like a bug of the relay."""

    broken = False

    def __call__(self) -> int:
        if self.broken:
            raise RuntimeError("hunter" + str(1 + 1))
        return super().__call__()


async def test_a_crash_gets_500_without_details(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """500 in the envelope without details; the log has the place under the same id, and no values."""
    clock = BrokenClock()
    async with open_api(sqlite_url, clock) as api:
        clock.broken = True
        with caplog.at_level(logging.ERROR, "relay"):
            answer = await api.http.get("/v1/jobs?cursor=private", headers={"x-request-id": "trace-1"})
        clock.broken = False
    assert "trace-1" in assert_refused(answer, 500, "internal_error")
    assert answer.headers["x-request-id"] == "trace-1"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "RuntimeError" not in answer.text
    [record] = caplog.records
    logged = record.getMessage()
    assert "\n" not in logged
    assert "request trace-1 failed: RuntimeError in /v1/jobs" in logged
    assert "__call__" in logged
    assert "hunter2" not in logged
    assert "private" not in logged


async def call(app: Starlette, method: str, path: str, *received: Message) -> list[Message]:
    """What the application sends to a request that a server hands to it piece by piece."""
    messages = iter(received or [{"type": "http.request", "body": b"", "more_body": False}])
    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
    sent: list[Message] = []

    async def receive() -> Message:
        if (message := next(messages, None)) is None:
            await asyncio.Event().wait()
        assert message is not None
        return message

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


async def test_a_crash_after_the_response_began_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    """The response ends there, and the error is logged."""

    async def halves() -> AsyncIterator[bytes]:
        yield b"half"
        raise RuntimeError

    async def handle(_: Request) -> StreamingResponse:
        return StreamingResponse(halves())

    log = logging.getLogger("relay")
    app = Starlette(routes=[Route("/", handle)], middleware=[Middleware(ResponseMiddleware, log=log)])
    with caplog.at_level(logging.ERROR, "relay"):
        sent = await call(app, "GET", "/")
    assert [message.get("status") for message in sent] == [200, None]
    assert (sent[-1]["body"], sent[-1]["more_body"]) == (b"half", True)
    assert len(caplog.records) == 1


async def test_a_disconnect_during_the_body_is_no_error(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is stored, nothing is logged."""
    half = {"type": "http.request", "body": b'{"job_id"', "more_body": True}
    sent = await call(create_app(api.relay), "POST", "/v1/registrations", half, {"type": "http.disconnect"})
    assert sent[0]["status"] == 400
    assert await api.stored() == {}
    assert caplog.records == []


@pytest.mark.parametrize("owns", [True, False])
async def test_the_application_starts_and_stops_the_relay(sqlite_url: str, owns: bool) -> None:
    """Starting the application starts the relay and stopping it closes the store, where it owns the relay."""
    async with open_api(
        sqlite_url, Clock(system_clock()), endpoints=[{"name": "ops", "url": "https://e.example"}]
    ) as api:
        app = create_app(api.relay, owns_relay=owns)
        async with app.router.lifespan_context(app):
            assert await api.stored() == ({"endpoints": 1, "callback_tokens": 1, "event_feed": 1} if owns else {})
        answer = await api.http.get("/v1/jobs")
        assert answer.status_code == (503 if owns else 200)


@shared
async def test_openapi_is_served_as_json(shared_api: Api) -> None:
    """The document is there for everybody and holds no secret."""
    assert json.loads((await shared_api.http.get("/openapi.json")).content)["info"]["title"] == "Exec relay"


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "https://a:b", "http://\u2100", "null", "\x00"])
async def test_a_malformed_origin_is_refused(sqlite_url: str, origin: str) -> None:
    """Before any login, and without an error of the relay."""
    keys = {"api_keys": [{"name": "one", "key": "relay_key_0123456789abcdef"}]}
    async with open_api(sqlite_url, Clock(), security=keys) as api:
        headers = {b"origin": origin.encode("utf-8"), b"accept": b"text/html"}
        answers = await asyncio.gather(
            *(api.http.post("/login", data={"api_key": "x"}, headers=headers) for _ in range(5))
        )
        assert {answer.status_code for answer in answers} == {403}


FORGED = "/v1/jobs/x\r\n2026-11-29 00:00:00,000 INFO FORGED \x1b[31m\u202e\x85"


async def test_a_path_can_not_forge_log_lines(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Control characters of a path are escaped, and a long path is cut."""
    clock = BrokenClock()
    async with open_api(sqlite_url, clock) as api:
        clock.broken = True
        for path in (FORGED, "/v1/jobs/" + "x" * 5_000):
            assert_refused(await api.http.get(quote(path)), 500, "internal_error")
        clock.broken = False
    forged, long = [record.getMessage() for record in caplog.records]
    assert forged.isprintable()
    assert "FORGED" in forged
    assert len(long) < 3_000
    assert "x" * 500 not in long
