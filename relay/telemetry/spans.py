"""Spans: what is done as a part of a trace."""

import secrets
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

from relay import traces


class Span(AbstractContextManager["Span"], Protocol):
    """One thing that the relay does, while it does it."""

    @property
    def trace(self) -> str | None:
        """What is begun inside belongs to this trace, as `relay.traces` has it."""

    @property
    def traceparent(self) -> str | None:
        """For a request that is made inside; None where nobody is to be told of the trace."""

    def tell(self, **attributes: str | int | None) -> None:
        """Says more of it; nothing secret."""


class Unrecorded:
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
        return traces.passed_on(self.trace, secrets.token_hex(8))

    def tell(self, **attributes: str | int | None) -> None:
        """Nobody listens."""
