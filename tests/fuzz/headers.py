"""Headers of requests, as the API reads them: who asks, from where, in which trace, with what."""

import asyncio
import contextlib
from types import SimpleNamespace

from starlette.datastructures import Headers
from starlette.requests import Request

from relay.config import Config
from relay.egress import header_policy
from relay.errors import RequestError
from relay.security import hash_api_key
from relay.security.login_throttle import client_network
from relay.telemetry import trace_context
from relay.web.core import auth, request_parsing
from tests.fuzz.target import Target, text_of

NAMES = (b"host", b"origin", b"authorization", b"content-type", b"content-length", b"forwarded", b"traceparent")
_APP = SimpleNamespace(state=SimpleNamespace(relay=SimpleNamespace(config=Config.model_validate({}))))


def parse(data: bytes) -> None:
    name, _, rest = data.partition(b":")
    value = rest.replace(b"\r", b"").replace(b"\n", b"")
    came = [(NAMES[name[0] % len(NAMES)] if name else b"host", value), (b"host", b"localhost")]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": came, "app": _APP}
    request = Request(scope, _nothing)
    for read in (
        lambda: auth.require_local_request(request),
        lambda: hash_api_key(auth.bearer(Headers(raw=came))),
        lambda: request_parsing.check_media_type(request),
        lambda: asyncio.run(request_parsing.read_body(request)),
    ):
        with contextlib.suppress(RequestError):
            read()
    text = text_of(value)
    trace_context.parse_traceparent(text)
    assert client_network(client_network(text)) == client_network(text)
    header_policy.check_headers({text_of(name): text})


async def _nothing() -> dict[str, object]:
    return {"type": "http.request", "body": b"", "more_body": False}


TARGET = Target(
    "headers",
    parse,
    (RequestError,),
    (
        b"\x00:[::1]:8080",
        b"\x01:http://localhost:8080",
        b"\x02:Bearer relay_" + b"k" * 43,
        b'\x03:application/json; charset="utf-8"; boundary=x',
        b"\x04:99999999999999999999999999",
        b"\x05:for=192.0.2.1;proto=https",
        b"\x06:00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"\x00:::ffff:192.0.2.1%eth0",
        b"x-team: sales\t",
    ),
)
