"""`Idempotency-Key`: a repeated request gets the first one's answer, within a day and for the same API key.

The stored answer holds no secret, only its SHA-256 and the endpoint's id. A repeat gets the secret from the endpoint
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
from relay.store.engine.database import Tx
from relay.store.tables import endpoints, idempotency
from relay.store.tables.idempotency import StoredResponse
from relay.web.core.public_url import path_below_base, with_base_path
from relay.web.core.route import RequestContext

HEADER = "idempotency-key"
KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
OPENAPI_HEADER: dict[str, tuple[str, str | None]] = {
    "Idempotency-Key": (
        "1 to 255 printable characters of your own: the same request again within 24 hours gets the first one's "
        "answer, with `idempotent-replayed: true`",
        f"^{KEY.pattern}$",
    )
}
REPLAYED = "idempotent-replayed"

_SECRET = "secret"  # noqa: S105
_SECRET_HASH = "secret_sha256"  # noqa: S105


@dataclass(frozen=True, slots=True)
class StoredResult:
    """What a request came to: its answer, as JSON."""

    status: int
    answer: Any
    location: str | None = None
    replayed: bool = False

    def response(self, call: RequestContext) -> Response:
        headers = {"location": with_base_path(call.request, self.location)} if self.location else {}
        return JSONResponse(self.answer, self.status, headers | ({REPLAYED: "true"} if self.replayed else {}))


def key_of(call: RequestContext) -> str | None:
    """The key that the request came with, if any. Raises Invalid for one that can't be used."""
    sent = call.request.headers.get(HEADER)
    if sent is not None and not KEY.fullmatch(sent):
        raise ValidationFailed(
            "invalid_idempotency_key", "Idempotency-Key must be 1 to 255 printable characters", HEADER
        )
    return sent


class _LostRace(Exception):
    """Another request with the same key was quicker; the transaction is to be undone."""


async def run_idempotent(call: RequestContext, work: Callable[[Tx], StoredResult]) -> StoredResult:
    """Does `work` in a transaction, or gives the answer that the same request with the same key had.

    Raises Invalid for a key that can't be used, Conflict where it was used for another request.
    """
    if (sent := key_of(call)) is None:
        return await call.relay.store.write(work)
    key = idempotency.fingerprint([call.caller.name, call.request.method, path_below_base(call.request), sent])
    request = idempotency.fingerprint(call.raw_body)
    try:
        return await call.relay.store.write(
            lambda tx: _known(tx, call, key, request) or _keep(tx, call, key, request, work)
        )
    except _LostRace:
        found = await call.relay.store.read(lambda tx: _known(tx, call, key, request))
        if found is None:
            raise Conflict("idempotency_key_in_use", "another request with this Idempotency-Key is under way") from None
        return found


def _known(tx: Tx, call: RequestContext, key: str, request: str) -> StoredResult | None:
    kept = idempotency.get(tx, key)
    if kept is None or kept.created_at <= call.now - idempotency.TTL:
        return None
    if kept.request_hash != request:
        text = "this Idempotency-Key was used for another request; take a new key for a new request"
        raise Conflict("idempotency_key_reused", text, HEADER)
    answer, location = json.loads(kept.answer)
    return StoredResult(kept.status, _with_secrets(tx, answer), location, replayed=True)


def _keep(tx: Tx, call: RequestContext, key: str, request: str, work: Callable[[Tx], StoredResult]) -> StoredResult:
    done = work(tx)
    answer = json.dumps([_without_secrets(done.answer), done.location])  # guard: idempotency-secrets
    kept = StoredResponse(key=key, request_hash=request, status=done.status, answer=answer, created_at=call.now)
    if not idempotency.store(tx, kept):
        raise _LostRace
    return done


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
    whole = {name: _with_secrets(tx, item) if name != "metadata" else item for name, item in answer.items()}
    if (digest := whole.pop(_SECRET_HASH, None)) is not None and (endpoint := endpoints.get(tx, whole["id"])):
        current = endpoint.secrets[0].value
        if hmac.compare_digest(_sha256(current), digest):  # guard: replayed-secret
            whole[_SECRET] = current
    return whole


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
