"""Query parameters of each call."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict

from relay.model import DeliveryStatus, EndpointKind, EventType, RegistrationStatus, WatchState
from relay.store.engine import paging
from relay.web.schemas.fields import (
    ENDPOINT_DESCRIPTION,
    JOB_ID_DESCRIPTION,
    CheckName,
    Cursor,
    EventFormat,
    JobId,
    Reference,
    Time,
    Workspace,
)


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


class WorkspaceQuery(Query):
    """The workspace of a job."""

    workspace: Workspace | None = Field(None, description="the Exec workspace; left out: any that has the job")


class JobsQuery(PageQuery):
    """Filter of jobs."""

    workspace: Workspace | None = Field(None, description="the Exec workspace")
    state: WatchState | None = Field(None, description="whether the job is polled, or why no longer")


class EventsQuery(PageQuery):
    """Filter of events, and their format."""

    type: EventType | None = Field(None, description="the kind of event")
    job_id: JobId | None = Field(None, description=JOB_ID_DESCRIPTION)
    workspace: Workspace | None = Field(None, description="the Exec workspace")
    format: EventFormat = Field("standard", description="the format of `body`")


class EndpointsQuery(PageQuery):
    """Filter of endpoints."""

    kind: EndpointKind | None = Field(None, description="`standing` ones, or `ad_hoc` ones created by a registration")


class DeliveriesQuery(PageQuery):
    """Filter of deliveries."""

    status: DeliveryStatus | None = Field(None, description="the state of the delivery")
    job_id: JobId | None = Field(None, description=JOB_ID_DESCRIPTION)
    endpoint: Reference | None = Field(None, description=ENDPOINT_DESCRIPTION)
    since: Time | None = Field(None, description="the earliest time of the delivery's creation")
    until: Time | None = Field(None, description="the time before which the delivery was created")
