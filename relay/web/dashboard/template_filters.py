"""How pages write times, durations and numbers. Times are of `server.time_zone`, or UTC, which a script
shows in the reader's time zone."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from urllib.parse import urlencode

from markupsafe import Markup

from relay.model import DAY, HOUR, MINUTE, SECOND, Instant, to_rfc3339

_UNITS = ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (SECOND, "s"))


def format_duration(ms: float) -> str:
    """`350 ms`, `4.2 s`, `3 min 5 s`, `2 d 3 h`: two units at most."""
    ms = max(round(ms), 0)
    if ms < SECOND:
        return f"{ms} ms"
    if ms < 10 * SECOND:
        return f"{ms / SECOND:.1f}".removesuffix(".0") + " s"
    remainder, parts = ms + SECOND // 2, list[str]()
    for unit, name in _UNITS:
        count, remainder = divmod(remainder, unit)
        if parts or count:
            parts.append(f"{count} {name}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part)


def relative_time(at: Instant | None, now: Instant) -> str:
    """`5 s ago`, `in 3 min`, `now`; `never` for None."""
    if at is None:
        return "never"
    if abs(at - now) < SECOND:
        return "now"
    return f"in {format_duration(at - now)}" if at > now else f"{format_duration(now - at)} ago"


def time_tag(at: Instant | None, zone: tzinfo = UTC) -> Markup:
    """A `<time>` element, or a dash for None."""
    return _time_element(at, "%d %b %Y, %H:%M:%S %Z", Markup(""), zone)


def time_tag_ms(at: Instant | None, zone: tzinfo = UTC) -> Markup:
    """A `<time>` element with milliseconds, or a dash for None."""
    return _time_element(at, f"%d %b %Y, %H:%M:%S.{(at or 0) % SECOND:03d} %Z", Markup(" data-exact"), zone)


def time_of_day(at: Instant, zone: tzinfo = UTC) -> str:
    """The time of day to the millisecond, `23:12:24.433`."""
    return datetime.fromtimestamp(at // SECOND, zone).strftime(f"%H:%M:%S.{at % SECOND:03d}")


def _time_element(at: Instant | None, pattern: str, attribute: Markup, zone: tzinfo) -> Markup:
    if at is None:
        return Markup('<span class="none">–</span>')
    text = datetime.fromtimestamp(at // SECOND, zone).strftime(pattern)
    return Markup('<time datetime="{}"{}>{}</time>').format(to_rfc3339(at), attribute, text)


def url_with_query(path: str, **parameters: str) -> str:
    """The path with these query parameters, without empty ones."""
    query = urlencode({name: value for name, value in parameters.items() if value})
    return f"{path}?{query}" if query else path


_PERMISSIONS = (
    ("read", "see everything"),
    ("register", "register jobs"),
    ("admin", "change endpoints"),
    ("admin", "resend"),
)


def describe_scopes(scopes: Sequence[str]) -> str:
    """What a key with these scopes allows, and what not."""
    allowed, refused = (
        [action for scope, action in _PERMISSIONS if (scope in scopes) is is_allowed] for is_allowed in (True, False)
    )
    text = f"It allows you to {_join(allowed, 'and')}" if allowed else "It allows nothing here"
    return f"{text}, but not to {_join(refused, 'or')}. That needs another key." if allowed and refused else f"{text}."


def _join(parts: Sequence[str], last: str) -> str:
    return f" {last} ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def pluralize(number: int, singular: str, plural: str | None = None) -> str:
    """`1 job`, `3 jobs`, `12,000 jobs`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


_MARKDOWN = re.compile(r"\\([^0-9A-Za-z\s])|\[((?:\\.|[^\]\\])*)\]\([^()\s]*\)|<(https?://[^<>\s]+)>")


def read_markdown(text: str) -> str:
    """What a chat shows of its Markdown: escaped characters by themselves, and of links their text."""
    return _MARKDOWN.sub(lambda match: match[1] or match[3] or read_markdown(match[2] or ""), text)
