"""Headers of requests, as the API reads them: who asks, from where, in which trace, with what."""

import asyncio
import contextlib

from starlette.datastructures import Headers
from starlette.requests import Request

from relay import subscribing, traces
from relay.api_keys import hash_of
from relay.errors import Refused
from relay.guesses import source_of
from relay.web import auth, reading
from tests.fuzz.target import Target, text_of

NAMES = (b"host", b"origin", b"authorization", b"content-type", b"content-length", b"forwarded", b"traceparent")


def parse(data: bytes) -> None:
    name, _, rest = data.partition(b":")
    value = rest.replace(b"\r", b"").replace(b"\n", b"")
    came = [(NAMES[name[0] % len(NAMES)] if name else b"host", value), (b"host", b"localhost")]
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": came}, _nothing)
    for read in (
        lambda: auth.refuse_others(Headers(raw=came)),
        lambda: hash_of(auth.bearer(Headers(raw=came))),
        lambda: reading.check_media_type(request),
        lambda: asyncio.run(reading.read(request)),
    ):
        with contextlib.suppress(Refused):
            read()
    text = text_of(value)
    traces.taken_in(text)
    assert source_of(source_of(text)) == source_of(text)
    subscribing.check_headers({text_of(name): text})


async def _nothing() -> dict[str, object]:
    return {"type": "http.request", "body": b"", "more_body": False}


TARGET = Target(
    "headers",
    parse,
    (Refused,),
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
