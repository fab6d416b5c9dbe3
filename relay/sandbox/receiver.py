"""A verifying receiver: takes what the relay sends, verifies it with a library the relay does not use, keeps it.

Source: Standard Webhooks 1.0. What it answers is scripted, path by path.
"""

import asyncio
import base64
import inspect
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from relay.model import MINUTE, SECOND, Instant
from relay.sandbox.local_server import sleep_unless_disconnected
from relay.signing import ed25519, standard_webhooks

ANY_PATH = "*"


@dataclass(frozen=True, slots=True)
class Received:
    """One request, as it came."""

    at: Instant
    path: str
    webhook_id: str | None
    event_type: str | None
    """`type` (or `event`) of the body; None where it has none, as in chat messages."""
    verified: bool
    error: str
    """Why it is not verified."""
    answered: int
    """The status that it was answered."""
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case."""
    body: bytes = field(repr=False)


# --- what it answers -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Respond:
    """One whole answer, `delay` milliseconds late."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowBody:
    """The head of an answer, and then one byte of its body every `every` milliseconds."""

    body: bytes = b"." * 3_600
    every: int = SECOND
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class HugeBody:
    """A body of so many bytes, none of them of use."""

    bytes: int = 1_000_000_000
    status: int = 200


Behaviour = Respond | SlowBody | HugeBody

FINE = Respond()
HANG = Respond(delay=10 * MINUTE)
GONE = Respond(status=410)
DISABLE = Respond(status=200, headers={"webhook-delivery": "disable"})
ABORT = Respond(status=400, headers={"webhook-delivery": "abort-message"})


def redirect(to: str, status: int = 307) -> Respond:
    return Respond(status=status, headers={"location": to})


def retry_later(after: str | int, status: int = 429) -> Respond:
    """`after`: seconds, or an HTTP date; whatever it is, it goes into the header as it is."""
    return Respond(status=status, headers={"retry-after": str(after)})


Listener = Callable[[Received], Awaitable[None] | None]


class Receiver:
    """A receiver. `app` is what a server runs. Not for several threads.

    `secrets` hold for every path, or are given by path (`*`: every other path); any one of them may have signed.
    Raises Invalid for what is no secret.
    """

    def __init__(
        self,
        secrets: str | Sequence[str] | Mapping[str, Sequence[str]],
        clock: Callable[[], Instant],
        *,
        listener: Listener | None = None,
        keep: int = 10_000,
    ) -> None:
        self.received: deque[Received] = deque(maxlen=keep)
        self._clock = clock
        self._listener = listener
        self._secrets: dict[str, list[Webhook | _PublicKey]] = {}
        self._scripts: dict[str, deque[Behaviour]] = {}
        self._always: dict[str, Behaviour] = {}
        self._arrival = asyncio.Condition()
        by_path = secrets if isinstance(secrets, Mapping) else {ANY_PATH: secrets}
        for path, some in by_path.items():
            self.set_secrets(some, path)
        self.app = Starlette(routes=[Route("/{path:path}", self._take, methods=["POST"])])

    def set_secrets(self, secrets: str | Sequence[str], path: str = ANY_PATH) -> None:
        """From now on these secrets hold for `path`, in place of those before. Raises Invalid."""
        some = [secrets] if isinstance(secrets, str) else secrets
        self._secrets[path] = [_verifier(secret) for secret in some]

    def script(self, *behaviours: Behaviour, path: str = ANY_PATH) -> None:
        """The answers to the next requests, in order; after them what `always` said."""
        self._scripts.setdefault(path, deque()).extend(behaviours)

    def always(self, behaviour: Behaviour, path: str = ANY_PATH) -> None:
        """The answer to every request that no script is left for; 204 at first."""
        self._always[path] = behaviour

    async def wait_for(self, count: int = 1, *, path: str | None = None, within: int = 30 * SECOND) -> list[Received]:
        """All that came (to `path`), once there are `count`. Raises TimeoutError after `within` milliseconds."""

        def so_far() -> list[Received]:
            return [one for one in self.received if path in (None, one.path)]

        async with asyncio.timeout(within / SECOND), self._arrival:
            await self._arrival.wait_for(lambda: len(so_far()) >= count)
        return so_far()

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        path = request.url.path
        headers = dict(request.headers)
        why = self._verification_error(path, headers, body)
        behaviour = self._next(path)
        one = Received(
            at=self._clock(),
            path=path,
            webhook_id=headers.get("webhook-id"),
            event_type=_event_type(body),
            verified=not why,
            error=why,
            answered=behaviour.status,
            headers=headers,
            body=body,
        )
        await self._keep(one)
        return await _behave(behaviour, request)

    async def _keep(self, one: Received) -> None:
        self.received.append(one)
        async with self._arrival:
            self._arrival.notify_all()
        heard = self._listener(one) if self._listener else None
        if inspect.isawaitable(heard):
            await heard

    def _verification_error(self, path: str, headers: dict[str, str], body: bytes) -> str:
        """Why the request can't be trusted; empty where it can."""
        secrets = self._secrets.get(path, self._secrets.get(ANY_PATH, []))
        doubts = [_verification_error(secret, headers, body) for secret in secrets] or [
            "no secret is known for this path"
        ]
        return "" if "" in doubts else doubts[0]

    def _next(self, path: str) -> Behaviour:
        for place in (path, ANY_PATH):
            if script := self._scripts.get(place):
                return script.popleft()
        return self._always.get(path, self._always.get(ANY_PATH, FINE))


# --- how it verifies -------------------------------------------------------------------------------------------


class _PublicKey:
    """Verifies `v1a` as the library verifies `v1`, which is all that it knows yet."""

    def __init__(self, public: str) -> None:
        ed25519.check_public_key(public)
        self._key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix(ed25519.PUBLIC_PREFIX)))

    def verify(self, body: bytes, headers: dict[str, str]) -> None:
        """Raises WebhookVerificationError, in the library's words."""
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        id, timestamp, signatures = (headers.get(name, "") for name in names)
        if not (id and timestamp and signatures):
            raise WebhookVerificationError("Missing required headers")
        age = time.time() - int(timestamp)
        if abs(age) > 300:
            raise WebhookVerificationError(f"Message timestamp too {'old' if age > 0 else 'new'}")
        for signature in signatures.split(" "):
            version, _, encoded = signature.partition(",")
            if version == "v1a" and self._fits(base64.b64decode(encoded), f"{id}.{timestamp}.".encode() + body):
                return
        raise WebhookVerificationError("No matching signature found")

    def _fits(self, signature: bytes, signed: bytes) -> bool:
        try:
            self._key.verify(signature, signed)
        except InvalidSignature:
            return False
        return True


def _verifier(secret: str) -> Webhook | _PublicKey:
    """What verifies with a secret (`whsec_...`) or a public key (`whpk_...`). Raises Invalid."""
    if secret.startswith(ed25519.PUBLIC_PREFIX):
        return _PublicKey(secret)
    standard_webhooks.check_secret(secret)  # the library takes anything that has some base64 in it
    return Webhook(secret)


_IN_OTHER_WORDS = {
    "Missing required headers": "not signed: webhook-id, webhook-timestamp or webhook-signature is missing",
    "No matching signature found": "no signature matches: another secret signed it, or it was changed on the way",
    "Message timestamp too old": "signed more than 5 minutes ago",
    "Message timestamp too new": "signed more than 5 minutes in the future",
    "Invalid Signature Headers": "webhook-timestamp is no time",
}


def _verification_error(secret: Webhook | _PublicKey, headers: dict[str, str], body: bytes) -> str:
    try:
        secret.verify(body, headers)
    except WebhookVerificationError as doubt:
        return _IN_OTHER_WORDS.get(str(doubt), str(doubt) or "not verified")
    except json.JSONDecodeError:
        return ""  # the library parses the body only once a signature has matched
    except ValueError:
        return "malformed: webhook-signature is not v1,BASE64, or the body is not text"
    return ""


def _event_type(body: bytes) -> str | None:
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    names = (found.get("type"), found.get("event")) if isinstance(found, dict) else ()
    return next((name for name in names if isinstance(name, str)), None)


# --- how it behaves --------------------------------------------------------------------------------------------


async def _behave(behaviour: Behaviour, request: Request) -> Response:
    match behaviour:
        case SlowBody(body=body, every=every, status=status):
            return StreamingResponse(_drip(body, every), status, media_type="text/plain")
        case HugeBody(bytes=size, status=status):
            return StreamingResponse(_flood(size), status, {"content-length": str(size)}, "application/octet-stream")
        case Respond(status=status, headers=headers, body=body, delay=delay):
            if delay:
                await sleep_unless_disconnected(request, delay)
            return Response(body, status, dict(headers))


async def _drip(body: bytes, every: int) -> AsyncIterator[bytes]:
    for place in range(len(body)):
        await asyncio.sleep(every / SECOND)
        yield body[place : place + 1]


async def _flood(size: int) -> AsyncIterator[bytes]:
    chunk = b"\0" * 65_536
    for start in range(0, size, len(chunk)):
        yield chunk[: size - start]
