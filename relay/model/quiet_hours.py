"""Quiet hours: a daily window of wall time in which an endpoint gets no news of success."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from relay.times import DAY, HOUR, MINUTE, Instant

_TEXT = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9]) ([A-Za-z0-9_+/-]{1,60})")
_MAX_LENGTH = DAY + 2 * HOUR


class InvalidQuietHours(ValueError):
    """The text is no window; the message says how to write one."""


@dataclass(frozen=True, slots=True)
class QuietHours:
    """`22:00-07:00 Europe/Berlin`: the start is inside, the end is not. Wall time of the zone, so it moves with DST."""

    start: time
    end: time
    zone: ZoneInfo

    def contains(self, at: Instant) -> bool:
        """Whether the instant is in the window, by the zone's wall time."""
        wall = datetime.fromtimestamp(at / 1_000, UTC).astimezone(self.zone).time()
        if self.start < self.end:
            return self.start <= wall < self.end
        return wall >= self.start or wall < self.end

    def ends_after(self, at: Instant) -> Instant:
        """The first whole minute from `at` on that is outside the window; `at` itself if it is outside."""
        if not self.contains(at):
            return at
        minute = at - at % MINUTE
        return next(
            candidate
            for candidate in range(minute + MINUTE, minute + _MAX_LENGTH, MINUTE)
            if not self.contains(candidate)
        )


def parse_quiet_hours(text: str) -> QuietHours:
    """The window that a text names. Raises InvalidQuietHours."""
    if (match := _TEXT.fullmatch(text.strip())) is None:
        raise InvalidQuietHours("must be a window and a time zone, such as 22:00-07:00 Europe/Berlin")
    start, end = (time(int(match[group]), int(match[group + 1])) for group in (1, 3))
    if start == end:
        raise InvalidQuietHours("must start and end at different times")
    try:
        zone = ZoneInfo(match[5])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidQuietHours(f"names no time zone: {match[5]}; write one such as Europe/Berlin or UTC") from None
    return QuietHours(start, end, zone)


def quiet_until(text: str | None, at: Instant) -> Instant | None:
    """When the window that holds `at` ends; None outside it, without one, and if its zone is no longer known.

    A delivery that nothing would ever release is worse than one at night.
    """
    if text is None:
        return None
    try:
        window = parse_quiet_hours(text)
    except InvalidQuietHours:
        return None
    return window.ends_after(at) if window.contains(at) else None
