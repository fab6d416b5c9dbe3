"""Query parameters of each call."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict

from relay.model import AuditAction, DeliveryStatus, EndpointKind, EventType, RegistrationStatus, WatchState
from relay.store.engine import paging
from relay.store.tables.events import EventFilter
from relay.store.tables.filters import JobFilter
from relay.web.schemas.fields import (
    ENDPOINT_DESCRIPTION,
    HTTP_STATUS_DESCRIPTION,
    JOB_ID_DESCRIPTION,
    METADATA_DESCRIPTION,
    CheckName,
    Cursor,
    EndpointName,
    EventFormat,
    EventTypes,
    HttpStatusFilter,
    JobId,
    MetadataFilter,
    Reference,
    Time,
    Workspace,
)

_MAX_NUMBER = 999_999_999


def _number(value: object) -> object:
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) else value


class Query(BaseModel):
    """Query parameters: every value is text."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class NoQuery(Query):
    """No parameters."""


class PageQuery(Query):
    """A page of a list."""

    # guard: page-size
    limit: Annotated[int, Field(ge=1, le=paging.MAX_PAGE_SIZE), Strict(), BeforeValidator(_number)] = Field(
        50, description=f"rows at most, 1 to {paging.MAX_PAGE_SIZE}"
    )
    cursor: Cursor | None = Field(None, description="`next_cursor` of the previous page")

    @property
    def page(self) -> paging.Page:
        return paging.Page(self.limit, self.cursor)


class ReadinessQuery(Query):
    """Parameters of the readiness check."""

    exclude: CheckName | None = Field(
        None, description="a check to leave out, such as `exec` for the keys of all workspaces"
    )


class RegistrationsQuery(PageQuery):
    """Filter of registrations."""

    job_id: JobId | None = Field(None, description=JOB_ID_DESCRIPTION)
    endpoint: Reference | None = Field(None, description=ENDPOINT_DESCRIPTION)
    status: RegistrationStatus | None = Field(None, description="the state of the registration")


_AS_ENDPOINT = f"{ENDPOINT_DESCRIPTION}: its events in its format, each signed with its secret as its notifications are"

Wait = Annotated[int, Field(ge=0, le=_MAX_NUMBER), Strict(), BeforeValidator(_number)]


class JobQuery(Query):
    """The workspace of a job, and how long to wait for its end."""

    workspace: Workspace | None = Field(None, description="the Exec workspace; left out: any that has the job")
    wait: Wait | None = Field(
        None, description="seconds to wait until the job has ended; more than 300 count as 300, and 0 as no wait"
    )


class JobsQuery(PageQuery):
    """Filter of jobs."""

    workspace: Workspace | None = Field(None, description="the Exec workspace")
    state: WatchState | None = Field(None, description="whether the job is polled, or why no longer")
    since: Time | None = Field(None, description="the earliest time of the job's registration")
    until: Time | None = Field(None, description="the time before which the job was registered")
    event_type: EventType | None = Field(None, description="an event of the job")
    endpoint: Reference | None = Field(
        None, description=f"{ENDPOINT_DESCRIPTION} that the job is registered for, or has a delivery to"
    )
    http_status: HttpStatusFilter | None = Field(
        None, description=f"{HTTP_STATUS_DESCRIPTION} of a delivery of the job; with `endpoint`, of one to it"
    )
    metadata: MetadataFilter | None = Field(None, description=METADATA_DESCRIPTION)

    def job_filter(self, endpoint_id: str | None) -> JobFilter:
        """`endpoint_id` is the id of `endpoint`."""
        return JobFilter(
            state=self.state,
            since=self.since,
            until=self.until,
            workspace=self.workspace,
            event_type=self.event_type,
            endpoint_id=endpoint_id,
            http_status=self.http_status,
            metadata=self.metadata,
        )


_TYPES = "the kinds of events, separated by commas"


class EventsQuery(PageQuery):
    """Filter of events, their format, and a cursor of the feed to go on after."""

    type: EventTypes | None = Field(None, description=_TYPES)
    job_id: JobId | None = Field(None, description=JOB_ID_DESCRIPTION)
    workspace: Workspace | None = Field(None, description="the Exec workspace")
    format: EventFormat | None = Field(None, description="the format of `body`; by default `standard`")
    endpoint: Reference | None = Field(None, description=_AS_ENDPOINT)
    after: Cursor | None = Field(
        None,
        description="pull the feed: events after this cursor, oldest first; `0`: from the oldest stored event, "
        "`now`: only events from now on",
    )
    wait: Wait | None = Field(
        None,
        description="with `after`: seconds to wait until there is an event; more than 300 count as 300, 0 as no wait",
    )

    @property
    def event_filter(self) -> EventFilter:
        return EventFilter(self.type, self.job_id, self.workspace)


class StreamQuery(Query):
    """Filter of streamed events, their format, and a cursor of the feed to go on after."""

    type: EventTypes | None = Field(None, description=_TYPES)
    job_id: JobId | None = Field(None, description=f"{JOB_ID_DESCRIPTION}; the stream ends after the job's last event")
    workspace: Workspace | None = Field(None, description="the Exec workspace")
    format: EventFormat | None = Field(None, description="the format of `body`; by default `standard`")
    endpoint: Reference | None = Field(None, description=_AS_ENDPOINT)
    after: Cursor | None = Field(
        None,
        description="events after this cursor; `0`: from the oldest stored event; left out, or `now`: from now on. A "
        "reconnect's Last-Event-ID comes before it",
    )

    @property
    def event_filter(self) -> EventFilter:
        return EventFilter(self.type, self.job_id, self.workspace)


class EndpointsQuery(PageQuery):
    """Filter of endpoints."""

    kind: EndpointKind | None = Field(None, description="`standing` ones, or `ad_hoc` ones created by a registration")
    name: EndpointName | None = Field(None, description="the name of one endpoint")


class AuditQuery(PageQuery):
    """Filter of the audit log."""

    action: AuditAction | None = Field(None, description="what was done")


class DeliveriesQuery(PageQuery):
    """Filter of deliveries."""

    status: DeliveryStatus | None = Field(None, description="the state of the delivery")
    job_id: JobId | None = Field(None, description=JOB_ID_DESCRIPTION)
    endpoint: Reference | None = Field(None, description=ENDPOINT_DESCRIPTION)
    digest: Reference | None = Field(None, description="the id of a digest's delivery: those that it sends")
    since: Time | None = Field(None, description="the earliest time of the delivery's creation")
    until: Time | None = Field(None, description="the time before which the delivery was created")
    event_type: EventType | None = Field(None, description="the kind of event")
    workspace: Workspace | None = Field(None, description="the Exec workspace")
    http_status: HttpStatusFilter | None = Field(None, description=HTTP_STATUS_DESCRIPTION)
    metadata: MetadataFilter | None = Field(None, description=METADATA_DESCRIPTION)
