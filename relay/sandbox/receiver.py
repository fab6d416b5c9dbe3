"""A verifying receiver: stores the relay's requests and verifies them with a library that the relay does not use.

Source: Standard Webhooks 1.0. Its responses are scripted, path by path.
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
    """One received request."""

    at: Instant
    path: str
    webhook_id: str | None
    event_type: str | None
    """`type` (or `event`) of the body; None if it has none, as in chat messages."""
    verified: bool
    error: str
    """Why it is not verified."""
    answered: int
    """The status of the response."""
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case."""
    body: bytes = field(repr=False)


# --- responses -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Respond:
    """A complete response, after `delay` milliseconds."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowBody:
    """The head of a response, then one byte of its body every `every` milliseconds."""

    body: bytes = b"." * 3_600
    every: int = SECOND
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class HugeBody:
    """A response with a body of so many zero bytes."""

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
    """`after`: the value of the header, seconds or an HTTP date."""
    return Respond(status=status, headers={"retry-after": str(after)})


Listener = Callable[[Received], Awaitable[None] | None]


class Receiver:
    """A receiver. `app` is the ASGI app. Not thread-safe.

    `secrets` are valid for every path, or are given by path (`*`: every other path); a request is verified if one of
    them signed it. Raises ValidationFailed for an invalid secret.
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
        for path, path_secrets in by_path.items():
            self.set_secrets(path_secrets, path)
        self.app = Starlette(routes=[Route("/{path:path}", self._take, methods=["POST"])])

    def set_secrets(self, secrets: str | Sequence[str], path: str = ANY_PATH) -> None:
        """Replaces the secrets of `path`. Raises ValidationFailed for an invalid secret."""
        secret_list = [secrets] if isinstance(secrets, str) else secrets
        self._secrets[path] = [_verifier(secret) for secret in secret_list]

    def script(self, *behaviours: Behaviour, path: str = ANY_PATH) -> None:
        """Sets the responses to the next requests, in order; after them the response of `always`."""
        self._scripts.setdefault(path, deque()).extend(behaviours)

    def always(self, behaviour: Behaviour, path: str = ANY_PATH) -> None:
        """Sets the response to every request without a script; 204 by default."""
        self._always[path] = behaviour

    async def wait_for(self, count: int = 1, *, path: str | None = None, within: int = 30 * SECOND) -> list[Received]:
        """All received requests (to `path`) once there are `count`. Raises TimeoutError after `within` milliseconds."""

        def matching() -> list[Received]:
            return [request for request in self.received if path in (None, request.path)]

        async with asyncio.timeout(within / SECOND), self._arrival:
            await self._arrival.wait_for(lambda: len(matching()) >= count)
        return matching()

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        path = request.url.path
        headers = dict(request.headers)
        error = self._verification_error(path, headers, body)
        behaviour = self._next(path)
        received = Received(
            at=self._clock(),
            path=path,
            webhook_id=headers.get("webhook-id"),
            event_type=_event_type(body),
            verified=not error,
            error=error,
            answered=behaviour.status,
            headers=headers,
            body=body,
        )
        await self._store(received)
        return await _behave(behaviour, request)

    async def _store(self, received: Received) -> None:
        self.received.append(received)
        async with self._arrival:
            self._arrival.notify_all()
        result = self._listener(received) if self._listener else None
        if inspect.isawaitable(result):
            await result

    def _verification_error(self, path: str, headers: dict[str, str], body: bytes) -> str:
        """Why the request is not verified; "" if it is."""
        secrets = self._secrets.get(path, self._secrets.get(ANY_PATH, []))
        errors = [_verification_error(secret, headers, body) for secret in secrets] or [
            "no secret is known for this path"
        ]
        return "" if "" in errors else errors[0]

    def _next(self, path: str) -> Behaviour:
        for key in (path, ANY_PATH):
            if script := self._scripts.get(key):
                return script.popleft()
        return self._always.get(path, self._always.get(ANY_PATH, FINE))


# --- verification ----------------------------------------------------------------------------------------------


class _PublicKey:
    """Verifies `v1a` signatures; the library only verifies `v1`."""

    def __init__(self, public: str) -> None:
        ed25519.check_public_key(public)
        self._key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix(ed25519.PUBLIC_PREFIX)))

    def verify(self, body: bytes, headers: dict[str, str]) -> None:
        """Raises WebhookVerificationError, with the library's texts."""
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        id, timestamp, signatures = (headers.get(name, "") for name in names)
        if not (id and timestamp and signatures):
            raise WebhookVerificationError("Missing required headers")
        age = time.time() - int(timestamp)
        if abs(age) > 300:
            raise WebhookVerificationError(f"Message timestamp too {'old' if age > 0 else 'new'}")
        for signature in signatures.split(" "):
            version, _, encoded = signature.partition(",")
            if version == "v1a" and self._is_valid(base64.b64decode(encoded), f"{id}.{timestamp}.".encode() + body):
                return
        raise WebhookVerificationError("No matching signature found")

    def _is_valid(self, signature: bytes, signed: bytes) -> bool:
        try:
            self._key.verify(signature, signed)
        except InvalidSignature:
            return False
        return True


def _verifier(secret: str) -> Webhook | _PublicKey:
    """The verifier for a secret (`whsec_...`) or a public key (`whpk_...`). Raises ValidationFailed."""
    if secret.startswith(ed25519.PUBLIC_PREFIX):
        return _PublicKey(secret)
    standard_webhooks.check_secret(secret)  # the library accepts any text with some base64 in it
    return Webhook(secret)


_ERROR_TEXTS = {
    "Missing required headers": "not signed: webhook-id, webhook-timestamp or webhook-signature is missing",
    "No matching signature found": "no signature matches: another secret signed it, or it was changed on the way",
    "Message timestamp too old": "signed more than 5 minutes ago",
    "Message timestamp too new": "signed more than 5 minutes in the future",
    "Invalid Signature Headers": "webhook-timestamp is not a number of seconds",
}


def _verification_error(secret: Webhook | _PublicKey, headers: dict[str, str], body: bytes) -> str:
    try:
        secret.verify(body, headers)
    except WebhookVerificationError as error:
        return _ERROR_TEXTS.get(str(error), str(error) or "not verified")
    except json.JSONDecodeError:
        return ""  # the library parses the body only after a signature matched
    except ValueError:
        return "malformed: webhook-signature is not v1,BASE64, or the body is not text"
    return ""


def _event_type(body: bytes) -> str | None:
    try:
        message: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    names = (message.get("type"), message.get("event")) if isinstance(message, dict) else ()
    return next((name for name in names if isinstance(name, str)), None)


# --- sending responses -----------------------------------------------------------------------------------------


async def _behave(behaviour: Behaviour, request: Request) -> Response:
    match behaviour:
        case SlowBody(body=body, every=every, status=status):
            return StreamingResponse(_slow_body(body, every), status, media_type="text/plain")
        case HugeBody(bytes=size, status=status):
            return StreamingResponse(
                _huge_body(size), status, {"content-length": str(size)}, "application/octet-stream"
            )
        case Respond(status=status, headers=headers, body=body, delay=delay):
            if delay:
                await sleep_unless_disconnected(request, delay)
            return Response(body, status, dict(headers))


async def _slow_body(body: bytes, every: int) -> AsyncIterator[bytes]:
    for index in range(len(body)):
        await asyncio.sleep(every / SECOND)
        yield body[index : index + 1]


async def _huge_body(size: int) -> AsyncIterator[bytes]:
    chunk = b"\0" * 65_536
    for start in range(0, size, len(chunk)):
        yield chunk[: size - start]
