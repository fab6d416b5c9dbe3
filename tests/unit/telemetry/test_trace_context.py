"""Traces: what is taken in of W3C Trace Context, and what is passed on."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.telemetry import trace_context

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CAME = f"00-{TRACE}-{SPAN}-01"
OURS = "b7ad6b7169203331"


def test_a_trace_is_continued_with_a_new_span() -> None:
    """The trace's id and its sampling stay; the span is the relay's own."""
    trace = trace_context.parse_traceparent(CAME)
    assert trace_context.trace_id(trace) == TRACE
    assert trace_context.child_traceparent(trace, OURS) == f"00-{TRACE}-{OURS}-01"


def test_a_caller_that_does_not_record_is_not_made_to() -> None:
    """Flags 00 stay 00."""
    trace = trace_context.parse_traceparent(f"00-{TRACE}-{SPAN}-00")
    assert trace_context.child_traceparent(trace, OURS) == f"00-{TRACE}-{OURS}-00"


def test_the_relay_s_own_trace_is_not_propagated() -> None:
    """It has an id for the log and is not propagated; neither is a missing trace."""
    trace = trace_context.new_trace_id(bytes.fromhex(TRACE))
    assert trace_context.trace_id(trace) == TRACE
    assert trace_context.child_traceparent(trace, OURS) is None
    assert trace_context.trace_id(None) is trace_context.child_traceparent(None, OURS) is None


def test_a_later_traceparent_version_is_read_like_version_00() -> None:
    """More fields may follow, and flags may have more bits: the standard demands to read it as version 00."""
    assert trace_context.parse_traceparent(f"01-{TRACE}-{SPAN}-ff-more") == CAME


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00",
        CAME.upper(),
        f" {CAME}",
        f"{CAME}\n",
        f"{CAME}-more",
        f"{CAME},{CAME}",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}g-01",
        f"00-{TRACE}-{SPAN}-1",
        f"01-{TRACE}-{SPAN}-01more",
        f"٠٠-{TRACE}-{SPAN}-01",
    ],
)
def test_an_invalid_traceparent_counts_as_absent(header: str | None) -> None:
    """As the standard has it: a broken traceparent is not passed on, and no reason to refuse the request."""
    assert trace_context.parse_traceparent(header) is None


@given(st.text() | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True))
def test_only_a_valid_traceparent_is_stored(header: str) -> None:
    """Whatever comes, what is kept is a traceparent of version 00 that is taken in again as it is, or nothing."""
    trace = trace_context.parse_traceparent(header)
    if trace is not None:
        assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", trace)
        assert trace_context.parse_traceparent(trace) == trace
