"""What was probably meant, where a name is none of those that there are: how errors about names end."""

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST = 100
_ALIKE = 0.6


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """`; did you mean "interval"?` where something is close, whatever the case of letters; else nothing."""
    by_lower = {name.lower(): name for name in known}
    found = get_close_matches(wrong[:_LONGEST].lower(), by_lower, 1, _ALIKE)
    return f'; did you mean "{by_lower[found[0]]}"?' if found else ""


def did_you_mean_or_list(wrong: str, known: Iterable[str]) -> str:
    """The same; where nothing is close, all that there is."""
    names = list(known)
    return did_you_mean(wrong, names) or (f"; there is {', '.join(names)}" if names else "")
