"""Looking at Exec: what a look can bring, and what it means for the watch.

The adapter (`exec_api.py`) turns whatever happens on the wire into one of these values; `step` decides.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from relay.backoff import capped_exponential
from relay.model import MINUTE, SECOND, EventType, Instant, ScenarioJob, Watch, WatchState
from relay.planner import Plan


@dataclass(frozen=True, slots=True)
class Seen:
    """200 with a job."""

    job: ScenarioJob


@dataclass(frozen=True, slots=True)
class Missing:
    """404: Exec does not know the job, or not yet."""


@dataclass(frozen=True, slots=True)
class KeyRefused:
    """401 or 403: the workspace's key is wrong or the workspace inactive."""

    status: int
    message: str


@dataclass(frozen=True, slots=True)
class Limited:
    """429: the workspace's requests are used up."""

    retry_after: int | None
    """Milliseconds to wait, where Exec said so (`retry_after` in the body or `Retry-After`, seconds or date)."""


@dataclass(frozen=True, slots=True)
class Faulty:
    """No usable answer: 5xx, timeout, connection error, or a 200 that is no job."""

    kind: str
    """`status`, `timeout`, `connection`, `malformed`, `internal` (the relay's own trouble): a bounded set, fit for a
    metric's label."""
    detail: str
    """For people; holds no secret."""


Sighting = Seen | Missing | KeyRefused | Limited | Faulty


@dataclass(frozen=True, slots=True)
class Look:
    """One GET of a job's status, as it went."""

    started_at: Instant
    duration_ms: int
    sighting: Sighting


_FAULTS = ("timeout", "connection", "status", "malformed", "internal")

OUTCOMES = ("seen", "ended", "missing", "key_refused", "limited", *_FAULTS)
"""All that `name_of` can say."""


def name_of(sighting: Sighting) -> str:
    """A word for what a look brought, from a bounded set: fit for a metric's label and the history of looks."""
    match sighting:
        case Seen():
            return "ended" if sees_the_end(sighting) else "seen"
        case Missing():
            return "missing"
        case KeyRefused():
            return "key_refused"
        case Limited():
            return "limited"
        case Faulty(kind):
            return kind


def sees_the_end(sighting: Sighting) -> bool:
    """Whether it shows that the job has ended."""
    return isinstance(sighting, Seen) and sighting.job.ending is not None


# --- what to do about it ---------------------------------------------------------------------------------------

MISSING_LOOKS = 3
MISSING_FOR = 2 * MINUTE
"""A registration may outrun Exec: only after this many 404s over at least this long is a job given up."""

_MISSING_GAPS = (30 * SECOND, 90 * SECOND)
_FAULT_BASE = 5 * SECOND
_FAULT_CAP = 5 * MINUTE
KEY_PROBE = 5 * MINUTE
"""How often a workspace whose key is refused is tried again."""

HINTED = "Exec's callback says that it ended"
HINT_GAP = 10 * SECOND
"""Hints of one job cost at most one look in this time, and in twice as long after each that was not borne out."""
_HINT_CAP = 5 * MINUTE
_UNKNOWN = WatchState.NOT_FOUND

BREAKER_OPENS_AT = 5
"""Failed looks in a row, over all jobs of a workspace, before only probes are sent."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a look means for its watch: the watch as it is now, and the facts it established."""

    watch: Watch
    events: tuple[EventType, ...] = ()


def step(
    watch: Watch,
    look: Look,
    now: Instant,
    max_age: int,
    jitter: float,
    plan: Callable[[Watch], Plan],
    since: Instant = 0,
) -> Step:
    """Design's table 'Looking at Exec', for the watch.

    `plan` gives the next look of a watch that Exec still works on. `jitter` is in [0, 1). A watch is given up as
    expired only by a look that Exec answered: while Exec can't be reached, nobody knows that a job has not ended.

    Ages count from `since` at the earliest: what was stamped before may be of a clock that was wrong.

    A job that only a hint named is nobody's until Exec says that it is there: one 404 ends it, and nobody is told.
    """
    if watch.unconfirmed_since is None:
        return _after_hints(watch, _step(watch, look, now, max_age, jitter, plan, since), now)
    if isinstance(look.sighting, Missing):
        return Step(_ended(replace(watch, looks=watch.looks + 1, last_look_at=look.started_at), _UNKNOWN, now))
    if isinstance(look.sighting, Seen):
        watch = replace(watch, unconfirmed_since=None)
    stepped = _after_hints(watch, _step(watch, look, now, max_age, jitter, plan, since), now)
    return stepped if watch.unconfirmed_since is None else replace(stepped, events=())


def _after_hints(before: Watch, stepped: Step, now: Instant) -> Step:
    """Counts a hint that was not borne out; one that came while the look was under way asks for another look."""
    watch = stepped.watch
    if watch.state is not WatchState.ACTIVE or watch.hinted_at is None or watch.next_look_at is None:
        return stepped
    if watch.is_hinted:
        at = min(watch.next_look_at, max(now, watch.hinted_at))
        return replace(stepped, watch=replace(watch, next_look_at=at, next_look_why=HINTED))
    return replace(stepped, watch=replace(watch, hints=watch.hints + 1)) if before.is_hinted else stepped


def _step(
    watch: Watch,
    look: Look,
    now: Instant,
    max_age: int,
    jitter: float,
    plan: Callable[[Watch], Plan],
    since: Instant,
) -> Step:
    deadline = max(watch.created_at, since) + max_age
    looked = replace(watch, looks=watch.looks + 1, last_look_at=look.started_at)
    match look.sighting:
        case Seen(job) if job.ending:
            return Step(
                _ended(replace(looked, job=job, failures=0, last_error=None), WatchState.SETTLED, now), (job.ending,)
            )
        case Seen(job):
            started = () if _was_started(watch.job) or not _was_started(job) else (EventType.STARTED,)
            looked = replace(looked, job=job, failures=0, missing=0, missing_since=None, last_error=None)
            return _wait_or_expire(looked, plan(looked), now, deadline, started)
        case Missing():
            return _missing(looked, now, since)
        case KeyRefused(status, text):
            return Step(
                _wait(looked, now + KEY_PROBE, f"Exec refuses the key ({status})", f"Exec answered {status}: {text}")
            )
        case Limited(retry_after):
            pause = MINUTE if retry_after is None else retry_after
            return Step(_wait(looked, now + pause, "Exec asked the workspace to wait", "Exec answered 429"))
        case Faulty("internal", detail):
            return Step(_wait(looked, now + _FAULT_BASE, "the relay could not ask Exec", detail))
        case Faulty(kind, detail):
            looked = replace(looked, failures=watch.failures + 1, last_error=detail)
            delay = capped_exponential(looked.failures, _FAULT_BASE, _FAULT_CAP, jitter)
            again = Plan(now + delay, f"look {looked.failures} in a row failed")
            return (
                Step(_wait(looked, again.at, again.why, detail))
                if kind in UNREACHABLE
                else _wait_or_expire(looked, again, now, deadline)
            )


def heeded_at(watch: Watch, now: Instant) -> Instant:
    """When a look for a hint that comes `now` may be made: at once, unless hints have had their looks."""
    if watch.hinted_at is None:
        return now
    gap = min(HINT_GAP << min(watch.hints, 10), _HINT_CAP)
    return max(now, max(watch.hinted_at, watch.last_look_at or 0) + gap)


UNREACHABLE = frozenset({"timeout", "connection"})
"""Kinds of fault in which Exec said nothing at all."""


def counts_against_exec(sighting: Sighting) -> bool:
    """Whether a look says that Exec as a whole is in trouble, not this one job: what the breaker counts."""
    return isinstance(sighting, Faulty) and sighting.kind not in ("malformed", "internal")


def breaker_pause(faults: int, jitter: float) -> int | None:
    """Milliseconds that a workspace waits after so many failed looks in a row; None while the breaker is closed."""
    if faults < BREAKER_OPENS_AT:
        return None
    return capped_exponential(faults - BREAKER_OPENS_AT + 1, 15 * SECOND, 5 * MINUTE, jitter)


def _was_started(job: ScenarioJob | None) -> bool:
    return job is not None and (job.status == "processing" or job.started_at is not None)


def _ended(watch: Watch, state: WatchState, now: Instant) -> Watch:
    return replace(watch, state=state, next_look_at=None, next_look_why="", ended_at=now)


def _wait(watch: Watch, at: Instant, why: str, error: str) -> Watch:
    return replace(watch, next_look_at=at, next_look_why=why, last_error=error)


def _wait_or_expire(
    watch: Watch, next: Plan, now: Instant, deadline: Instant, events: tuple[EventType, ...] = ()
) -> Step:
    if now >= deadline:
        return Step(_ended(watch, WatchState.EXPIRED, now), (*events, EventType.EXPIRED))
    return Step(replace(watch, next_look_at=min(max(next.at, now), deadline), next_look_why=next.why), events)


def _missing(watch: Watch, now: Instant, counted_from: Instant) -> Step:
    watch = replace(watch, missing=watch.missing + 1, missing_since=watch.missing_since or now, failures=0)
    since = max(watch.missing_since or now, counted_from)
    if watch.missing >= MISSING_LOOKS and now - since >= MISSING_FOR:
        return Step(_ended(watch, WatchState.NOT_FOUND, now), (EventType.NOT_FOUND,))
    gap = _MISSING_GAPS[min(watch.missing, len(_MISSING_GAPS)) - 1]
    why = f"Exec does not know the job yet ({min(watch.missing, MISSING_LOOKS)} of {MISSING_LOOKS} looks)"
    return Step(_wait(watch, now + gap, why, "Exec answered 404"))
