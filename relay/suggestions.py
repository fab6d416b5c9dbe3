"""Suggestions for unknown names: the end of an error message, with the name that was probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches

_MAX_LENGTH = 100
_CUTOFF = 0.6


def did_you_mean(misspelled: str, names: Iterable[str]) -> str:
    """`; did you mean "interval"?` if a name is similar, whatever the case of its letters; otherwise empty."""
    by_lower = {name.lower(): name for name in names}
    matches = get_close_matches(misspelled[:_MAX_LENGTH].lower(), by_lower, 1, _CUTOFF)
    return f'; did you mean "{by_lower[matches[0]]}"?' if matches else ""


def did_you_mean_or_list(misspelled: str, names: Iterable[str]) -> str:
    """Like `did_you_mean`; if no name is similar, the list of all names."""
    choices = list(names)
    return did_you_mean(misspelled, choices) or (f"; there is {', '.join(choices)}" if choices else "")
