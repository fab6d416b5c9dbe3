"""The filters of the lists of jobs and deliveries, as they are in the URL and in forms.

Times in a URL are absolute, so that a link means the same to whoever opens it: a form that names a day or a local time
is redirected to the URL with the times that it means.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import MAXYEAR, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import Any

from relay.errors import ValidationFailed
from relay.model import DeliveryStatus, EventType, Instant, WatchState, from_rfc3339, to_rfc3339
from relay.store import Tx
from relay.store.tables.filters import DeliveryFilter, HttpStatus, JobFilter, MetadataPair
from relay.web.core import path_params
from relay.web.dashboard import template_filters
from relay.web.dashboard.page import PageRequest, parse_enum

_OFFSET = re.compile(r".*([Zz]|[+-][0-9]{2}:?[0-9]{2})")
_LOST_PLUS = re.compile(r"(.*:[0-9]{2}(?:\.[0-9]+)?) ([0-9]{2}:?[0-9]{2})")
"""An offset whose + was not encoded: a URL's + is a space."""

MAX_NAMES = 200
"""Names of endpoints that a filter suggests."""

_NAMES = ("event_type", "endpoint", "workspace", "http_status", "metadata", "since", "until")


@dataclass(frozen=True, slots=True)
class FilteredList:
    """A list with filters."""

    path: str
    status_name: str
    """The parameter with the status."""
    statuses: type[StrEnum]
    names: tuple[str, ...]
    """The other parameters."""


DELIVERIES = FilteredList("/deliveries", "status", DeliveryStatus, ("job_id", *_NAMES))
JOBS = FilteredList("/jobs", "state", WatchState, _NAMES)


def parse_time(text: str, zone: tzinfo, *, is_end: bool = False) -> Instant:
    """`2026-03-01`, `2026-03-01T10:00` or an RFC 3339 time as an instant. Raises ValueError.

    A time without an offset is of the zone. A day is its beginning, or its end (`is_end`).
    """
    text = text.strip()
    if match := _LOST_PLUS.fullmatch(text):
        text = f"{match[1]}+{match[2]}"
    if len(text) == 10:
        local = datetime.combine(date.fromisoformat(text), time(), zone)
    else:
        local = datetime.fromisoformat(text.upper())
        local = local if local.tzinfo else local.replace(tzinfo=zone)
    if local.year == MAXYEAR:  # its end is in no zone's calendar
        raise ValueError("out of range")
    if len(text) == 10 and is_end:
        local += timedelta(days=1)
    at = from_rfc3339(local.isoformat())
    if at is None:
        raise ValueError("out of range")
    return at


def local_text(at: Instant, zone: tzinfo) -> str:
    """The instant as the value of a field `datetime-local` in the zone."""
    return datetime.fromtimestamp(at / 1_000, zone).replace(tzinfo=None).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFilters:
    """The filters of a list; None means any."""

    of: FilteredList
    status: StrEnum | None = None
    event_type: EventType | None = None
    endpoint: str | None = None
    """An id or a name."""
    workspace: str | None = None
    job_id: str | None = None
    http_status: HttpStatus | None = None
    metadata: MetadataPair | None = None
    since: Instant | None = None
    until: Instant | None = None

    @property
    def parameters(self) -> dict[str, str]:
        """As the parameters of a URL."""
        texts = {self.of.status_name: self.status, **{name: getattr(self, name) for name in self.of.names}}
        for name in ("since", "until"):
            texts[name] = None if texts[name] is None else to_rfc3339(texts[name])
        return {name: "" if value is None else str(value) for name, value in texts.items()}

    def of_deliveries(self, tx: Tx) -> DeliveryFilter:
        """Raises ValidationFailed for an unknown endpoint."""
        return DeliveryFilter(
            status=None if self.status is None else DeliveryStatus(self.status),
            job_id=self.job_id,
            endpoint_id=path_params.endpoint_id(tx, self.endpoint),
            since=self.since,
            until=self.until,
            event_type=self.event_type,
            workspace=self.workspace,
            http_status=self.http_status,
            metadata=self.metadata,
        )

    def of_jobs(self, tx: Tx) -> JobFilter:
        """Raises ValidationFailed for an unknown endpoint."""
        return JobFilter(
            state=None if self.status is None else WatchState(self.status),
            since=self.since,
            until=self.until,
            workspace=self.workspace,
            event_type=self.event_type,
            endpoint_id=path_params.endpoint_id(tx, self.endpoint),
            http_status=self.http_status,
            metadata=self.metadata,
        )


def parse(of: FilteredList, fields: Mapping[str, str], zone: tzinfo) -> ListFilters:
    """The filters of a URL or a form. Raises ValidationFailed, which names the field."""
    texts = {name: fields.get(name, "").strip() for name in (of.status_name, *of.names)}
    values: dict[str, Any] = {name: text or None for name, text in texts.items()}
    values["status"] = parse_enum(of.statuses, values.pop(of.status_name), of.status_name)
    values["event_type"] = parse_enum(EventType, values["event_type"], "event_type")
    for name, parse_text in (("http_status", HttpStatus.parse), ("metadata", MetadataPair.parse)):
        try:
            values[name] = parse_text(texts[name]) if texts[name] else None
        except ValueError as error:
            raise ValidationFailed(f"invalid_{name}", f"{name} {error}", name) from None
    for name in ("since", "until"):
        try:
            values[name] = parse_time(texts[name], zone, is_end=name == "until") if texts[name] else None
        except ValueError:
            text = f"{name} must be a day or a time, such as 2026-03-01 or 2026-03-01T10:00:00Z"
            raise ValidationFailed(f"invalid_{name}", text, name) from None
    return ListFilters(of=of, **values)


def absolute_url(filters: ListFilters, fields: Mapping[str, str]) -> str | None:
    """Where a list with a day or a local time in its URL is, with the times that they mean; None for other lists."""
    given = [fields.get(name, "").strip() for name in ("since", "until")]
    if all(_OFFSET.fullmatch(text) for text in given if text):
        return None
    return template_filters.url_with_query(filters.of.path, **filters.parameters)


def page_values(page: PageRequest, filters: ListFilters) -> dict[str, Any]:
    """What the templates of both lists need to draw their filters."""
    status_name, parameters = filters.of.status_name, filters.parameters
    fields = dict(parameters)
    for name in ("since", "until"):
        at = getattr(filters, name)
        fields[name] = "" if at is None else local_text(at, page.zone)
    return {
        "filters": parameters,
        "fields": fields,
        "status_name": status_name,
        "active_filters": {name: text for name, text in parameters.items() if text and name != status_name},
        "all_events": [type.value for type in EventType],
        "workspaces": list(page.relay.clients),
        "zone_name": page.zone_name,
    }
