"""Trace context: connects a registration with its polls, event and attempts, in the log and in other systems.

Source: W3C Trace Context, https://www.w3.org/TR/trace-context/. A trace is stored as text: the `traceparent` of the
request (`00-TRACE-SPAN-FLAGS`), or, if the request had none, only the id of a trace that the relay starts. Such a trace
connects the lines of the relay's own log and is sent to no receiver: its flags would say that it is not recorded, and
many receivers would then not record their own part either.
"""

import re

HEADER = "traceparent"
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1


def parse_traceparent(header: str | None) -> str | None:
    """The trace of a `traceparent` header; None if it is absent or invalid, which the standard treats alike.

    Of a header of a later version, the parts of version 00 are kept, as the standard demands.
    """
    match = _TRACEPARENT.fullmatch(header or "")
    if match is None or (match[1] == "00" and match[5] is not None):
        return None
    return format_traceparent(match[2], match[3], sampled=bool(int(match[4], 16) & _SAMPLED))


def format_traceparent(trace_id: str, span_id: str, *, sampled: bool) -> str:
    """A `traceparent` with these parts; the ids are 32 and 16 hexadecimal digits."""
    return f"00-{trace_id}-{span_id}-{'01' if sampled else '00'}"


def new_trace_id(random_bytes: bytes) -> str:
    """The id of a trace that the relay starts, from 16 random bytes."""
    return random_bytes.hex()


def has_remote_parent(trace: str | None) -> bool:
    """Whether another system knows the trace."""
    return trace is not None and "-" in trace


def trace_id(trace: str | None) -> str | None:
    """The trace's id; None without a trace."""
    return trace.split("-")[1] if trace and has_remote_parent(trace) else trace


def child_traceparent(trace: str | None, span_id: str) -> str | None:
    """The `traceparent` for a request that is the span `span_id` of the trace; None if no other system knows it."""
    if trace is None or not has_remote_parent(trace):
        return None
    return format_traceparent(trace.split("-")[1], span_id, sampled=trace.endswith("1"))
