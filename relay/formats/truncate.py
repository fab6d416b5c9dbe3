"""Truncates text to a receiver's limit, between visible characters."""

import unicodedata
from collections.abc import Mapping

MARKUP_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
"""For `truncate`: the characters that both Slack's mrkdwn and HTML read as markup."""

_ELLIPSIS = "…"
_ZWJ = "\u200d"
_LAST_OF_ONE_UNIT = "\uffff"
"""Characters after it are two UTF-16 units."""
_MAX_GRAPHEME = 32
"""Code points of one visible character that stay together, at most: accents can be combined without limit."""


def truncate(text: str, limit: int, escapes: Mapping[int, str] | None = None) -> str:
    """The text, escaped, in at most `limit` (≥ 1) UTF-16 units; a text that was cut ends with `…`.

    No receiver counts a text as longer than its UTF-16 units. `escapes` is a table for `str.translate`; no escape is
    cut in two.
    """
    table = escapes or {}
    escaped = text.translate(table)
    if utf16_length(escaped) <= limit:
        return escaped
    head = text[:limit]
    if head.translate(table) == head and utf16_length(head) == len(head):  # a short cut: all are of one unit
        return text[: _boundary(text, limit - len(_ELLIPSIS))].rstrip().translate(table) + _ELLIPSIS
    used = last_fitting = 0
    lengths = {code: utf16_length(escape) for code, escape in table.items()}
    for index, char in enumerate(text, start=1):
        used += lengths.get(ord(char), 1 + (char > _LAST_OF_ONE_UNIT))
        if used > limit - len(_ELLIPSIS):
            break
        last_fitting = index
    return text[: _boundary(text, last_fitting)].rstrip().translate(table) + _ELLIPSIS


def utf16_length(text: str) -> int:
    """The length of `text` in UTF-16 units, as JavaScript counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _boundary(text: str, at: int) -> int:
    """The last index up to `at` where the text can be cut without splitting a visible character."""
    for index in range(at, max(at - _MAX_GRAPHEME, -1), -1):
        if index == 0 or not _splits_grapheme(text, index):
            return index
    return at


def _splits_grapheme(text: str, index: int) -> bool:
    before, after = text[index - 1], text[index]
    if before == _ZWJ or after == _ZWJ or unicodedata.category(after).startswith("M"):
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":  # skin tones, flag tags
        return True
    return _is_regional(after) and _regionals_before(text, index) % 2 == 1


def _regionals_before(text: str, index: int) -> int:
    start = index
    while start > 0 and _is_regional(text[start - 1]):
        start -= 1
    return index - start


def _is_regional(char: str) -> bool:
    """Whether the character is half of a country's flag."""
    return "\U0001f1e6" <= char <= "\U0001f1ff"
