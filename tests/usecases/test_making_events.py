"""Events: their time and id follow from stored values; one id always has one body."""

from dataclasses import replace

import pytest

from relay.model import (
    DAY,
    ENDINGS_AT_EXEC,
    HOUR,
    MINUTE,
    SECOND,
    EventType,
    Instant,
    ScenarioJob,
    Watch,
    WatchState,
    from_rfc3339,
)
from relay.polling import transitions
from relay.polling.poll_recorder import make_event
from tests.make import NOON

WATCH = Watch(workspace="default", job_id="j1", state=WatchState.ACTIVE, created_at=NOON)
CREATED, STARTED, ENDED = "2024-03-01T10:00:00Z", "2024-03-01T10:00:05Z", "2024-03-01T10:00:45Z"


def seen(type: EventType, **fields: object) -> Watch:
    """A watch whose job Exec showed so."""
    status = type.value.removeprefix("job.") if type in ENDINGS_AT_EXEC else "processing"
    return replace(WATCH, job=ScenarioJob.model_validate({"id": "j1", "status": status, **fields}))


def instant(text: str) -> Instant:
    at = from_rfc3339(text)
    assert at is not None
    return at


@pytest.mark.parametrize("type", EventType)
@pytest.mark.parametrize("fields", [{}, {"created_at": CREATED}, {"created_at": CREATED, "started_at": STARTED}])
def test_the_time_of_the_poll_does_not_change_the_event(type: EventType, fields: dict[str, str]) -> None:
    """Another relay, or the same after a restore, finds it hours later: the same id, time and job."""
    for watch in (WATCH, seen(type, **fields)):
        first, again = (make_event(watch, type, at, DAY) for at in (NOON + MINUTE, NOON + 5 * HOUR))
        assert replace(again, created_at=first.created_at) == first


@pytest.mark.parametrize("type", ENDINGS_AT_EXEC)
def test_an_ending_has_the_time_that_exec_gives(type: EventType) -> None:
    """If it doesn't, at the newest instant that it gives of the job; if it gives none, when the watching began."""
    times = {"created_at": CREATED, "started_at": STARTED, "completed_at": ENDED}
    for known, at in ((3, ENDED), (2, STARTED), (1, CREATED)):
        watch = seen(type, **dict(list(times.items())[:known]))
        assert make_event(watch, type, NOON + MINUTE, DAY).occurred_at == instant(at)
    assert make_event(seen(type), type, NOON + MINUTE, DAY).occurred_at == NOON


def test_the_relay_s_own_endings_have_a_time_of_the_watch() -> None:
    """As old as polling.max_age; looked for as long as a job is looked for."""
    assert make_event(WATCH, EventType.EXPIRED, NOON + 2 * DAY, DAY).occurred_at == NOON + DAY
    assert make_event(WATCH, EventType.NOT_FOUND, NOON + DAY, DAY).occurred_at == NOON + transitions.NOT_FOUND_MIN_AGE


@pytest.mark.parametrize("type", EventType)
def test_an_ending_at_exec_has_one_id_and_the_relay_s_own_one_per_watch(type: EventType) -> None:
    """A job that is taken up again and given up again is another fact; that Exec says how it ended is not."""
    watch = seen(type, created_at=CREATED, started_at=STARTED, completed_at=ENDED)
    again = replace(watch, created_at=NOON + SECOND)
    same = make_event(watch, type, NOON, DAY).id == make_event(again, type, NOON, DAY).id
    assert same is (type in ENDINGS_AT_EXEC)
    # Without a time of Exec's it has the watching's: then the id is the watching's too.
    timeless = make_event(seen(type), type, NOON, DAY)
    other = make_event(replace(seen(type), created_at=NOON + SECOND), type, NOON, DAY)
    assert timeless.id != other.id
