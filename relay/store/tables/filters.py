"""Filters of jobs and deliveries. A filter has two kinds of conditions: those that an index answers, and those for
which rows are read. Lists test the second kind on a bounded number of rows a page (`paging.read_page`).
"""

import json
import re
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, func, literal_column, or_, select

from relay.model import AnyEventType, DeliveryStatus, Instant, WatchState
from relay.store.engine.schema import deliveries, events, registrations, watches

_STATUS = re.compile(r"([1-5])([0-9]{2}|xx)")
_PAIR = re.compile(r"([^=]{1,200})=(.{0,400})", re.DOTALL)

_SCALAR = re.compile(r"-?[0-9][0-9.e+-]*|true|false|null")
"""A value of JSON that is no text, in lower case."""


class HttpStatus(NamedTuple):
    """The HTTP statuses from `first` to `last`; both 0: an attempt without a response."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> "HttpStatus":
        """`404`, `5xx` or `none`. Raises ValueError."""
        if text == "none":
            return cls(0, 0)
        if (match := _STATUS.fullmatch(text)) is None:
            raise ValueError("must be an HTTP status such as 404, a class such as 5xx, or none for no response")
        if match[2] == "xx":
            return cls(int(match[1]) * 100, int(match[1]) * 100 + 99)
        return cls(int(text), int(text))

    def __str__(self) -> str:
        if not self.first:
            return "none"
        return str(self.first) if self.first == self.last else f"{self.first // 100}xx"

    @property
    def condition(self) -> ColumnElement[bool]:
        """Of the last attempt of a delivery."""
        if not self.first:
            return and_(deliveries.c.attempts > 0, deliveries.c.status_code.is_(None))
        return deliveries.c.status_code.between(self.first, self.last)


class MetadataPair(NamedTuple):
    """A key of a registration's metadata and its value, as text; both without regard to case."""

    key: str
    value: str

    @classmethod
    def parse(cls, text: str) -> "MetadataPair":
        """`customer=acme`. Raises ValueError."""
        if (match := _PAIR.fullmatch(text)) is None:
            raise ValueError("must be a key and a value of the metadata, such as customer=acme")
        return cls(match[1].strip(), match[2].strip())

    def __str__(self) -> str:
        return f"{self.key}={self.value}"

    @property
    def condition(self) -> ColumnElement[bool]:
        """Of a registration: its metadata has the pair, at any depth."""
        key, value = (json.dumps(part, ensure_ascii=False).lower() for part in self)
        texts = [f"{key}: {value}"]
        if _SCALAR.fullmatch(self.value.lower()):
            texts += [f"{key}: {self.value.lower()}{end}" for end in ",}"]
        metadata = func.lower(registrations.c.metadata)
        return or_(*(metadata.contains(text, autoescape=True) for text in texts))


def _has_metadata(workspace: ColumnElement[Any], job_id: ColumnElement[Any], pair: MetadataPair) -> ColumnElement[bool]:
    """Whether a registration of the job has the pair in its metadata."""
    of_job = (registrations.c.job_id == job_id, registrations.c.workspace == workspace)
    return _is_any(select(literal_column("1")).select_from(registrations).where(*of_job, pair.condition))


def _is_any(query: Select[Any]) -> ColumnElement[bool]:
    """Whether the query has a row. Not EXISTS, for which PostgreSQL may read a whole table and join it."""
    return query.limit(1).scalar_subquery().is_not(None)


Conditions = tuple[ColumnElement[bool], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """A selection of deliveries; None means any."""

    status: DeliveryStatus | None = None
    job_id: str | None = None
    endpoint_id: str | None = None
    since: Instant | None = None
    until: Instant | None = None
    digest_id: str | None = None
    """Members of this digest."""
    ended_before: Instant | None = None
    """Ended at this instant or before."""
    ended_since: Instant | None = None
    """Ended at this instant or later."""
    ids: tuple[str, ...] | None = None
    event_type: AnyEventType | None = None
    workspace: str | None = None
    http_status: HttpStatus | None = None
    """Of the last attempt."""
    metadata: MetadataPair | None = None
    """Of a registration of the job."""

    @property
    def indexed(self) -> Conditions:
        """The conditions that an index answers."""
        columns = deliveries.c
        found = []
        if self.status is not None:
            found.append(columns.status == self.status.value)
        if self.job_id is not None:
            found.append(columns.job_id == self.job_id)
        if self.endpoint_id is not None:
            found.append(columns.endpoint_id == self.endpoint_id)
        if self.ids is not None:
            found.append(columns.id.in_(self.ids))
        if self.digest_id is not None:
            found += [columns.digest_id == self.digest_id, columns.id != self.digest_id]
        if self.since is not None:
            found.append(columns.created_at >= self.since)
        if self.until is not None:
            found.append(columns.created_at < self.until)
        return tuple(found)

    @property
    def unindexed(self) -> Conditions:
        """The conditions for which rows are read."""
        columns = deliveries.c
        found = []
        if self.ended_before is not None:
            found.append(columns.ended_at <= self.ended_before)
        if self.ended_since is not None:
            found.append(columns.ended_at >= self.ended_since)
        if self.event_type is not None:
            found.append(columns.event_type == self.event_type.value)
        if self.workspace is not None:
            found.append(columns.workspace == self.workspace)
        if self.http_status is not None:
            found.append(self.http_status.condition)
        if self.metadata is not None:
            found.append(_has_metadata(columns.workspace, columns.job_id, self.metadata))
        return tuple(found)

    @property
    def all(self) -> Conditions:
        """Every condition."""
        return self.indexed + self.unindexed

    @property
    def all_tested(self) -> Conditions:
        """Every condition, written so that SQLite tests it on the rows that another condition finds.

        It takes an index of many rows, all of a status or of an endpoint, for better than one of some events.
        """
        others = replace(self, status=None, endpoint_id=None).all
        found = []
        if self.status is not None:
            found.append(deliveries.c.status.concat("") == self.status.value)
        if self.endpoint_id is not None:
            found.append(deliveries.c.endpoint_id.concat("") == self.endpoint_id)
        return (*others, *found)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """A selection of jobs; None means any."""

    state: WatchState | None = None
    since: Instant | None = None
    until: Instant | None = None
    workspace: str | None = None
    event_type: AnyEventType | None = None
    """The job has an event of this type."""
    endpoint_id: str | None = None
    """A delivery or a registration of the job names this endpoint."""
    http_status: HttpStatus | None = None
    """Of the last attempt of a delivery of the job; if `endpoint_id` is set, of a delivery to it."""
    metadata: MetadataPair | None = None

    @property
    def indexed(self) -> Conditions:
        """The conditions that an index answers."""
        found = []
        if self.state is not None:
            found.append(watches.c.state == self.state.value)
        if self.since is not None:
            found.append(watches.c.created_at >= self.since)
        if self.until is not None:
            found.append(watches.c.created_at < self.until)
        return tuple(found)

    @property
    def unindexed(self) -> Conditions:
        """The conditions for which rows are read."""
        found: list[ColumnElement[bool]] = []
        if self.workspace is not None:
            found.append(watches.c.workspace == self.workspace)
        if self.event_type is not None:
            of_type = _of_job(events).where(events.c.type == self.event_type.value)
            found.append(_is_any(of_type))
        if self.http_status is not None:
            answered = _of_job(deliveries).where(self.http_status.condition)
            if self.endpoint_id is not None:
                answered = answered.where(deliveries.c.endpoint_id == self.endpoint_id)
            found.append(_is_any(answered))
        elif self.endpoint_id is not None:
            named = [
                _of_job(table).where(table.c.endpoint_id == self.endpoint_id) for table in (deliveries, registrations)
            ]
            found.append(or_(*map(_is_any, named)))
        if self.metadata is not None:
            found.append(_has_metadata(watches.c.workspace, watches.c.job_id, self.metadata))
        return tuple(found)


def _of_job(table: Any) -> Select[Any]:
    """Rows of the table that belong to the job of a watch."""
    of_job = (table.c.job_id == watches.c.job_id, table.c.workspace == watches.c.workspace)
    return select(literal_column("1")).select_from(table).where(*of_job).correlate(watches)
