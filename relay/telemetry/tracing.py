"""Spans: what is done as a part of a trace, recorded where somebody wants it."""

import secrets
from collections.abc import Mapping
from types import TracebackType
from typing import Literal, Protocol, Self

from relay.telemetry import trace_context

Attribute = str | int | None
"""What may be said of a span, None for nothing; never anything secret."""

Kind = Literal["server", "client"]
"""Whether the relay is asked, or asks."""


class Span(Protocol):
    """One thing that the relay does, while it does it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None: ...

    @property
    def trace(self) -> str | None:
        """What is begun inside belongs to this trace, as `relay.telemetry.trace_context` has it."""

    @property
    def traceparent(self) -> str | None:
        """For a request that is made inside; None where nobody is to be told of the trace."""

    def set_attributes(self, attributes: Mapping[str, Attribute]) -> None:
        """Says more of it."""


class Tracer(Protocol):
    """Where spans are recorded."""

    def span(self, name: str, kind: Kind, trace: str | None, attributes: Mapping[str, Attribute]) -> Span:
        """A span of the trace, to be entered at once."""

    def close(self) -> None:
        """What is recorded is sent; for a moment at the most."""


class _Unrecorded:
    """A span that nobody records: what came is passed on, and that is all."""

    __slots__ = ("trace",)

    def __init__(self, trace: str | None) -> None:
        self.trace = trace

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        return None

    @property
    def traceparent(self) -> str | None:
        return trace_context.child_traceparent(self.trace, secrets.token_hex(8)) if self.trace else None

    def set_attributes(self, attributes: Mapping[str, Attribute]) -> None:
        """Nobody listens."""


class NoopTracer:
    """Spans that nobody records."""

    def span(self, name: str, kind: Kind, trace: str | None, attributes: Mapping[str, Attribute]) -> Span:
        return _Unrecorded(trace)

    def close(self) -> None:
        """There is nothing to send."""
