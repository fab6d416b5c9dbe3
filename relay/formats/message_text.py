"""The text of an event, the same in every chat; each format only arranges it.

Text that comes from Exec is other people's: what leaves here is one line, of bounded length, that pings nobody and
turns into no link in any of the chats; the links are http or https. A value of the metadata that is a URL, and the
e-mail addresses in a text, are what people click or copy, so they stay as they are.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from relay.formats.durations import count_text, duration, rounded_duration
from relay.formats.inert_text import link, sanitize
from relay.formats.truncate import truncate, utf16_length
from relay.model import (
    FINAL_EVENTS,
    SECOND,
    AnyEventType,
    DigestEventType,
    Event,
    EventType,
    OperatorEventType,
    ReplacedEvent,
)

OPEN_JOB = "Details in the relay"
"""The text of the link to the job's page."""
MAX_PAIRS = 3
"""Pairs of the metadata that a chat shows."""
MAX_LINES = 20
"""Jobs of a digest that a chat lists."""

MAX_LABEL = 100
"""UTF-16 units of a key of the metadata and the like."""
MAX_VALUE = 200
"""Of a value."""
_MAX_LINE = 90
_MAX_NOTE = 50
_NAMED = 3
_MAX_PROMPT = 300


class Tone(StrEnum):
    """Whether the news is good; chats show it as a colour."""

    GOOD = "good"
    BAD = "bad"
    NEUTRAL = "quiet"


MARKS = {Tone.GOOD: "✅", Tone.BAD: "❌", Tone.NEUTRAL: "ℹ️"}
"""For chats that show no colour."""


@dataclass(frozen=True, slots=True)
class Fact:
    """What somebody said about the job, with a label: `Requested by: jane@acme.com`."""

    label: str
    text: str
    link: str | None = None
    """The URL that the text is, so that a chat shows a link and changes nothing in it; None for any other text."""


@dataclass(frozen=True, slots=True)
class DigestLine:
    """One job of a digest."""

    mark: str
    text: str
    """The scenario's name, or what happened to the job."""
    link: str | None
    """The scenario, or else the job's page."""
    note: str
    """`, for jane@acme.com`, or empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventText:
    """The text of an event."""

    tone: Tone
    headline: str
    """`Scenario ready: Discovery Call with IT Director`."""
    title: str
    """The headline without the name: `Scenario ready`."""
    summary: str
    """The whole news in one line, for a phone's notification."""
    footnote: str
    """`Took 40 s · Job j1o2b3i4d5x6`."""
    name: str | None = None
    """The scenario's name, for chats that make it the link."""
    detail: str | None = None
    """A sentence or two more; for a failure the reason."""
    code: str | None = None
    """Exec's error code."""
    link: str | None = None
    """The scenario: http or https; None if there is nothing to open."""
    page: str | None = None
    """The job's page in the relay, of an ending without a scenario; None without a public URL."""
    requested_by: str | None = None
    pairs: tuple[Fact, ...] = ()
    """The first pairs of the metadata that are texts, numbers or booleans."""
    prompt: str | None = None
    """The beginning of the prompt, unless the name says what was asked for."""
    next_step: str | None = None
    """What the reader can do about it."""
    lines: tuple["DigestLine", ...] = ()
    """Of a digest: a line for each of its first jobs."""
    jobs: int = 0
    """Of a digest: how many events it has."""

    @property
    def mark(self) -> str:
        """One character that tells success from failure at a glance."""
        return MARKS[self.tone]

    @property
    def facts(self) -> list[Fact]:
        """Who asked, for what and with which metadata."""
        request_facts = [("Requested by", self.requested_by), ("Asked for", self.prompt)]
        return [Fact(label, text) for label, text in request_facts if text] + list(self.pairs)

    def first_lines(self, limit: int = MAX_LINES) -> tuple[tuple["DigestLine", ...], str | None]:
        """The first lines of a digest, and `and 480 more` for the others; None if there are no others."""
        digest_lines = self.lines[:limit]
        return digest_lines, more_than(len(digest_lines), self.jobs)

    def facts_line(self) -> str | None:
        """The facts as one line: `Requested by: jane@acme.com · deal: Acme`; None without facts."""
        return " · ".join(f"{fact.label}: {fact.text}" for fact in self.facts) or None

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
_TITLES: dict[AnyEventType, str] = {
    EventType.COMPLETED: "Scenario ready",
    EventType.FAILED: "Scenario failed",
    EventType.CANCELLED: "Scenario cancelled",
    EventType.STARTED: "Scenario started",
    EventType.NOT_FOUND: "Scenario job not found",
    EventType.EXPIRED: "Scenario not finished in time",
}
_NEWS_TITLES = {
    OperatorEventType.KEY_REFUSED: "Exec refuses the API key",
    OperatorEventType.UNREACHABLE: "Exec does not answer",
    OperatorEventType.BUDGET_EXHAUSTED: "Requests to Exec are used up",
    OperatorEventType.ENDPOINT_FAILING: "An endpoint fails",
    OperatorEventType.ENDPOINT_DISABLED: "An endpoint is disabled",
    OperatorEventType.DELIVERY_FAILED: "A delivery failed",
    OperatorEventType.RECOVERED: "Works again",
}
_NEXT_STEPS: dict[AnyEventType, str] = {
    EventType.FAILED: "Create the scenario again; if it fails again, change the prompt.",
    EventType.CANCELLED: "Create the scenario again if you still want it.",
    EventType.NOT_FOUND: "Check the job's id and its Exec workspace, then register the job again.",
    EventType.EXPIRED: "Check the job in Exec; register it again to go on tracking it.",
}
_POLICY_STEP = "Change the prompt so that it keeps to Exec's content policy, then create the scenario again."


def describe_event(event: Event) -> EventText:
    """The event in words. Never raises, whatever `event.job` and its context hold."""
    if isinstance(event.type, OperatorEventType):
        return _describe_news(event, event.type)
    if event.type is DigestEventType.DIGEST:
        return _describe_digest(event)
    context = event.context
    name = sanitize(nested_object(event.job, "scenario").get("name"))
    code = (
        sanitize(nested_object(event.job, "error").get("code"), MAX_LABEL) if event.type is EventType.FAILED else None
    )
    title = f"{_test_label(event)}{_TITLES[event.type]}"
    headline = f"{title}: {name}" if name else title
    detail = _detail(event)
    link_to_scenario = link(nested_object(event.job, "scenario").get("url"))
    return EventText(
        tone=_TONES.get(event.type, Tone.BAD),
        headline=headline,
        title=title,
        name=name,
        summary=_summary(event, headline, detail, code),
        detail=detail,
        code=code,
        link=link_to_scenario if event.type is EventType.COMPLETED else None,
        page=link(context.page) if event.type in FINAL_EVENTS and event.type is not EventType.COMPLETED else None,
        requested_by=sanitize(context.requested_by, MAX_VALUE),
        pairs=tuple(_pairs(context.metadata)),
        prompt=None if name else sanitize(context.prompt, _MAX_PROMPT),
        next_step=_POLICY_STEP if code == "CONTENT_POLICY_VIOLATION" else _NEXT_STEPS.get(event.type),
        footnote=_footnote(event),
    )


def _summary(event: Event, headline: str, detail: str | None, code: str | None) -> str:
    """The whole news in one line."""
    requested_by = sanitize(event.context.requested_by, MAX_LABEL)
    if event.type is EventType.COMPLETED:
        summary = headline
    elif event.type is EventType.FAILED:
        between = " – " if ": " in headline.removeprefix(_test_label(event)) else ": "
        summary = f"{headline}{between}{detail}" + (f" ({code})" if code else "")
    else:
        summary = f"{headline} (job {event.job_id})"
    if requested_by:
        summary += f", for {requested_by}"
    return f"{summary}. {_correction(event.replaces)}" if event.replaces else summary


def _test_label(event: Event) -> str:
    return "Test: " if event.context.test else ""


def _pairs(metadata: Mapping[str, Any]) -> Iterator[Fact]:
    """The first pairs whose values are single: a list or an object does not fit a line."""
    count = 0
    for key, value in metadata.items():
        if key == "requested_by" or count == MAX_PAIRS:
            continue
        text = json.dumps(value) if isinstance(value, bool | int | float) else value
        label, url = sanitize(key, MAX_LABEL), link(text.strip()) if isinstance(text, str) else None
        line = truncate(url, MAX_VALUE) if url else sanitize(text, MAX_VALUE)
        if label and line:
            count += 1
            yield Fact(label, line, url)


def _describe_news(event: Event, type: OperatorEventType) -> EventText:
    message = sanitize(event.job.get("message"))
    return EventText(
        tone=Tone.GOOD if type is OperatorEventType.RECOVERED else Tone.BAD,
        headline=_NEWS_TITLES[type],
        title=_NEWS_TITLES[type],
        summary=message or _NEWS_TITLES[type],
        detail=message,
        page=link(event.context.page),
        footnote="News about the relay",
    )


_COUNTED: dict[AnyEventType, str] = {
    EventType.COMPLETED: "ready",
    EventType.CANCELLED: "cancelled",
    EventType.STARTED: "started",
}


def _describe_digest(event: Event) -> EventText:
    counts = nested_object(event.job, "counts")
    numbers = {type: number for type in _COUNTED if isinstance(number := counts.get(type.value), int)}
    parts = [f"{number} {_COUNTED[type]}" for type, number in numbers.items()]
    if numbers.get(EventType.COMPLETED):
        parts[0] = f"{count_text(numbers[EventType.COMPLETED], 'scenario')} ready"
    headline = ", ".join(parts) if numbers.get(EventType.COMPLETED) else f"Scenarios: {', '.join(parts)}"
    jobs = event.job.get("jobs")
    lines = tuple(_digest_line(job) for job in jobs if isinstance(job, Mapping)) if isinstance(jobs, list) else ()
    named, total = [line.text for line in lines[:_NAMED]], sum(numbers.values())
    remainder = more_than(len(named), total)
    return EventText(
        tone=Tone.GOOD if numbers.get(EventType.COMPLETED) else Tone.NEUTRAL,
        headline=headline,
        title=headline,
        summary=f"{headline}: {', '.join(named)}{f' {remainder}' if remainder else ''}",
        page=link(event.context.page),
        footnote="Gathered into one message by this endpoint's digest",
        lines=lines,
        jobs=total,
    )


def _digest_line(job: Mapping[str, Any]) -> DigestLine:
    """Never raises, whatever the job holds."""
    type = next((type for type in EventType if type.value == job.get("event")), EventType.COMPLETED)
    name = sanitize(job.get("name"), _MAX_LINE)
    job_id = sanitize(job.get("job_id"), MAX_LABEL) or ""
    text = name or f"Job {job_id}"
    if type is not EventType.COMPLETED:
        text = f"{_TITLES[type]}: {name or f'job {job_id}'}"
    requested_by = sanitize(job.get("requested_by"), _MAX_NOTE)
    url = link(job.get("url")) if type is EventType.COMPLETED else None
    note = f", for {requested_by}" if requested_by else ""
    return DigestLine(MARKS[_TONES.get(type, Tone.BAD)], text, url or link(job.get("page")), note)


def more_than(number_shown: int, total: int) -> str | None:
    """`and 480 more`; None if all are shown."""
    return f"and {total - number_shown} more" if total > number_shown else None


def _time_of_day(event: Event) -> str:
    """`14:05 CET`: the offset's name tells the two hours apart that the end of summer time doubles."""
    try:
        zone = ZoneInfo(event.context.time_zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):  # the zone data changed since the event
        zone = ZoneInfo("UTC")
    return datetime.fromtimestamp(event.occurred_at // SECOND, zone).strftime("%H:%M %Z")


def _detail(event: Event) -> str | None:
    match event.type:
        case EventType.FAILED:
            return sanitize(nested_object(event.job, "error").get("message")) or "Exec gave no reason"
        case EventType.CANCELLED:
            return "The job was cancelled at Exec; there is no scenario."
        case EventType.STARTED:
            usual = rounded_duration(event.context.usual_seconds)
            # True for ever: if an edit never comes, the message does not say that the job is running.
            started_at = _time_of_day(event)
            return f"Started at {started_at}; this usually takes about {usual or '5 minutes'}."
        case EventType.NOT_FOUND:
            return "Exec does not know this job; no longer tracked."
        case EventType.EXPIRED:
            after = rounded_duration(event.context.tracked_seconds)
            status = sanitize(event.job.get("status"), MAX_LABEL)
            last = f" Exec's last status: {status}." if status else ""
            return f"Not finished{f' after {after}' if after else ''}; no longer tracked.{last}"
    return None


def _footnote(event: Event) -> str:
    elapsed = duration(event.job.get("duration_seconds"))
    parts = [f"Job {event.job_id}"]
    if elapsed:
        parts.insert(0, f"Took {elapsed}" if event.type is EventType.COMPLETED else f"After {elapsed}")
    if event.workspace != "default":
        parts.append(f"Workspace {sanitize(event.workspace, MAX_LABEL)}")
    if event.replaces:
        parts.append(_correction(event.replaces))
    if event.context.test:
        by = sanitize(event.context.tested_by, MAX_LABEL)
        parts.append(f"A sample, sent {f'by {by} ' if by else ''}to test this endpoint")
    return " · ".join(parts)


def _correction(replaced: ReplacedEvent) -> str:
    return f"This replaces the earlier news: {_TITLES[replaced.type].lower()}"


def nested_object(job: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object called `name` in the job; an empty one if there is none."""
    value = job.get(name)
    return value if isinstance(value, Mapping) else {}


def digest_within(
    content: EventText, draw: Callable[["DigestLine"], str], limit: int, length: Callable[[str], int]
) -> list[str]:
    """The drawn lines of a digest, as many as fit into `limit` by their `length`, and how many more."""
    lines = list[str]()
    for line in content.first_lines()[0]:
        drawn = draw(line)
        limit -= length(drawn)
        if limit < 0:
            break
        lines.append(drawn)
    remainder = more_than(len(lines), content.jobs)
    return [*lines, remainder] if remainder else lines
