"""Cursors of the event feed, as texts that readers keep."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model import feed_cursor
from relay.model.feed_cursor import FeedCursor, FeedPosition, check_of

IDENTITIES = st.text("0123456789abcdef", min_size=16, max_size=16)
POSITIONS = st.builds(FeedPosition, st.integers(0, 10**17), st.one_of(st.just(""), st.text(max_size=50).map(check_of)))


@given(st.builds(FeedCursor, IDENTITIES, POSITIONS, st.booleans()))
def test_a_cursor_is_read_as_it_was_written(cursor: FeedCursor) -> None:
    """Every cursor, and its text is fit for a URL, a header and an SSE id."""
    text = cursor.encode()
    assert feed_cursor.decode(text) == cursor
    assert text.isascii()
    assert text.replace("-", "a").replace("_", "a").isalnum()


@given(st.text(max_size=100))
def test_another_text_is_no_cursor(text: str) -> None:
    """Whatever a client sends is decided without an exception, and a cursor is its own text."""
    if (cursor := feed_cursor.decode(text)) is not None:
        assert cursor.encode() == text.rstrip("=")


@pytest.mark.parametrize("text", ["", "0", "now", "AAAA", "MDEyMzQ1Njc4OWFiY2RlZjotMTo"])
def test_words_and_scraps_are_no_cursors(text: str) -> None:
    """The words that stand in place of a cursor are none."""
    assert feed_cursor.decode(text) is None
