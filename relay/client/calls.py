"""The calls of the client: their requests, and how a long wait is sliced. Nothing is sent here."""

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from relay.client import local_token
from relay.client.errors import ClientError

SLICE = 25.0
"""Seconds of one waiting request: proxies cut requests after 30 seconds and more."""

DEFAULT_URL = "http://127.0.0.1:8080"
TIMEOUT = 30.0
"""Seconds for the answer to one request, in addition to its wait."""

RETRY_FOR = 60.0
"""Seconds for which a call is repeated while no relay answers. A wait goes on as long as it may, once one has."""

FOLLOWING = 100
"""Events of one request."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request; all of its retries are the same."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: float = 0
    """Seconds that the relay may wait before it answers."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the relay is, and the key for it."""

    url: str
    key: str | None = field(repr=False)

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of a request. Without a key they have the token of a relay on this machine that has no API keys:
        it is read for each request, because a relay that restarts makes a new one."""
        token = self.key or local_token.read(self.url)
        return {"authorization": f"Bearer {token}"} if token else {}


def address(url: str | None, key: str | None) -> Address:
    """The given address and key, or those of RELAY_URL and RELAY_API_KEY. Raises ClientError for no URL."""
    base_url = (url or os.environ.get("RELAY_URL") or DEFAULT_URL).strip().rstrip("/")
    if not base_url.startswith(("http://", "https://")):
        raise ClientError("the relay's address begins with http:// or https://, such as http://127.0.0.1:8080")
    return Address(base_url, (key or os.environ.get("RELAY_API_KEY") or "").strip() or None)


def create(idempotency_key: str | None, fields: Mapping[str, Any]) -> Call:
    """Creates a job. The key is made here, once for all retries."""
    return _post("/v1/jobs", idempotency_key, fields)


def register(idempotency_key: str | None, fields: Mapping[str, Any]) -> Call:
    """Registers a job."""
    return _post("/v1/registrations", idempotency_key, fields)


def _post(path: str, idempotency_key: str | None, fields: Mapping[str, Any]) -> Call:
    key = idempotency_key or secrets.token_urlsafe(18)
    body = {name: value for name, value in fields.items() if value is not None}
    return Call("POST", path, json=body, headers={"idempotency-key": key})


def job(job_id: str, workspace: str | None, wait: float = 0) -> Call:
    """Shows a job, or waits for its end up to `wait` seconds."""
    params = {"workspace": workspace} if workspace else {}
    seconds = int(wait)
    return Call(
        "GET", f"/v1/jobs/{quote(job_id, safe='')}", params | ({"wait": str(seconds)} if seconds else {}), wait=seconds
    )


def events(
    after: str,
    types: Sequence[str] | None,
    job_id: str | None,
    workspace: str | None,
    endpoint: str | None,
    wait: float,
) -> Call:
    """Pulls events."""
    seconds = int(wait)
    values = {
        "after": after,
        "type": ",".join(types) if types else None,
        "job_id": job_id,
        "workspace": workspace,
        "endpoint": endpoint,
        "limit": str(FOLLOWING),
        "wait": str(seconds) if seconds else None,
    }
    params = {name: value for name, value in values.items() if value is not None}
    return Call("GET", "/v1/events", params, wait=seconds)
