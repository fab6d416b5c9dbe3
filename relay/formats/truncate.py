"""Cutting text to a receiver's limit, between characters as people see them."""

import unicodedata
from collections.abc import Mapping

MARKUP_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
"""For `truncate`: what Slack's mrkdwn and HTML alike would read as markup."""

_ELLIPSIS = "…"
_ZWJ = "\u200d"
_FURTHEST_BACK = 32
"""Code points of one visible character that are kept together; piled-up accents have no end."""


def truncate(text: str, most: int, escapes: Mapping[int, str] | None = None) -> str:
    """`text`, escaped, in at most `most` (≥ 1) UTF-16 units; what had to be cut ends with `…`.

    UTF-16 units are the most that any receiver counts a text as. `escapes` is a table for `str.translate`: no escape
    is ever cut in two.
    """
    table = escapes or {}
    whole = text.translate(table)
    if utf16_length(whole) <= most:
        return whole
    used = fits = 0
    for index, char in enumerate(text, start=1):
        used += utf16_length(char.translate(table))
        if used > most - len(_ELLIPSIS):
            break
        fits = index
    return text[: _boundary(text, fits)].rstrip().translate(table) + _ELLIPSIS


def utf16_length(text: str) -> int:
    """The length of `text` in UTF-16 units, as JavaScript counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _boundary(text: str, at: int) -> int:
    """The last place up to `at` where `text` may be cut without tearing a visible character."""
    for place in range(at, max(at - _FURTHEST_BACK, -1), -1):
        if place == 0 or not _splits_grapheme(text, place):
            return place
    return at


def _splits_grapheme(text: str, place: int) -> bool:
    before, after = text[place - 1], text[place]
    if before == _ZWJ or after == _ZWJ or unicodedata.category(after).startswith("M"):
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":  # skin tones, flag tags
        return True
    return _is_regional(after) and _regionals_before(text, place) % 2 == 1


def _regionals_before(text: str, place: int) -> int:
    start = place
    while start > 0 and _is_regional(text[start - 1]):
        start -= 1
    return place - start


def _is_regional(char: str) -> bool:
    """Half of a country's flag."""
    return "\U0001f1e6" <= char <= "\U0001f1ff"
