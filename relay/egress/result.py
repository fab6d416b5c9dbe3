"""Outcomes: what an attempt to deliver can bring.

The adapter (`egress/http_client.py`) turns whatever happens on the wire into one of these values;
`delivery/retry_policy.py` decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass

UNSENT = "unsent"
"""The kind of what never left this machine and says nothing of the receiver: it counts as no attempt."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete answer, or as much of it as the relay reads (16 KiB)."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """No usable answer came."""

    kind: str
    """`timeout`, `connection`, `tls`, `protocol`, `blocked` (the egress guard refused), `internal` (the relay's own
    fault) or `unsent` (the relay had no means to begin): a bounded set."""
    detail: str
    """For people; holds no secret, neither path nor query of the URL."""


SendResult = HttpResponse | RequestFailed
