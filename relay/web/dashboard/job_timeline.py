"""One job's timeline: what Exec did, when the relay polled and recorded it, and each attempt at each receiver."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from relay.model import Attempt, Delivery, Event, Instant, Watch
from relay.store.tables.job_history import JobHistory
from relay.web.dashboard.template_filters import format_duration


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """Something that happened, lasted until `until`, or is scheduled."""

    at: Instant
    kind: str
    """A class of the style sheet: `queued`, `running`, `event`, `poll`, `good`, `bad`, `planned`."""
    title: str
    until: Instant | None = None


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One row of the timeline before layout."""

    name: str
    events: tuple[TimelineEvent, ...]
    link: str | None = None


@dataclass(frozen=True, slots=True)
class TimelineMark:
    """An event as drawn, in per cent of the width: a bar if `width` is not 0, else a dot."""

    x: float
    width: float
    kind: str
    title: str
    at: Instant
    duration: str
    """The text inside a wide bar; "" if the bar is too narrow for it."""
    is_narrow: bool
    """Whether the bar is too narrow for its text on a phone."""


@dataclass(frozen=True, slots=True)
class DrawnRow:
    """One row of the timeline as drawn."""

    name: str
    link: str | None
    marks: tuple[TimelineMark, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """One label of the axis."""

    x: float
    text: str
    anchor: str
    is_minor: bool = False
    """Whether the label is left out on a phone, where it would overlap another."""


@dataclass(frozen=True, slots=True)
class JobTimeline:
    """Rows on one axis. Long waits are drawn shorter: lengths are the square roots of durations."""

    rows: tuple[DrawnRow, ...]
    ticks: tuple[Tick, ...]
    now: float | None
    """The position of now, in per cent; None if nothing is scheduled."""


_TICK_WIDTH = 15.0
"""Per cent of the width that one label of the axis needs on a screen."""
_PHONE_TICK_WIDTH = 30.0
"""The same on a phone."""
_MIN_BAR_WIDTH = 0.9
"""Per cent: a shorter event is drawn as a dot."""
_MIN_TEXT_WIDTH = 14.0
"""Per cent: a shorter bar has no text."""
_PHONE_MIN_TEXT_WIDTH = 30.0
"""The same on a phone."""


def layout(rows: Sequence[TimelineRow], now: Instant) -> JobTimeline | None:
    """The rows as drawn; None if nothing happened yet."""
    events = [event for row in rows for event in row.events]
    if not events:
        return None
    is_going_on = any(event.kind == "planned" for event in events)
    event_times = {at for event in events for at in (event.at, event.until) if at is not None}
    instants = sorted(event_times | ({now} if is_going_on else set()))
    positions = _positions(instants)

    def x(at: Instant) -> float:
        return positions[bisect_left(instants, at)]

    def mark(event: TimelineEvent) -> TimelineMark:
        width = 0.0 if event.until is None else round(x(event.until) - x(event.at), 2)
        has_text = event.until is not None and width > _MIN_TEXT_WIDTH
        duration = format_duration(event.until - event.at) if event.until is not None and has_text else ""
        drawn_width = width if width > _MIN_BAR_WIDTH else 0.0
        is_narrow = width < _PHONE_MIN_TEXT_WIDTH
        return TimelineMark(x(event.at), drawn_width, event.kind, event.title, event.at, duration, is_narrow)

    drawn_rows = tuple(DrawnRow(row.name, row.link, tuple(map(mark, row.events))) for row in rows)
    return JobTimeline(drawn_rows, _ticks(instants, positions), x(now) if is_going_on else None)


def as_table(rows: Sequence[TimelineRow]) -> list[tuple[TimelineEvent, str]]:
    """Every event with the name of its row, in order of time."""
    return sorted(((event, row.name) for row in rows for event in row.events), key=lambda entry: entry[0].at)


def _positions(instants: Sequence[Instant]) -> list[float]:
    roots = [0.0]
    for before, after in pairwise(instants):
        roots.append(roots[-1] + math.sqrt(after - before))
    return [round(100 * root / (roots[-1] or 1.0), 3) for root in roots]


def _ticks(instants: Sequence[Instant], positions: Sequence[float]) -> tuple[Tick, ...]:
    labels = [(x, f"+{format_duration(at - instants[0])}") for at, x in zip(instants, positions, strict=True)]
    ticks = _fitting([Tick(x, text if x else "0", "middle") for x, text in labels], _TICK_WIDTH)
    phone_ticks = {tick.x for tick in _fitting(ticks, _PHONE_TICK_WIDTH)}
    return tuple(replace(tick, is_minor=tick.x not in phone_ticks) for tick in ticks)


def _fitting(candidates: Sequence[Tick], width: float) -> list[Tick]:
    """The ticks from the left whose labels of this width do not overlap."""
    ticks: list[Tick] = []
    for tick in candidates:
        anchor = "start" if not ticks else "end" if tick.x > 100 - _TICK_WIDTH else "middle"
        min_distance = 1.5 * width if len(ticks) == 1 or anchor == "end" else width
        if not ticks or tick.x - ticks[-1].x >= min_distance:
            ticks.append(replace(tick, anchor=anchor))
    return ticks


# --- the events of each row ------------------------------------------------------------------------------------


def timeline_rows(
    history: JobHistory, events: Sequence[Event], attempts: Mapping[str, Sequence[Attempt]], now: Instant
) -> list[TimelineRow]:
    """Rows for Exec, the relay, the polls and each delivery, without empty rows."""
    rows = [
        TimelineRow("Exec", _exec_events(history.watch, now)),
        TimelineRow("Relay", _relay_events(history.watch, events)),
        TimelineRow("Polls", _poll_events(history.watch, history.polls, now)),
    ]
    for delivery in history.deliveries:
        endpoint = history.endpoints.get(delivery.endpoint_id)
        name = (endpoint.name or endpoint.host.removesuffix(":443")) if endpoint else "removed"
        rows.append(
            TimelineRow(name, _delivery_events(delivery, attempts[delivery.id], now), f"/deliveries/{delivery.id}")
        )
    return [row for row in rows if row.events]


def _exec_events(watch: Watch, now: Instant) -> tuple[TimelineEvent, ...]:
    job = watch.job
    if job is None or job.created_at_ms is None:
        return ()
    created, started, end = job.created_at_ms, job.started_at_ms, job.ended_at_ms or watch.ended_at or now
    queued_until = started or end
    events = [TimelineEvent(created, "queued", f"queued for {format_duration(queued_until - created)}", queued_until)]
    if started is not None:
        title = f"processed for {format_duration(end - started)}"
        events.append(TimelineEvent(started, "running", title, max(end, started)))
    if job.ended_at_ms is not None:
        kind = "good" if job.status == "completed" else "bad"
        events.append(TimelineEvent(job.ended_at_ms, kind, f"{job.status} at Exec"))
    return tuple(events)


def _relay_events(watch: Watch, events: Sequence[Event]) -> tuple[TimelineEvent, ...]:
    recorded = (TimelineEvent(event.created_at, "event", f"recorded {event.type.value}") for event in events)
    return (TimelineEvent(watch.created_at, "event", "registered"), *recorded)


def _poll_events(watch: Watch, polls: Sequence[Mapping[str, Any]], now: Instant) -> tuple[TimelineEvent, ...]:
    events = tuple(map(_poll_event, polls))
    if watch.next_poll_at is None:
        return events
    next_poll = TimelineEvent(max(watch.next_poll_at, now), "planned", f"the next poll: {watch.next_poll_reason}")
    return (*events, next_poll)


def _poll_event(poll: Mapping[str, Any]) -> TimelineEvent:
    succeeded = poll["outcome"] in ("seen", "ended")
    text = f"poll: {poll['detail'] or poll['outcome']}, {poll['duration_ms']} ms"
    return TimelineEvent(poll["at"], "poll" if succeeded else "bad", text)


def _delivery_events(delivery: Delivery, attempts: Sequence[Attempt], now: Instant) -> tuple[TimelineEvent, ...]:
    events = tuple(map(_attempt_event, attempts))
    if delivery.next_attempt_at is not None:
        return (*events, TimelineEvent(max(delivery.next_attempt_at, now), "planned", "the next attempt"))
    return events or (TimelineEvent(delivery.created_at, "queued", f"{delivery.status.value}, not attempted"),)


def _attempt_event(attempt: Attempt) -> TimelineEvent:
    kind = "good" if attempt.outcome == "delivered" else "bad"
    text = f"attempt {attempt.number}: {attempt.error or attempt.outcome}, {attempt.duration_ms} ms"
    return TimelineEvent(attempt.started_at, kind, text, attempt.started_at + attempt.duration_ms)
