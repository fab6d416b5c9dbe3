"""How a workspace is placed, as answers show it."""

from pydantic import Field

from relay.polling.workspace_status import WorkspaceStatus
from relay.web.schemas.responses import ResponseModel, Time


class WindowResponse(ResponseModel):
    """One of Exec's two windows, as far as the relay may use it."""

    left: int = Field(description="polls that may be made now")
    of: int = Field(description="what the configuration allows: Exec's limit, times the share")


class BudgetResponse(ResponseModel):
    minute: WindowResponse
    day: WindowResponse


class DurationsResponse(ResponseModel):
    """What was learned of how long jobs take, in seconds from their start."""

    seen: int = Field(description="ended jobs that this was learned of; 0: it is only what Exec's pages say")
    median: float
    p90: float
    queued: float = Field(description="how long jobs usually wait for their start")


class WorkspaceResponse(ResponseModel):
    """An Exec workspace: its requests, what was learned, and whether it waits."""

    name: str
    strategy: str
    budget: BudgetResponse
    durations: DurationsResponse
    active: int = Field(description="jobs that are watched")
    next_poll_at: Time | None
    price: float | None = Field(description="seconds of waiting that a poll has to save; null until it was reckoned")
    paused_until: Time | None
    pause_reason: str | None


class WorkspaceList(ResponseModel):
    data: list[WorkspaceResponse]


def budget_of(found: WorkspaceStatus) -> BudgetResponse:
    minute = WindowResponse(left=found.left.minute, of=found.allowance.minute)
    return BudgetResponse(minute=minute, day=WindowResponse(left=found.left.day, of=found.allowance.day))


def durations_of(found: WorkspaceStatus) -> DurationsResponse:
    median, p90, queued = (round(seconds, 1) for seconds in (found.median, found.p90, found.median_queue_seconds))
    return DurationsResponse(seen=found.sample_size, median=median, p90=p90, queued=queued)


def workspace(found: WorkspaceStatus, active: int, strategy: str) -> WorkspaceResponse:
    return WorkspaceResponse(
        name=found.name,
        strategy=strategy,
        budget=budget_of(found),
        durations=durations_of(found),
        active=active,
        next_poll_at=found.next_poll_at,
        price=found.price,
        paused_until=found.paused_until,
        pause_reason=found.pause_reason,
    )
