"""The result of sending a webhook: a response, or the reason why there is none.

`egress/http_client.py` converts every outcome of a request to one of these values; `delivery/retry_policy.py` decides
what it means.
"""

from collections.abc import Mapping
from dataclasses import dataclass

UNSENT = "unsent"
"""The kind of a failure before anything was sent. It says nothing about the receiver and counts as no attempt."""

BUSY = "busy"
"""The kind of a failure because enough other requests wait for the same address. It counts as no attempt."""

UNCERTAIN = "uncertain"
"""The kind of a mail whose server did not confirm it after the final dot: it may have taken it."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response whose head is complete, with at most 16 KiB of its body."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    body_error: str | None = None
    """Why the body is incomplete, as text; only with a 2xx, which counts as soon as its head is complete."""

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """There is no usable response."""

    kind: str
    """`timeout`, `connection`, `tls`, `protocol`, `blocked` (the egress rules refused), `internal` (a bug of ours),
    `unsent` (the relay had no file descriptor), `busy` (others wait for the address) or `uncertain`: a bounded set."""
    detail: str
    """A text for people, without secrets, path or query of the URL."""
    may_change: bool = False
    """With `blocked`: the host is a name, and may soon resolve to other addresses."""


SendResult = HttpResponse | RequestFailed
