"""The text of an event, the same in every chat; each format only arranges it.

Text from Exec is written by other people. After this module it is one line of bounded length, that pings nobody and
that no chat turns into a link; the only link is http or https."""

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote, urlsplit

from relay.formats.truncate import truncate, utf16_length
from relay.model import AnyEventType, Event, EventType, OperatorEventType, ReplacedEvent

BUTTON = "Open scenario"

_MAX_READ = 10_000
_MAX_TEXT = 3_000
_MAX_LABEL = 100
_MAX_LINK = 2_048  # Discord's limit, the least of all receivers
_LINK = re.compile(r"https?://[^\s\x00-\x20\x7f<>\"`\\^{|}]+", re.IGNORECASE)
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters except blanks, and characters that change the direction of the following text."""
_SURROGATES = re.compile("[\ud800-\udfff]")
_BLANKS = re.compile(r"\s+")
_MENTIONS_AND_LINKS = re.compile(
    r"<(?=[!@#]|users/|at\b|[a-z][a-z0-9+.-]*:)|@(?=everyone|here|channel|all)|:(?=//)|\b(?:mailto|tel|sms|callto):",
    re.IGNORECASE,
)
"""Text that a chat may read as a mention or turn into a link. A word joiner after it, which is invisible, prevents it.
"""
_WORD_JOINER = "\u2060"
_MENTION_MARKS = re.compile(r"[<>]|@+(?=everyone|here|channel|all)", re.IGNORECASE)


class Tone(StrEnum):
    """Whether the news is good; chats show it as a colour."""

    GOOD = "good"
    BAD = "bad"
    NEUTRAL = "quiet"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventText:
    """The text of an event."""

    tone: Tone
    headline: str
    """`Scenario ready: Discovery Call with IT Director`."""
    summary: str
    """The whole news in one line, for a phone's notification."""
    detail: str | None
    """A sentence or two more; for a failure the reason."""
    code: str | None
    """Exec's error code."""
    link: str | None
    """The target of the button, http or https; None if there is nothing to open."""
    footnote: str
    """`Took 40 s · Job j1o2b3i4d5x6`."""

    def detail_within(self, limit: int, escapes: Mapping[int, str] | None = None) -> str | None:
        """`Unable to generate scenario from the provided prompt (GENERATION_ERROR)`, escaped, in `limit` UTF-16 units.

        If it is too long, the reason is cut and not the code, because people search for the code.
        """
        if self.detail is None:
            return None
        code = f" ({self.code})".translate(escapes or {}) if self.code else ""
        return truncate(self.detail, limit - utf16_length(code), escapes) + code


_TONES: dict[AnyEventType, Tone] = {
    EventType.COMPLETED: Tone.GOOD,
    EventType.CANCELLED: Tone.NEUTRAL,
    EventType.STARTED: Tone.NEUTRAL,
}
_HEADLINES: dict[AnyEventType, str] = {
    EventType.COMPLETED: "Scenario ready",
    EventType.FAILED: "Scenario failed",
    EventType.CANCELLED: "Scenario cancelled",
    EventType.STARTED: "Scenario started",
    EventType.NOT_FOUND: "Scenario job not found",
    EventType.EXPIRED: "Scenario not finished in time",
}


_NEWS_HEADLINES = {
    OperatorEventType.KEY_REFUSED: "Exec refuses the API key",
    OperatorEventType.UNREACHABLE: "Exec does not answer",
    OperatorEventType.BUDGET_EXHAUSTED: "Requests to Exec are used up",
    OperatorEventType.ENDPOINT_FAILING: "An endpoint fails",
    OperatorEventType.ENDPOINT_DISABLED: "An endpoint is disabled",
    OperatorEventType.DELIVERY_FAILED: "A delivery failed",
    OperatorEventType.RECOVERED: "Works again",
}


def describe_event(event: Event) -> EventText:
    """The text of the event. Never raises, whatever is in `event.job`."""
    if isinstance(event.type, OperatorEventType):
        return _describe_news(event, event.type)
    name = sanitize(nested_object(event.job, "scenario").get("name"))
    code = (
        sanitize(nested_object(event.job, "error").get("code"), _MAX_LABEL) if event.type is EventType.FAILED else None
    )
    headline = f"{_HEADLINES[event.type]}: {name}" if name else _HEADLINES[event.type]
    detail = _detail(event)
    if event.type is EventType.COMPLETED:
        summary = headline
    elif event.type is EventType.FAILED:
        summary = f"{headline}{' – ' if name else ': '}{detail}" + (f" ({code})" if code else "")
    else:
        summary = f"{headline} (job {event.job_id})"
    if event.replaces:
        summary += f". {_correction(event.replaces)}"
    return EventText(
        tone=_TONES.get(event.type, Tone.BAD),
        headline=headline,
        summary=summary,
        detail=detail,
        code=code,
        link=link(nested_object(event.job, "scenario").get("url")) if event.type is EventType.COMPLETED else None,
        footnote=_footnote(event),
    )


def _describe_news(event: Event, type: OperatorEventType) -> EventText:
    message = sanitize(event.job.get("message"))
    return EventText(
        tone=Tone.GOOD if type is OperatorEventType.RECOVERED else Tone.BAD,
        headline=_NEWS_HEADLINES[type],
        summary=message or _NEWS_HEADLINES[type],
        detail=message,
        code=None,
        link=None,
        footnote="News about the relay",
    )


def _detail(event: Event) -> str | None:
    match event.type:
        case EventType.FAILED:
            return sanitize(nested_object(event.job, "error").get("message")) or "Exec gave no reason"
        case EventType.CANCELLED:
            return "The job was cancelled before it ended."
        case EventType.STARTED:
            return "Exec is making it now; this usually takes about five minutes."
        case EventType.NOT_FOUND:
            return (
                "Exec does not know this job. Check its id, and that the relay polls in the workspace where the job "
                "was made."
            )
        case EventType.EXPIRED:
            status = sanitize(event.job.get("status"), _MAX_LABEL)
            last = f" Exec last said: {status}." if status else ""
            return f"The relay waited as long as configured, and has stopped polling.{last}"
    return None


def _footnote(event: Event) -> str:
    elapsed = duration(event.job.get("duration_seconds"))
    parts = [f"Job {event.job_id}"]
    if elapsed:
        parts.insert(0, f"Took {elapsed}" if event.type is EventType.COMPLETED else f"After {elapsed}")
    if event.workspace != "default":
        parts.append(f"Workspace {sanitize(event.workspace, _MAX_LABEL)}")
    if event.replaces:
        parts.append(_correction(event.replaces))
    return " · ".join(parts)


def _correction(replaced: ReplacedEvent) -> str:
    return f"This replaces the earlier news: {_HEADLINES[replaced.type].lower()}"


def nested_object(job: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object called `name` in the job; an empty one if there is none."""
    value = job.get(name)
    return value if isinstance(value, Mapping) else {}


def sanitize(text: object, limit: int = _MAX_TEXT) -> str | None:
    """Text of other people as one harmless line of at most `limit` UTF-16 units.

    None if the value is no text, or if nothing is left of it.
    """
    if not isinstance(text, str):
        return None
    line = _SURROGATES.sub("\ufffd", _BLANKS.sub(" ", _CONTROLS.sub("", text[:_MAX_READ]))).strip()
    return truncate(_MENTIONS_AND_LINKS.sub(rf"\g<0>{_WORD_JOINER}", line), limit) or None


def plain_value(text: str, limit: int = _MAX_TEXT) -> str:
    """An id or an instant as one line of at most `limit` UTF-16 units, without the characters of mentions."""
    line = _SURROGATES.sub("\ufffd", _BLANKS.sub(" ", _CONTROLS.sub("", text[:_MAX_READ]))).strip()
    units = _MENTION_MARKS.sub("", line).encode("utf-16-le")
    return units[: 2 * limit].decode("utf-16-le", "ignore")


def link(url: object) -> str | None:
    """The URL if it can be opened, else None: http or https, with a host, and short enough for every chat.

    None if it has a user name, because the real host comes after it (`https://exec.com@evil.example/`). Letters beyond
    ASCII in its path are percent-encoded, because chats refuse a whole message for one odd URL.
    """
    if not isinstance(url, str) or len(url) > _MAX_LINK or not _LINK.fullmatch(url):
        return None
    try:
        parsed = urlsplit(url)
        encoded = quote(url, safe=string.punctuation)
        usable = parsed.hostname and parsed.hostname.isascii() and parsed.port != 0 and "@" not in parsed.netloc
    except ValueError:
        return None
    return encoded if usable and len(encoded) <= _MAX_LINK else None


def duration(seconds: object) -> str | None:
    """`40 s`, `2 min 25 s`, `1 h 5 min`; None for a value that is no duration."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return None
    if not 0 <= seconds < 1e9:
        return None
    whole = round(seconds)
    if whole < 1:
        return "under 1 s"
    if whole < 3_600:
        return _two(whole // 60, "min", whole % 60, "s")
    minutes = round(whole / 60)
    return _two(minutes // 60, "h", minutes % 60, "min")


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    parts = [f"{large} {large_unit}" if large else "", f"{small} {small_unit}" if small else ""]
    return " ".join(filter(None, parts))
