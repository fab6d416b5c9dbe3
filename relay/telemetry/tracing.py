"""Spans: units of work that belong to a trace, recorded if a tracer is set up."""

import secrets
from collections.abc import Mapping
from types import TracebackType
from typing import Literal, Protocol, Self

from relay.telemetry import trace_context

Attribute = str | int | None
"""The value of a span's attribute, None to leave it out; never a secret."""

Kind = Literal["server", "client"]
"""Whether the relay receives the request or sends it."""


class Span(Protocol):
    """One unit of the relay's work, while it lasts."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    @property
    def trace(self) -> str | None:
        """The trace that work inside the span continues, as in `relay.telemetry.trace_context`."""

    @property
    def traceparent(self) -> str | None:
        """The header for a request made inside the span; None if the trace must not be propagated."""

    def set_attributes(self, attributes: Mapping[str, Attribute]) -> None:
        """Adds attributes."""


class Tracer(Protocol):
    """Records spans."""

    def span(self, name: str, kind: Kind, trace: str | None, attributes: Mapping[str, Attribute]) -> Span:
        """A span of the trace, to be entered at once."""

    def close(self) -> None:
        """Sends the remaining spans, for a moment at most."""


class _Unrecorded:
    """A span that is not recorded: it only passes the trace on."""

    __slots__ = ("trace",)

    def __init__(self, trace: str | None) -> None:
        self.trace = trace

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    @property
    def traceparent(self) -> str | None:
        return trace_context.child_traceparent(self.trace, secrets.token_hex(8)) if self.trace else None

    def set_attributes(self, attributes: Mapping[str, Attribute]) -> None:
        """Does nothing."""


class NoopTracer:
    """Makes spans that are not recorded."""

    def span(self, name: str, kind: Kind, trace: str | None, attributes: Mapping[str, Attribute]) -> Span:
        return _Unrecorded(trace)

    def close(self) -> None:
        """Does nothing."""
