"""How the pages write times and spans. Times are UTC; a script in the page turns them into the reader's own."""

from datetime import UTC, datetime

from markupsafe import Markup

from relay.model import DAY, HOUR, MINUTE, SECOND, Instant, to_rfc3339

_UNITS = ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (SECOND, "s"))


def span(ms: float) -> str:
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


def ago(at: Instant | None, now: Instant) -> str:
    """`5 s ago`, `in 3 min`, `now`; `never` for None."""
    if at is None:
        return "never"
    if abs(at - now) < SECOND:
        return "now"
    return f"in {span(at - now)}" if at > now else f"{span(now - at)} ago"


def clock(at: Instant | None) -> Markup:
    """A `<time>` element, or a dash for None."""
    if at is None:
        return Markup('<span class="none">–</span>')
    shown = datetime.fromtimestamp(at / SECOND, UTC).strftime("%d %b %Y, %H:%M:%S UTC")
    return Markup('<time datetime="{}">{}</time>').format(to_rfc3339(at), shown)


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 job`, `3 jobs`, `12,000 jobs`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
