"""Every call and every page with marked secrets, and receivers that repeat them: no secret is returned."""

import hashlib
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from relay.formats import FORMATS
from relay.sandbox.local_server import serve
from relay.store.maintenance.reencrypt import open_store
from relay.store.tables import endpoints
from relay.telemetry.otel_spans import OtelTracer
from relay.web import dashboard
from relay.web.app import OPERATIONS, create_app
from relay.web.core.route import ApiRoute
from tests import marked
from tests.conftest import Clock
from tests.web.conftest import SELF, Api, QuietRelay, configured

HELD = {"create_registration", "create_registrations", "create_endpoint", "rotate_secret"}
"""Calls whose answer shows a fresh secret, in a field `secret`, once."""
GOOD = {
    "create_registration": {"job_id": "j9", "callback_url": "URL", "secret": marked.SIGNING},
    "create_registrations": {"registrations": [{"job_id": "j9", "callback_url": "URL/2", "secret": marked.SIGNING}]},
    "create_endpoint": {"url": "URL/3", "secret": marked.SIGNING, "headers": {"x-key": marked.HEADER}},
    "change_endpoint": {"headers": {"x-key": marked.HEADER}},
    "rotate_secret": {"secret": marked.OTHER_SIGNING},
    "resend_deliveries": {"status": "failed"},
    "replay_endpoint": {"since": "2024-03-01T10:00:00Z"},
    "create_job": {"user_email": "a@b.example", "prompt": "p", "callback_url": "URL/4", "secret": marked.SIGNING},
    "receive_exec_callback": {"id": "j1", "status": "completed"},
}
"""Bodies that are taken, by the handler's name."""
EVERY_SECRET = " ".join(marked.ALL)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """A receiver that fails, and says in its error all that it was sent."""
    headers = {name.decode(): value.decode() for name, value in scope.get("headers", [])}
    request = json.dumps({"path": scope["path"], "query": scope["query_string"].decode(), "headers": headers})
    head = [(b"location", f"http://127.0.0.1{scope['path']}".encode())]
    status = 302 if "/302/" in scope["path"] else 500
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": f"{scope['path']} failed: {request}".encode()})


async def served_echo(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await echo(scope, receive, send)
        return
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


@dataclass
class Stage:
    """An API with marked secrets, all that it said and recorded, and ids of what is there."""

    api: Api
    said: list[str]
    ids: dict[str, str]
    receiver: str
    token: str
    """What Exec's callbacks come in with: as good as a key."""
    spans: InMemorySpanExporter

    async def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        answer = await self.api.http.request(method, path, **request)
        self.said.append(f"{answer.headers}\n{answer.text}")
        return answer


@asynccontextmanager
async def staged(url: str, relay: type[QuietRelay] = QuietRelay) -> AsyncIterator[Stage]:
    """One endpoint, registration, job and delivery, the delivery tried once; everything marked."""
    keys = [{"name": "all", "hash": "sha256:" + hashlib.sha256(marked.API_KEY.encode()).hexdigest()}]
    security = {
        "api_keys": keys,
        "allow_http": True,
        "allow_networks": ["127.0.0.0/8"],
        "secret_key": marked.SECRET_KEY,
    }
    config = configured(url, exec={"base_url": "http://127.0.0.1:9/x", "api_key": marked.EXEC_KEY}, security=security)
    memory = InMemorySpanExporter()
    spans = OtelTracer(SimpleSpanProcessor(memory))
    opened = relay(
        config, await open_store(config.storage.url, config.security.cipher(), clock=Clock()), seed=1, spans=spans
    )
    bearer = {"Authorization": f"Bearer {marked.API_KEY}"}
    opened.waiters.stop()  # in memory an answer comes only when it is whole: waits and streams end at once
    app = create_app(opened)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        serve(served_echo) as receiver,
        httpx.AsyncClient(transport=transport, base_url=SELF, headers=bearer) as http,
    ):
        api = Api(http, opened, Clock(), app)
        callback = f"{receiver}/{marked.URL_TOKEN}"
        made = await api.make_endpoint(url=callback, secret=marked.SIGNING, headers={"x-key": marked.HEADER})
        registered = await api.register("j1", endpoint=made["id"], callback_url=None)
        [delivery, *_] = await api.deliver("j1")
        await opened.dispatcher.tick()
        await opened.dispatcher.idle()
        ids = {"endpoints": made["id"], "registrations": registered["id"], "deliveries": delivery, "jobs": "j1"}
        token = (await api.get("/v1/workspaces/default/callback"))["path"].rpartition("/")[2]
        yield Stage(api, [], ids, callback, token, memory)
    await opened.stop()


@pytest.fixture
async def stage(sqlite_url: str) -> AsyncIterator[Stage]:
    async with staged(sqlite_url) as made:
        yield made


def path_of(stage: Stage, path: str) -> str:
    """The path with ids of what is there."""
    parts = path.split("/")
    kind = next((part for part in parts if part in stage.ids), "endpoints")
    filled = path.replace("{job_id}", "j1").replace("{workspace}", "default").replace("{id}", stage.ids[kind])
    filled = filled.replace("{token}", stage.token)
    return re.sub(r"{\w+}", "x", filled)


def wrong_bodies() -> list[bytes]:
    """Secrets where none belongs: as values, as names, in what is no JSON."""
    return [
        json.dumps({"job_id": EVERY_SECRET, "url": EVERY_SECRET, "callback_url": f"ftp://{EVERY_SECRET}"}).encode(),
        json.dumps({"secret": marked.SIGNING + "x", "job_id": "j1", "callback_url": "https://a.b"}).encode(),
        json.dumps({"status": EVERY_SECRET, "events": [EVERY_SECRET], "metadata": EVERY_SECRET}).encode(),
        f'{{"job_id": {EVERY_SECRET}'.encode(),
        EVERY_SECRET.encode() + b"\xff",
    ]


async def drive(stage: Stage, one: ApiRoute) -> None:
    """One call: well, wrongly, with secrets in the query and the headers, and with a key that is none."""
    name = one.handler.__name__
    path = path_of(stage, one.path)
    body = json.dumps(GOOD[name]).replace("URL", stage.receiver) if name in GOOD else "{}" if one.body else ""
    if name == "discard_waiting":
        await stage.api.http.post("/v1/sending/suspend")
    answer = await stage.api.http.request(one.method, path, content=body)
    # The store is not the only one that may be away: here Exec is, too.
    assert answer.status_code < 300 or answer.status_code in (502, 503), (name, answer.text)
    text = re.sub(r'"secret": ?"[^"]*"', "", answer.text) if name in HELD else answer.text
    stage.said.append(f"{answer.headers}\n{text}")
    for wrong in wrong_bodies() if one.body else []:
        await stage.ask(one.method, path, content=wrong)
    await stage.ask(one.method, path, params={"cursor": EVERY_SECRET, "q": EVERY_SECRET})
    await stage.ask(one.method, path, headers={"Idempotency-Key": EVERY_SECRET * 3, "X-Request-Id": EVERY_SECRET})
    await stage.ask(one.method, path, headers={"Authorization": f"Bearer {EVERY_SECRET}"})
    await stage.ask(one.method, path, headers={"Authorization": marked.API_KEY})


@pytest.mark.parametrize("one", OPERATIONS, ids=lambda one: str(one.id))
async def test_no_call_reveals_a_secret(one: ApiRoute, stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Each call that the API has, new ones included by themselves: neither its answers nor the log hold a secret."""
    caplog.set_level(logging.DEBUG, logger="relay")  # as `telemetry.set_up_logging` has it
    await drive(stage, one)
    for read in ("endpoints", "registrations", "deliveries", "jobs"):
        await stage.ask("GET", f"/v1/{read}")
        await stage.ask("GET", f"/v1/{read}/{stage.ids[read]}")
    await stage.ask("GET", "/metrics")
    said = "\n".join(stage.said)
    assert marked.found_in(said) == []
    assert marked.found_in(caplog.text) == []
    recorded = "".join(span.to_json() for span in stage.spans.get_finished_spans())
    assert "attempt" in recorded
    assert marked.found_in(recorded) == []
    assert stage.token not in caplog.text + recorded
    assert (stage.token in said) <= ("callback" in one.path), "only those who may see the callback's URL see its token"


async def test_secrets_repeated_by_a_receiver_are_redacted(stage: Stage) -> None:
    """The attempt log shows the receiver's response without the URL and headers that it repeated."""
    shown = await stage.api.get(f"/v1/deliveries/{stage.ids['deliveries']}")
    [attempt] = shown["attempt_log"]
    assert (attempt["status_code"], "failed: " in attempt["response"]) == (500, True)
    assert marked.found_in(json.dumps(shown)) == []
    tested = await stage.api.post(f"/v1/endpoints/{stage.ids['endpoints']}/test", status=200)
    assert "failed: " in tested["response"]
    assert marked.found_in(json.dumps(tested)) == []


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "email"])
async def test_no_token_of_a_chat_is_revealed(format: str, stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A bot's token in the URL or in a header, and a service that repeats both in its error: a test and an event are
    sent, and neither the API nor a page nor the log has it."""
    caplog.set_level(logging.DEBUG, logger="relay")
    url = f"{stage.receiver}/bot1:{marked.PASSWORD}/sendMessage?chat_id=-1&channel=C0123456789"
    headers = {"authorization": f"Bearer {marked.HEADER}"}
    endpoint = await stage.api.make_endpoint(name="chat", url=url, format=format, headers=headers)
    await stage.ask("POST", f"/v1/endpoints/{endpoint['id']}/test")
    await stage.api.register("j2", endpoint=endpoint["id"], callback_url=None)
    for delivery in await stage.api.deliver("j2"):
        await stage.api.relay.dispatcher.tick()
        await stage.api.relay.dispatcher.idle()
        await stage.ask("GET", f"/v1/deliveries/{delivery}")
    await stage.ask("POST", "/login", data={"api_key": marked.API_KEY}, headers={"origin": SELF})
    for path in ("/v1/endpoints", "/v1/deliveries", "/metrics", "/endpoints", "/deliveries", "/jobs/default/j2"):
        await stage.ask("GET", path)
    for path in (
        f"/v1/endpoints/{endpoint['id']}",
        f"/endpoints/{endpoint['id']}",
        f"/endpoints/{endpoint['id']}/edit",
    ):
        assert (await stage.ask("GET", path)).status_code == 200
    assert marked.found_in("\n".join(stage.said)) == []
    assert marked.found_in(caplog.text) == []


@pytest.mark.parametrize(
    "base",
    ["http://127.0.0.1:9", "http://no-such-name.invalid", "RECEIVER-TLS", "RECEIVER-302"],
    ids=["refused", "no name", "no tls", "redirect"],
)
async def test_no_failure_of_a_connection_reveals_the_token_in_a_url(
    base: str, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """Telegram's token is part of the path; errors of clients like to repeat the URL."""
    caplog.set_level(logging.DEBUG, logger="relay")
    base = base.replace("RECEIVER-TLS", stage.receiver.replace("http:", "https:"))
    url = f"{base.replace('RECEIVER-302', stage.receiver)}/302/bot1:{marked.PASSWORD}/sendMessage?chat_id=-1"
    endpoint = await stage.api.make_endpoint(name="chat", url=url, format="telegram")
    tested = await stage.ask("POST", f"/v1/endpoints/{endpoint['id']}/test")
    assert tested.json()["outcome"] != "delivered"
    await stage.api.register("j2", endpoint=endpoint["id"], callback_url=None)
    for delivery in await stage.api.deliver("j2"):
        await stage.api.relay.dispatcher.tick()
        await stage.api.relay.dispatcher.idle()
        await stage.ask("GET", f"/v1/deliveries/{delivery}")
    await stage.ask("GET", "/metrics")
    assert marked.found_in("\n".join(stage.said)) == []
    assert marked.found_in(caplog.text) == []


async def test_a_mail_servers_password_is_not_revealed(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody listens at the address: neither the error nor the endpoint as it is shown has the password."""
    caplog.set_level(logging.DEBUG, logger="relay")
    url = f"smtp://relay:{marked.PASSWORD}@127.0.0.1:9/?from=a@example.com&to=b@example.com"
    endpoint = await stage.api.make_endpoint(name="mail", url=url)
    await stage.ask("POST", f"/v1/endpoints/{endpoint['id']}/test")
    await stage.ask("POST", "/login", data={"api_key": marked.API_KEY}, headers={"origin": SELF})
    for path in ("/v1/endpoints", f"/endpoints/{endpoint['id']}", f"/endpoints/{endpoint['id']}/edit"):
        assert (await stage.ask("GET", path)).status_code == 200
    assert marked.found_in("\n".join(stage.said)) == []
    assert marked.found_in(caplog.text) == []


SHOWING = [route for route in dashboard.ROUTES if route.methods == {"GET", "HEAD"} and route.path != "/live"]
"""Pages that change nothing, so that one relay shows them all; `/live` never ends, and sends the others' parts."""
CHANGING = [[route] for route in dashboard.ROUTES if route.methods == {"POST"}]


def test_every_page_is_shown_or_changes_something() -> None:
    """None is left out below."""
    assert len(SHOWING) + len(CHANGING) + 1 == len(dashboard.ROUTES)


@pytest.mark.parametrize(
    "routes", [SHOWING, *CHANGING], ids=lambda routes: f"{min(routes[0].methods)} {routes[0].path}"
)
async def test_no_page_reveals_a_secret(routes: list[Any], stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Each page of the dashboard, with and without a login, with secrets in wrong places."""
    caplog.set_level(logging.DEBUG, logger="relay")  # as `telemetry.set_up_logging` has it
    login = await stage.ask("POST", "/login", data={"api_key": marked.API_KEY}, headers={"origin": SELF})
    asked = [(method, path_of(stage, route.path)) for route in routes for method in route.methods - {"HEAD"}]
    for method, path in asked:
        await stage.ask(method, path)
        await stage.ask(method, path, params={"q": marked.URL_TOKEN[:8], "next": "/"})
        wrong = dict.fromkeys(("api_key", "secret", "job_id", "callback_url", "csrf"), EVERY_SECRET)
        if method == "POST" and path != "/register":  # its form shows again what was typed into it
            await stage.ask(method, path, data=wrong, headers={"origin": SELF})
    stage.api.http.cookies.clear()
    for method, path in asked:
        await stage.ask(method, path)
    assert login.status_code == 303
    assert marked.found_in("\n".join(stage.said)) == []
    assert marked.found_in(caplog.text) == []


class FallingRelay(QuietRelay):
    """A relay whose own faults hold every secret in their text."""

    async def send_test(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError(EVERY_SECRET)

    async def render_metrics(self) -> Any:
        secret = EVERY_SECRET
        raise KeyError(secret)


async def test_a_crash_reveals_no_secret(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of the relay's own is logged with where it happened, and never with what it held."""
    caplog.set_level(logging.DEBUG, logger="relay")  # as `telemetry.set_up_logging` has it
    async with staged(sqlite_url, FallingRelay) as stage:
        for method, path in (("POST", f"/v1/endpoints/{stage.ids['endpoints']}/test"), ("GET", "/metrics")):
            assert (await stage.ask(method, path)).status_code == 500
        assert "RuntimeError" in caplog.text
        assert marked.found_in("\n".join([*stage.said, caplog.text])) == []


async def test_no_repr_reveals_a_secret(stage: Stage) -> None:
    """The configuration and everything of the store may be printed by mistake: no secret is in it."""
    relay = stage.api.relay
    endpoint = await relay.store.read(lambda tx: endpoints.get(tx, stage.ids["endpoints"]))
    assert endpoint is not None
    assert marked.URL_TOKEN in endpoint.url  # the store has it, its text does not
    shown = [relay.config, relay.config.model_dump(), endpoint, endpoint.secrets, relay.clients, relay.egress]
    shown += [vars(client).keys() for client in relay.clients.values()]
    assert marked.found_in(f"{shown!r} {shown!s} {relay.config}") == []


def test_a_secret_is_recognised() -> None:
    """The search finds every marked secret, plain, in part, quoted and in base64."""
    assert len(marked.found_in(EVERY_SECRET)) == len(marked.ALL)
    assert marked.found_in("https://hooks.example/" + marked.URL_TOKEN) == ["URL_TOKEN"]
    assert marked.found_in(marked.SIGNING.removeprefix("whsec_")) == ["SIGNING"]
    assert marked.found_in("nothing") == []
