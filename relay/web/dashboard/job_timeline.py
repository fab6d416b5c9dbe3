"""One job's life as a picture: what Exec did, when the relay polled and knew, and each attempt at each receiver."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from relay.model import Attempt, Delivery, Event, Instant, Watch
from relay.store.tables.job_history import JobHistory
from relay.web.dashboard.template_filters import format_duration


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """Something that happened, lasted until `until`, or is planned."""

    at: Instant
    kind: str
    """A class of the style sheet: `queued`, `running`, `event`, `poll`, `good`, `bad`, `planned`."""
    title: str
    until: Instant | None = None


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One row of the picture."""

    name: str
    moments: tuple[TimelineEvent, ...]
    link: str | None = None


@dataclass(frozen=True, slots=True)
class TimelineMark:
    """A moment as drawn, in per cent of the width: a bar where it has one, else a dot."""

    x: float
    width: float
    kind: str
    title: str
    at: Instant
    lasts: str
    """What a wide bar bears: how long it took."""


@dataclass(frozen=True, slots=True)
class DrawnLane:
    name: str
    link: str | None
    spots: tuple[TimelineMark, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    x: float
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class JobTimeline:
    """Lanes above each other on one axis, on which long waits are drawn shorter: lengths are the roots of times."""

    lanes: tuple[DrawnLane, ...]
    ticks: tuple[Tick, ...]
    now: float | None
    """Where now is, in per cent; None where nothing more is to come."""


_TICK_ROOM = 15.0
"""Per cent of the width that one time on the axis takes."""
_DOT = 0.9
"""Per cent: what is shorter is drawn as a dot."""
_WORDS = 14.0
"""Per cent: what is shorter bears no words."""


def layout(lanes: Sequence[TimelineRow], now: Instant) -> JobTimeline | None:
    """The lanes drawn; None where nothing happened yet."""
    found = [moment for lane in lanes for moment in lane.moments]
    if not found:
        return None
    to_come = any(moment.kind == "planned" for moment in found)
    ends = {at for moment in found for at in (moment.at, moment.until) if at is not None}
    instants = sorted(ends | ({now} if to_come else set()))
    places = _places(instants)

    def x(at: Instant) -> float:
        return places[bisect_left(instants, at)]

    def spot(moment: TimelineEvent) -> TimelineMark:
        width = 0.0 if moment.until is None else round(x(moment.until) - x(moment.at), 2)
        lasts = format_duration(moment.until - moment.at) if moment.until is not None and width > _WORDS else ""
        return TimelineMark(x(moment.at), width if width > _DOT else 0.0, moment.kind, moment.title, moment.at, lasts)

    rows = tuple(DrawnLane(lane.name, lane.link, tuple(map(spot, lane.moments))) for lane in lanes)
    return JobTimeline(rows, _ticks(instants, places), x(now) if to_come else None)


def as_table(lanes: Sequence[TimelineRow]) -> list[tuple[TimelineEvent, str]]:
    """Every moment with the name of its lane, in order of time: what the picture shows, as a table."""
    return sorted(((moment, lane.name) for lane in lanes for moment in lane.moments), key=lambda row: row[0].at)


def _places(instants: Sequence[Instant]) -> list[float]:
    roots = [0.0]
    for before, after in pairwise(instants):
        roots.append(roots[-1] + math.sqrt(after - before))
    return [round(100 * root / (roots[-1] or 1.0), 3) for root in roots]


def _ticks(instants: Sequence[Instant], places: Sequence[float]) -> tuple[Tick, ...]:
    found: list[Tick] = []
    for at, x in zip(instants, places, strict=True):
        anchor = "start" if not found else "end" if x > 100 - _TICK_ROOM else "middle"
        room = 1.5 * _TICK_ROOM if len(found) == 1 or anchor == "end" else _TICK_ROOM
        if not found or x - found[-1].x >= room:
            found.append(Tick(x, f"+{format_duration(at - instants[0])}" if found else "0", anchor))
    return tuple(found)


# --- what is on each lane --------------------------------------------------------------------------------------


def lanes(
    found: JobHistory, facts: Sequence[Event], tried: Mapping[str, Sequence[Attempt]], now: Instant
) -> list[TimelineRow]:
    """Exec's, the relay's, the polls', and one for each delivery; those on which nothing happened are left out."""
    rows = [
        TimelineRow("Exec", _at_exec(found.watch, now)),
        TimelineRow("Relay", _at_relay(found.watch, facts)),
        TimelineRow("Polls", _polls(found.watch, found.polls, now)),
    ]
    for one in found.deliveries:
        endpoint = found.endpoints.get(one.endpoint_id)
        name = (endpoint.name or endpoint.host.removesuffix(":443")) if endpoint else "removed"
        rows.append(TimelineRow(name, _at_receiver(one, tried[one.id], now), f"/deliveries/{one.id}"))
    return [lane for lane in rows if lane.moments]


def _at_exec(watch: Watch, now: Instant) -> tuple[TimelineEvent, ...]:
    job = watch.job
    if job is None or job.created_at_ms is None:
        return ()
    started, end = job.started_at_ms, job.ended_at_ms or watch.ended_at or now
    queued_until = started or end
    moments = [
        TimelineEvent(
            job.created_at_ms, "queued", f"queued for {format_duration(queued_until - job.created_at_ms)}", queued_until
        )
    ]
    if started is not None:
        moments.append(
            TimelineEvent(started, "running", f"worked on for {format_duration(end - started)}", max(end, started))
        )
    if job.ended_at_ms is not None:
        kind = "good" if job.status == "completed" else "bad"
        moments.append(TimelineEvent(job.ended_at_ms, kind, f"{job.status}, Exec says"))
    return tuple(moments)


def _at_relay(watch: Watch, facts: Sequence[Event]) -> tuple[TimelineEvent, ...]:
    known = (TimelineEvent(fact.created_at, "event", f"the relay knew: {fact.type.value}") for fact in facts)
    return (TimelineEvent(watch.created_at, "event", "registered"), *known)


def _polls(watch: Watch, polls: Sequence[Mapping[str, Any]], now: Instant) -> tuple[TimelineEvent, ...]:
    made = tuple(map(_poll, polls))
    if watch.next_poll_at is None:
        return made
    return (*made, TimelineEvent(max(watch.next_poll_at, now), "planned", f"the next poll: {watch.next_poll_reason}"))


def _poll(poll: Mapping[str, Any]) -> TimelineEvent:
    fine = poll["outcome"] in ("seen", "ended")
    text = f"poll: {poll['detail'] or poll['outcome']}, {poll['duration_ms']} ms"
    return TimelineEvent(poll["at"], "poll" if fine else "bad", text)


def _at_receiver(delivery: Delivery, tried: Sequence[Attempt], now: Instant) -> tuple[TimelineEvent, ...]:
    made = tuple(map(_attempt, tried))
    if delivery.next_attempt_at is not None:
        return (*made, TimelineEvent(max(delivery.next_attempt_at, now), "planned", "the next attempt"))
    return made or (TimelineEvent(delivery.created_at, "queued", f"{delivery.status.value}, no attempt was made"),)


def _attempt(attempt: Attempt) -> TimelineEvent:
    good = attempt.outcome == "delivered"
    text = f"attempt {attempt.number}: {attempt.error or attempt.outcome}, {attempt.duration_ms} ms"
    return TimelineEvent(attempt.started_at, "good" if good else "bad", text, attempt.started_at + attempt.duration_ms)
