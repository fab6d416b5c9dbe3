"""How the pages write times and spans. Times are UTC; a script in the page turns them into the reader's own."""

from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode

from markupsafe import Markup

from relay.model import DAY, HOUR, MINUTE, SECOND, Instant, to_rfc3339

_UNITS = ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (SECOND, "s"))


def format_duration(ms: float) -> str:
    """`350 ms`, `4.2 s`, `3 min 5 s`, `2 d 3 h`: two units at the most."""
    ms = max(round(ms), 0)
    if ms < SECOND:
        return f"{ms} ms"
    if ms < 10 * SECOND:
        return f"{ms / SECOND:.1f}".removesuffix(".0") + " s"
    rest, parts = ms + SECOND // 2, list[str]()
    for unit, name in _UNITS:
        count, rest = divmod(rest, unit)
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


def time_tag(at: Instant | None) -> Markup:
    """A `<time>` element, or a dash for None."""
    return _time(at, "%d %b %Y, %H:%M:%S UTC", Markup(""))


def time_tag_ms(at: Instant | None) -> Markup:
    """The same to the millisecond."""
    return _time(at, f"%d %b %Y, %H:%M:%S.{(at or 0) % SECOND:03d} UTC", Markup(" data-exact"))


def time_of_day(at: Instant) -> str:
    """The time of day to the millisecond, `23:12:24.433`."""
    return datetime.fromtimestamp(at // SECOND, UTC).strftime(f"%H:%M:%S.{at % SECOND:03d}")


def _time(at: Instant | None, written: str, kind: Markup) -> Markup:
    if at is None:
        return Markup('<span class="none">–</span>')
    shown = datetime.fromtimestamp(at // SECOND, UTC).strftime(written)
    return Markup('<time datetime="{}"{}>{}</time>').format(to_rfc3339(at), kind, shown)


def url_with_query(path: str, **chosen: str) -> str:
    """The path with these parameters, empty ones left out."""
    given = urlencode({name: value for name, value in chosen.items() if value})
    return f"{path}?{given}" if given else path


_MAY = (
    ("read", "see everything"),
    ("register", "register jobs"),
    ("admin", "change endpoints"),
    ("admin", "send again"),
)


def describe_scopes(scopes: Sequence[str]) -> str:
    """What a key with these scopes may do, and what not."""
    may, may_not = ([what for scope, what in _MAY if (scope in scopes) is has] for has in (True, False))
    can = f"With it you may {_listed(may, 'and')}" if may else "With it you may do nothing here"
    return f"{can}; not {_listed(may_not, 'or')}. That takes another key." if may and may_not else f"{can}."


def _listed(parts: Sequence[str], last: str) -> str:
    return f" {last} ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def pluralize(number: int, one: str, many: str | None = None) -> str:
    """`1 job`, `3 jobs`, `12,000 jobs`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
