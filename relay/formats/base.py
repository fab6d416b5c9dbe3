"""What a format is: the layout of a body, the URLs it is meant for, and what its receiver's errors mean."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from relay.egress.result import HttpResponse
from relay.model import Event, Registration


@dataclass(frozen=True, slots=True)
class PermanentError:
    """A receiver's error that no retry will mend."""

    reason: str
    """In words, with what to do about it."""
    disable: bool
    """Whether the endpoint is at fault, and so is disabled; False where the relay's own body is."""


def _never(answer: HttpResponse) -> PermanentError | None:
    return None


def _nowhere(host: str, path: str) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format of the body, as a value."""

    body: Callable[[Event, Registration | None], Mapping[str, object]]
    matches_url: Callable[[str, str], bool] = _nowhere
    """Whether a URL's host (lower case) and path are this receiver's."""
    permanent_error: Callable[[HttpResponse], PermanentError | None] = _never
    """What the receiver means by an answer other than 2xx."""
    rate_per_second: float | None = None
    """How many requests a second the receiver takes at one URL; None where it names no limit."""


def json_body(answer: HttpResponse) -> Mapping[str, Any]:
    """The JSON object that a receiver answered with; an empty one where it answered something else."""
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
