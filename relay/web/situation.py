"""How a workspace is placed, as answers show it."""

from pydantic import Field

from relay.situation import Situation
from relay.web.answers import Answer, Time


class WindowAnswer(Answer):
    """One of Exec's two windows, as far as the relay may use it."""

    left: int = Field(description="looks that may be made now")
    of: int = Field(description="what the configuration allows: Exec's limit, times the share")


class BudgetAnswer(Answer):
    minute: WindowAnswer
    day: WindowAnswer


class DurationsAnswer(Answer):
    """What was learned of how long jobs take, in seconds from their start."""

    seen: int = Field(description="ended jobs that this was learned of; 0: it is only what Exec's pages say")
    median: float
    p90: float
    queued: float = Field(description="how long jobs usually wait for their start")


class WorkspaceAnswer(Answer):
    """An Exec workspace: its requests, what was learned, and whether it waits."""

    name: str
    strategy: str
    budget: BudgetAnswer
    durations: DurationsAnswer
    active: int = Field(description="jobs that are watched")
    next_look_at: Time | None
    price: float | None = Field(description="seconds of waiting that a look has to save; null until it was reckoned")
    paused_until: Time | None
    paused_because: str | None


class WorkspaceList(Answer):
    data: list[WorkspaceAnswer]


def budget_of(found: Situation) -> BudgetAnswer:
    minute = WindowAnswer(left=found.left.minute, of=found.allowance.minute)
    return BudgetAnswer(minute=minute, day=WindowAnswer(left=found.left.day, of=found.allowance.day))


def durations_of(found: Situation) -> DurationsAnswer:
    median, p90, queued = (round(seconds, 1) for seconds in (found.median, found.p90, found.queued))
    return DurationsAnswer(seen=found.seen, median=median, p90=p90, queued=queued)


def workspace(found: Situation, active: int, strategy: str) -> WorkspaceAnswer:
    return WorkspaceAnswer(
        name=found.name,
        strategy=strategy,
        budget=budget_of(found),
        durations=durations_of(found),
        active=active,
        next_look_at=found.next_look_at,
        price=found.price,
        paused_until=found.paused_until,
        paused_because=found.paused_because,
    )
