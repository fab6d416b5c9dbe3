"""`Idempotency-Key`: a repeated request gets the first response, within a day and for the same API key.

The stored response holds no secret, only its SHA-256 and the endpoint's id. A repeat gets the secret from the endpoint
while it is still the same one: after a rotation it gets none.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, Response

from relay.errors import Conflict, ValidationFailed
from relay.store import Tx
from relay.store.tables import endpoints, idempotency
from relay.store.tables.idempotency import StoredResponse
from relay.web.core.public_url import path_below_base, with_base_path
from relay.web.core.route import RequestContext

HEADER = "idempotency-key"
KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
OPENAPI_HEADER: dict[str, tuple[str, str | None]] = {
    "Idempotency-Key": (
        "1 to 255 printable characters of your choice: the same request within 24 hours gets the first response, "
        "with `idempotent-replayed: true`",
        f"^{KEY.pattern}$",
    )
}
REPLAYED = "idempotent-replayed"

_SECRET = "secret"  # noqa: S105
_SECRET_HASH = "secret_sha256"  # noqa: S105


@dataclass(frozen=True, slots=True)
class StoredResult:
    """The response to a request, as JSON."""

    status: int
    answer: Any
    location: str | None = None
    replayed: bool = False

    def response(self, call: RequestContext) -> Response:
        headers = {"location": with_base_path(call.request, self.location)} if self.location else {}
        return JSONResponse(self.answer, self.status, headers | ({REPLAYED: "true"} if self.replayed else {}))


def key_of(call: RequestContext) -> str | None:
    """The request's key, None without one. Raises ValidationFailed for a malformed key."""
    key = call.request.headers.get(HEADER)
    if key is not None and not KEY.fullmatch(key):
        raise ValidationFailed(
            "invalid_idempotency_key", "Idempotency-Key must be 1 to 255 printable characters", HEADER
        )
    return key


class _LostRace(Exception):
    """Another request with the same key committed first; the transaction is rolled back."""


async def run_idempotent(call: RequestContext, work: Callable[[Tx], StoredResult]) -> StoredResult:
    """Runs `work` in a transaction, or returns the stored response to the same request with the same key.

    Raises ValidationFailed for a malformed key, Conflict for a key that another request used.
    """
    if (client_key := key_of(call)) is None:
        return await call.relay.store.write(work)
    key = idempotency.fingerprint([call.caller.name, call.request.method, path_below_base(call.request), client_key])
    request = idempotency.fingerprint(call.raw_body)
    try:
        return await call.relay.store.write(
            lambda tx: _find(tx, call, key, request) or _run_and_store(tx, call, key, request, work)
        )
    except _LostRace:
        stored = await call.relay.store.read(lambda tx: _find(tx, call, key, request))
        if stored is None:
            raise Conflict(
                "idempotency_key_in_use", "another request with this Idempotency-Key is in progress"
            ) from None
        return stored


def _find(tx: Tx, call: RequestContext, key: str, request: str) -> StoredResult | None:
    stored = idempotency.get(tx, key)
    if stored is None or stored.created_at <= call.now - idempotency.TTL:
        return None
    if stored.request_hash != request:
        text = "this Idempotency-Key was used for another request; take a new key for a new request"
        raise Conflict("idempotency_key_reused", text, HEADER)
    answer, location = json.loads(stored.answer)
    return StoredResult(stored.status, _with_secrets(tx, answer), location, replayed=True)


def _run_and_store(
    tx: Tx, call: RequestContext, key: str, request: str, work: Callable[[Tx], StoredResult]
) -> StoredResult:
    result = work(tx)
    answer = json.dumps([_without_secrets(result.answer), result.location])  # guard: idempotency-secrets
    stored = StoredResponse(key=key, request_hash=request, status=result.status, answer=answer, created_at=call.now)
    if not idempotency.store(tx, stored):
        raise _LostRace
    return result


def _without_secrets(answer: Any) -> Any:
    """The answer, with the SHA-256 of each endpoint's `secret` in its place."""
    if isinstance(answer, list):
        return [_without_secrets(item) for item in answer]
    if not isinstance(answer, dict):
        return answer
    hashed = {name: _without_secrets(item) if name != "metadata" else item for name, item in answer.items()}
    if (secret := hashed.pop(_SECRET, None)) is not None:
        hashed[_SECRET_HASH] = _sha256(secret)
    return hashed


def _with_secrets(tx: Tx, answer: Any) -> Any:
    """The answer as it was. A secret that the endpoint no longer signs with first is left out."""
    if isinstance(answer, list):
        return [_with_secrets(tx, item) for item in answer]
    if not isinstance(answer, dict):
        return answer
    restored = {name: _with_secrets(tx, item) if name != "metadata" else item for name, item in answer.items()}
    if (digest := restored.pop(_SECRET_HASH, None)) is not None and (endpoint := endpoints.get(tx, restored["id"])):
        current = endpoint.secrets[0].value
        if hmac.compare_digest(_sha256(current), digest):  # guard: replayed-secret
            restored[_SECRET] = current
    return restored


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
