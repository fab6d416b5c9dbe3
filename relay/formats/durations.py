"""Durations in words."""


def duration(seconds: object) -> str | None:
    """`40 s`, `2 min 25 s`, `1 h 5 min`; None for a value that is no duration."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return None
    if not 0 <= seconds < 1e9:
        return None
    rounded = round(seconds)
    if rounded < 1:
        return "under 1 s"
    if rounded < 3_600:
        return _two_units(rounded // 60, "min", rounded % 60, "s")
    minutes = round(rounded / 60)
    return _two_units(minutes // 60, "h", minutes % 60, "min")


def _two_units(large: int, large_unit: str, small: int, small_unit: str) -> str:
    parts = [f"{large} {large_unit}" if large else "", f"{small} {small_unit}" if small else ""]
    return " ".join(filter(None, parts))


def rounded_duration(seconds: float | None) -> str | None:
    """`24 hours`, `6 minutes`, `1 day`: one unit, for a usual or a longest time; None without a time."""
    if seconds is None or not 0 < seconds < 1e9:
        return None
    for unit, size, minimum in (("day", 86_400, 2 * 86_400), ("hour", 3_600, 5_400), ("minute", 60, 90)):
        if seconds >= minimum:
            return count_text(round(seconds / size), unit)
    return count_text(max(1, round(seconds)), "second")


def count_text(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
