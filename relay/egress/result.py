"""The result of sending a webhook: an answer, or the reason why there is none.

`egress/http_client.py` turns everything that happens on the wire into one of these values; `delivery/retry_policy.py`
decides what it means.
"""

from collections.abc import Mapping
from dataclasses import dataclass

UNSENT = "unsent"
"""The kind of a request that never left this machine. It says nothing about the receiver and counts as no attempt."""

BUSY = "busy"
"""The kind of a request that was not sent because enough others wait for the same address. It counts as no attempt."""

UNCERTAIN = "uncertain"
"""The kind of a mail whose server did not confirm it after the final dot: it may have taken it."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer whose head is complete, with at most 16 KiB of its body."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    body_error: str | None = None
    """Why the body is incomplete, in words; only with a 2xx, which counts as soon as its head is complete."""

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """There is no usable answer."""

    kind: str
    """`timeout`, `connection`, `tls`, `protocol`, `blocked` (the egress rules refused), `internal` (a bug of ours),
    `unsent` (the relay had no file descriptor), `busy` (others wait for the address) or `uncertain`: a bounded set."""
    detail: str
    """For people; holds no secret, neither path nor query of the URL."""
    may_change: bool = False
    """With `blocked`: the host is a name, and its addresses may be others soon."""


SendResult = HttpResponse | RequestFailed
