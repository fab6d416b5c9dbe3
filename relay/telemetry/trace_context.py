"""Traces: what ties a registration to the polls, the event and the attempts that follow, in logs and beyond.

Source: W3C Trace Context, https://www.w3.org/TR/trace-context/. A trace is kept as a text: the `traceparent` that a
request brought (`00-TRACE-SPAN-FLAGS`), or, where it brought none, only the id of one that the relay begins. Such a
trace ties the relay's own log together and is told to no receiver: its flags would say that nobody records it, and
many a receiver would then not record its own part either.
"""

import re

HEADER = "traceparent"
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1


def parse_traceparent(header: str | None) -> str | None:
    """The trace of a `traceparent` header; None where it is absent or breaks the rules, which means the same.

    Of a later version what version 00 knows is kept, as the standard has it.
    """
    found = _TRACEPARENT.fullmatch(header or "")
    if found is None or (found[1] == "00" and found[5] is not None):
        return None
    return format_traceparent(found[2], found[3], sampled=bool(int(found[4], 16) & _SAMPLED))


def format_traceparent(trace_id: str, span_id: str, *, sampled: bool) -> str:
    """A `traceparent` of these parts; the ids are 32 and 16 hexadecimal digits."""
    return f"00-{trace_id}-{span_id}-{'01' if sampled else '00'}"


def new_trace_id(random_bytes: bytes) -> str:
    """A trace of the relay's own, of 16 random bytes."""
    return random_bytes.hex()


def has_remote_parent(trace: str | None) -> bool:
    """Whether the trace came from somewhere, or was told to somebody."""
    return trace is not None and "-" in trace


def trace_id(trace: str | None) -> str | None:
    """The trace's id; None where there is no trace: what was stored before there were any."""
    return trace.split("-")[1] if trace and has_remote_parent(trace) else trace


def child_traceparent(trace: str | None, span_id: str) -> str | None:
    """The `traceparent` for a request that is the span `span_id` of the trace; None where nobody is to be told."""
    if trace is None or not has_remote_parent(trace):
        return None
    return format_traceparent(trace.split("-")[1], span_id, sampled=trace.endswith("1"))
