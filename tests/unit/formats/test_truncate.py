"""Truncating: never beyond the limit, never through a visible character or an escape."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.formats.truncate import MARKUP_ESCAPES, truncate, utf16_length


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("ab cd", 4, "ab…"),
        ("😀😀", 4, "😀😀"),
        ("😀😀", 3, "😀…"),
        ("😀😀", 2, "…"),
        ("a👩‍💻b", 5, "a…"),
        ("a👩‍💻bc", 7, "a👩‍💻…"),
        ("👍🏽!!", 4, "…"),
        ("🇮🇱🇫🇷", 7, "🇮🇱…"),
        ("e\u0301e\u0301", 3, "e\u0301…"),
        ("ab", 1, "…"),
        ("", 1, ""),
    ],
)
def test_a_text_is_cut_between_visible_characters(text: str, most: int, expected: str) -> None:
    """Emoji sequences, flags and accents stay whole or are removed."""
    assert truncate(text, most) == expected


def test_an_escape_is_never_cut_in_two() -> None:
    """The escaped length counts, and an escape that does not fit is removed as a whole."""
    assert truncate("a&b", 7, MARKUP_ESCAPES) == "a&amp;b"
    assert truncate("a&bc", 7, MARKUP_ESCAPES) == "a&amp;…"
    assert truncate("a&bc", 6, MARKUP_ESCAPES) == "a…"


def test_endless_accents_do_not_remove_the_whole_text() -> None:
    """A character with endless accents is cut."""
    assert utf16_length(truncate("a" + "\u0301" * 1_000, 100)) >= 60


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_the_result_fits_the_limit(text: str, most: int) -> None:
    """It is the text itself or its beginning."""
    cut = truncate(text, most, MARKUP_ESCAPES)
    assert utf16_length(cut) <= most
    assert cut == text.translate(MARKUP_ESCAPES) or text.translate(MARKUP_ESCAPES).startswith(cut.removesuffix("…"))
