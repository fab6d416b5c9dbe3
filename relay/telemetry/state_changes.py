"""State changes that an operator wants to know: an Exec key refused, Exec unreachable, a budget used up, an endpoint
failing or disabled, and each of them back to normal.

Pure: `now` is an argument and a change is a value. `Telemetry` logs the changes; the operator's endpoints get them too.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from relay.model import HOUR, Delivery, Endpoint, Instant, OperatorEventType

MAX_CHANGES = 4
"""Changes of one subject that are reported within `INTERVAL`. Later ones wait: a subject that changes to and fro is
reported with the state it has when its turn comes, or not at all if that is the state reported last."""

INTERVAL = HOUR


class State(StrEnum):
    """What a subject can be in."""

    WORKING = "working"
    KEY_REFUSED = "key_refused"
    UNREACHABLE = "unreachable"
    ANSWERS_ERRORS = "answers_errors"
    NOT_EXEC = "not_exec"
    RATE_LIMITED = "rate_limited"
    BUDGET_EXHAUSTED = "budget_exhausted"
    FAILING = "failing"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Subject:
    """What has a state: Exec as a workspace sees it, Exec's rate limit or the request budget of a workspace, an
    endpoint or the deliveries to it."""

    kind: Literal["exec", "rate_limit", "budget", "endpoint", "deliveries"]
    id: str
    """The workspace's name or the endpoint's id."""
    label: str = field(default="", compare=False)
    """The endpoint's name, if it has one."""

    @property
    def name(self) -> str:
        """The subject as text."""
        return f"{'endpoint' if self.is_endpoint else 'workspace'} {self.label or self.id}"

    @property
    def is_endpoint(self) -> bool:
        """Whether `id` is that of an endpoint, not a workspace's name."""
        return self.kind in ("endpoint", "deliveries")


@dataclass(frozen=True, slots=True)
class Condition:
    """A state, and why in words; the words hold no secret."""

    state: State
    reason: str = ""


WORKING = Condition(State.WORKING)


@dataclass(frozen=True, slots=True)
class StateChange:
    """One change to report."""

    subject: Subject
    before: State
    after: Condition
    at: Instant


def endpoint_subject(endpoint: Endpoint) -> Subject:
    """The endpoint as a subject."""
    return Subject("endpoint", endpoint.id, endpoint.name or "")


def endpoint_condition(endpoint: Endpoint, error: str | None = None) -> Condition:
    """The endpoint's condition; `error` is what its last failed attempt brought."""
    if not endpoint.enabled:
        return Condition(State.DISABLED, endpoint.disabled_reason or "")
    if endpoint.failures:
        return Condition(State.FAILING, error or "")
    return WORKING


@dataclass(slots=True)
class _Reported:
    """What was reported of a subject, and its condition now."""

    state: State
    condition: Condition
    times: deque[Instant] = field(default_factory=lambda: deque(maxlen=MAX_CHANGES))

    def may_report(self, now: Instant) -> bool:
        return len(self.times) < MAX_CHANGES or not 0 <= now - self.times[0] < INTERVAL

    def is_over(self, now: Instant) -> bool:
        """Whether the state can be forgotten."""
        is_old = not self.times or not 0 <= now - self.times[-1] < INTERVAL
        return is_old and self.state is State.WORKING is self.condition.state


class StateChanges:
    """Compares each subject's condition with the one reported last. Not thread-safe."""

    def __init__(self) -> None:
        self._reported: dict[Subject, _Reported] = {}
        self._restored: dict[Subject, State] = {}

    def restore(self, subject: Subject, state: State) -> None:
        """The state that an earlier run of the relay left; used the first time that the subject is observed."""
        if state is not State.WORKING:
            self._restored[subject] = state

    def observe(
        self, subject: Subject, condition: Condition, now: Instant, before: State | None = None
    ) -> StateChange | None:
        """The change to report now, if there is one. `before` is the state that the store had, if it has one."""
        reported = self._reported.get(subject)
        if reported is None:
            start = before or self._restored.pop(subject, State.WORKING)
            if condition.state is start and (before or start is State.WORKING):
                return None
            if before is None and condition.state is not State.WORKING:
                start = State.WORKING  # trouble that outlasts a restart is reported again: this run's log lacks it
            reported = self._reported[subject] = _Reported(start, condition)
        elif before is not None and before is not reported.condition.state:
            reported.state = before  # another relay on the store saw and reported the changes in between
        if reported.condition.state is not condition.state or condition.reason:
            reported.condition = condition
        return self._change(subject, reported, now)

    def due(self, now: Instant) -> list[StateChange]:
        """The changes that had to wait and are due now."""
        changes = [self._change(subject, reported, now) for subject, reported in self._reported.items()]
        for subject in [subject for subject, reported in self._reported.items() if reported.is_over(now)]:
            del self._reported[subject]
        return [change for change in changes if change is not None]

    def _change(self, subject: Subject, reported: _Reported, now: Instant) -> StateChange | None:
        if reported.condition.state is reported.state or not reported.may_report(now):
            return None
        before, reported.state = reported.state, reported.condition.state
        reported.times.append(now)
        return StateChange(subject, before, reported.condition, now)


def describe_change(change: StateChange) -> str:
    """The change as one line for an operator: what is wrong, what the relay does next, what to do."""
    name = change.subject.name
    if change.after.state is State.WORKING:
        return name + _RECOVERED.get(change.before, " works again")
    problem, next_step = _TROUBLE[change.after.state]
    reason = f": {change.after.reason}" if change.after.reason else ""
    return f"{name}{problem}{reason}. {next_step}"


_RETRIED = "The relay goes on polling, less often; no ending is lost"
_TROUBLE = {
    State.KEY_REFUSED: (
        ": Exec refuses the API key",
        "Its jobs are not polled; one poll every 5 minutes tries the key. Check exec.api_key",
    ),
    State.UNREACHABLE: (": Exec is unreachable", _RETRIED),
    State.ANSWERS_ERRORS: (": Exec answers with errors", _RETRIED),
    State.NOT_EXEC: (
        ": the answers are not Exec's; a gateway, a login page or a wrong exec.base_url answers instead",
        _RETRIED,
    ),
    State.RATE_LIMITED: (
        ": Exec answers 429, the workspace's requests are used up, by this relay or by other tools with this key",
        "Polling goes on as soon as Exec allows it",
    ),
    State.BUDGET_EXHAUSTED: (": the request budget is used up", "Endings are reported late until then"),
    State.FAILING: (" fails", "Its deliveries are retried; the next line about it says that it works or is disabled"),
    State.DISABLED: (" is disabled", "Its deliveries are held until it is enabled"),
}
_RECOVERED = {
    State.KEY_REFUSED: ": Exec accepts the API key again; its jobs are polled",
    State.UNREACHABLE: ": Exec is reachable again",
    State.ANSWERS_ERRORS: ": Exec answers without errors again",
    State.NOT_EXEC: ": Exec itself answers again",
    State.RATE_LIMITED: ": Exec answers polls again",
    State.BUDGET_EXHAUSTED: ": the request budget allows polls again",
    State.DISABLED: " is enabled again; the deliveries held for it are sent",
}


# --- news for the operator's endpoints ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class News:
    """One message for the operator's endpoints; `message` is a line of the log and holds no secret."""

    type: OperatorEventType
    subject: Subject
    message: str
    at: Instant


_NEWS_OF_STATE = {
    State.KEY_REFUSED: OperatorEventType.KEY_REFUSED,
    State.UNREACHABLE: OperatorEventType.UNREACHABLE,
    State.ANSWERS_ERRORS: OperatorEventType.UNREACHABLE,
    State.NOT_EXEC: OperatorEventType.UNREACHABLE,
    State.RATE_LIMITED: OperatorEventType.BUDGET_EXHAUSTED,
    State.BUDGET_EXHAUSTED: OperatorEventType.BUDGET_EXHAUSTED,
    State.DISABLED: OperatorEventType.ENDPOINT_DISABLED,
    State.WORKING: OperatorEventType.RECOVERED,
}


def news_of(change: StateChange) -> News | None:
    """The news in a change of state. An endpoint's first failed attempt is none: most endpoints work again soon."""
    type = _NEWS_OF_STATE.get(change.after.state)
    return None if type is None else News(type, change.subject, describe_change(change), change.at)


def endpoint_news(before: Endpoint, after: Endpoint, now: Instant, error: str | None = None) -> News | None:
    """The news if the endpoint was disabled, enabled, or works again; `error` is what its last failed attempt
    brought."""
    state_before, condition = endpoint_condition(before).state, endpoint_condition(after, error)
    if condition.state is state_before:
        return None
    return news_of(StateChange(endpoint_subject(after), state_before, condition, now))


def failing_endpoint_news(endpoint: Endpoint, warning: str, now: Instant) -> News:
    """The news that an endpoint fails, in the words of the warning."""
    subject = endpoint_subject(endpoint)
    return News(OperatorEventType.ENDPOINT_FAILING, subject, f"{subject.name} {warning}", now)


def failed_delivery_news(delivery: Delivery, endpoint: Endpoint, error: str, now: Instant) -> News | None:
    """The news that a delivery failed for good; None if it was a delivery of such news."""
    if isinstance(delivery.event_type, OperatorEventType):
        return None
    subject = Subject("deliveries", endpoint.id, endpoint.name or "")
    text = f"{subject.name}: delivery {delivery.id} of {delivery.event_type.value} for job {delivery.job_id} failed"
    message = f"{text} for good: {error}. Resend it once the receiver works"
    return News(OperatorEventType.DELIVERY_FAILED, subject, message, now)


def reported_state(kind: str, type: OperatorEventType) -> State:
    """The state in which the subject was when this was the last news about it."""
    match type:
        case OperatorEventType.KEY_REFUSED:
            return State.KEY_REFUSED
        case OperatorEventType.UNREACHABLE:
            return State.UNREACHABLE
        case OperatorEventType.BUDGET_EXHAUSTED:
            return State.RATE_LIMITED if kind == "rate_limit" else State.BUDGET_EXHAUSTED
    return State.WORKING
