"""Workspaces in responses: budget, durations, pause."""

from pydantic import Field

from relay.polling import WorkspaceStatus
from relay.web.schemas.responses import ResponseModel, Time


class WindowResponse(ResponseModel):
    """The relay's share of one of Exec's two rate limit windows."""

    left: int = Field(description="polls left now")
    of: int = Field(description="polls that the configuration allows: Exec's limit times the share")


class BudgetResponse(ResponseModel):
    minute: WindowResponse
    day: WindowResponse


class DurationsResponse(ResponseModel):
    """Learned durations of jobs, in seconds from their start."""

    seen: int = Field(description="ended jobs that were measured; 0: the numbers of Exec's pages only")
    median: float
    p90: float
    queued: float = Field(description="the usual wait for the start")


class WorkspaceResponse(ResponseModel):
    """An Exec workspace: polls left, learned durations, and whether it is paused."""

    name: str
    strategy: str
    budget: BudgetResponse
    durations: DurationsResponse
    active: int = Field(description="jobs being polled")
    next_poll_at: Time | None
    price: float | None = Field(description="seconds of waiting that a poll has to save; null until it is computed")
    paused_until: Time | None
    pause_reason: str | None


class WorkspaceList(ResponseModel):
    data: list[WorkspaceResponse]


def budget_of(status: WorkspaceStatus) -> BudgetResponse:
    minute = WindowResponse(left=status.remaining.minute, of=status.rate_limit.minute)
    return BudgetResponse(minute=minute, day=WindowResponse(left=status.remaining.day, of=status.rate_limit.day))


def durations_of(status: WorkspaceStatus) -> DurationsResponse:
    median, p90, queued = (round(seconds, 1) for seconds in (status.median, status.p90, status.median_queue_seconds))
    return DurationsResponse(seen=status.sample_size, median=median, p90=p90, queued=queued)


def workspace(status: WorkspaceStatus, active: int, strategy: str) -> WorkspaceResponse:
    return WorkspaceResponse(
        name=status.name,
        strategy=strategy,
        budget=budget_of(status),
        durations=durations_of(status),
        active=active,
        next_poll_at=status.next_poll_at,
        price=status.price,
        paused_until=status.paused_until,
        pause_reason=status.pause_reason,
    )
