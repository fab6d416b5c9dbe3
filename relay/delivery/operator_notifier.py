"""Operator notifications: news about the relay itself, for the endpoints that `operator.endpoints` names.

They are events and deliveries in the same outbox as those about jobs: signed, retried, and resent on request.

News about endpoints and deliveries is stored in the transaction that changes them, and news about Exec in that of the
poll which brings it. Only news about the budget, and of changes that were reported too often, waits in memory for its
own transaction, and a crash may lose it. The next run then compares the state with the last reported one
(`restore_states`), and reports the difference."""

import asyncio
from collections.abc import Callable, Iterable

from relay.config import OperatorSection
from relay.delivery.enqueue import enqueue
from relay.errors import StoreError
from relay.model import HOUR, OPERATOR_WORKSPACE, Event, OperatorEventType, event_id
from relay.store import Store, Tx
from relay.store.tables import endpoints, events
from relay.telemetry import Telemetry
from relay.telemetry.state_changes import News, StateChanges, Subject, reported_state

DEDUPLICATED_FOR = HOUR
"""Milliseconds within which all relays on one store together send the same news about the same subject once."""

_MAX_WAITING = 1_000
"""News that wait while the store fails; further news are in the log only."""

_RETRY_AFTER = 5
"""Seconds until the store is tried again."""


class OperatorNotifier:
    """Stores news in a transaction of the caller, or queues it and writes it to the outbox itself."""

    def __init__(
        self, store: Store, section: Callable[[], OperatorSection], telemetry: Telemetry, on_events: Callable[[], None]
    ) -> None:
        self._store, self._section, self._telemetry, self._on_events = store, section, telemetry, on_events
        self._news: asyncio.Queue[News] = asyncio.Queue(_MAX_WAITING)

    def put(self, news: News) -> None:
        """Queues one piece of news, if the configuration names an endpoint for it."""
        if self._section().endpoints and not self._news.full():
            self._news.put_nowait(news)

    def store(self, tx: Tx, news: Iterable[News | None]) -> None:
        """Stores news of changes that `tx` makes, if the configuration names an endpoint for it."""
        section = self._section()
        for item in news if section.endpoints else ():
            if item is not None:
                emit(tx, item, section)

    async def run(self) -> None:
        """Writes queued news until cancelled; repeats while the store fails."""
        while True:
            news = await self._news.get()
            while not await self._write(news):  # noqa: ASYNC110 (it waits for the store)
                await asyncio.sleep(_RETRY_AFTER)

    async def flush(self) -> None:
        """Tries once to write each piece of queued news; what can't be stored is in the log only."""
        while not self._news.empty():
            await self._write(self._news.get_nowait())

    async def _write(self, news: News) -> bool:
        try:
            if await self._store.write(lambda tx: emit(tx, news, self._section())) is not None:
                self._on_events()
        except StoreError as error:
            self._telemetry.log.warning("an operator notification can't be stored yet (%s): %s", news.message, error)
            return False
        except Exception:
            self._telemetry.log.exception("an operator notification is lost, it could not be made: %s", news.message)
        return True


def restore_states(tx: Tx, workspaces: Iterable[str], changes: StateChanges) -> None:
    """Restores in `changes` the states of Exec and of the budgets that were reported last: recoveries are news too."""
    for workspace in workspaces:
        subjects = (Subject("exec", workspace), Subject("rate_limit", workspace), Subject("budget", workspace))
        by_key = events.for_jobs(tx, OPERATOR_WORKSPACE, [_key(subject) for subject in subjects])
        for subject in subjects:
            if (reported := by_key.get(_key(subject))) and isinstance(type := reported[-1].type, OperatorEventType):
                changes.restore(subject, reported_state(subject.kind, type))


def _key(subject: Subject) -> str:
    return f"{subject.kind}:{subject.id}"


def emit(tx: Tx, news: News, section: OperatorSection) -> Event | None:
    """Enqueues the news for the operator's endpoints. None if it is a repetition, or above the hourly limit."""
    subject = _key(news.subject)
    previous_events = events.for_job(tx, OPERATOR_WORKSPACE, subject)
    last = previous_events[-1] if previous_events else None
    if _is_repeated(news, last) or _is_over_limit(tx, news, section):
        return None
    names = set(section.endpoints)
    standing = endpoints.all_standing(tx)
    targets = [endpoint for endpoint in standing if endpoint.name in names and not endpoint.is_pulled]
    if not targets:
        return None
    event = Event(
        id=event_id(OPERATOR_WORKSPACE, subject, news.type, last.created_at if last else None),
        workspace=OPERATOR_WORKSPACE,
        job_id=subject,
        type=news.type,
        occurred_at=news.at,
        job=_details(news),
        created_at=news.at,
    )
    event = events.add(tx, event)
    enqueue(tx, event, [(endpoint, None) for endpoint in targets], news.at, first_delay=0)
    return event


def _is_repeated(news: News, last: Event | None) -> bool:
    if news.type is OperatorEventType.RECOVERED:
        return last is None or last.type is OperatorEventType.RECOVERED
    return last is not None and last.type is news.type and 0 <= news.at - last.created_at < DEDUPLICATED_FOR


def _is_over_limit(tx: Tx, news: News, section: OperatorSection) -> bool:
    """Whether the last hour has `max_per_hour` events. A recovery is always sent, because its problem was."""
    if news.type is OperatorEventType.RECOVERED:
        return False
    return events.count_since(tx, OPERATOR_WORKSPACE, news.at - HOUR) >= section.max_per_hour


def _details(news: News) -> dict[str, object]:
    subject = news.subject
    return {
        "message": news.message,
        "workspace": None if subject.is_endpoint else subject.id,
        "endpoint": {"id": subject.id, "name": subject.label or None} if subject.is_endpoint else None,
    }
