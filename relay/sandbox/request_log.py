"""What the Exec stand-in was asked, and when: so that others can count polls, 429s and delays from its own records."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from relay.model import MINUTE, Instant
from relay.sandbox.job_callbacks import CallbackResult
from relay.sandbox.job_simulation import Job, ended, status


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request to Exec's API."""

    at: Instant
    key: str
    """The API key, masked; `?` where it was none of ours."""
    call: str
    """`poll`, `create` or `cancel`."""
    job_id: str | None
    status: int | None
    """None: no answer, or half of one."""
    job_status: str | None
    """The job's status, where one was told."""
    fault: str | None


def mask(key: str) -> str:
    """`exec_live_…` and the last four: enough to tell two apart."""
    return f"{key[:10]}…{key[-4:]}"


class RequestLog:
    """The last `keep` requests. `listener` hears of each."""

    def __init__(self, keep: int, listener: Callable[[LoggedRequest], None] | None = None) -> None:
        self.asked: deque[LoggedRequest] = deque(maxlen=keep)
        self._listener = listener
        self._all = 0

    def add(self, asked: LoggedRequest) -> None:
        self.asked.append(asked)
        self._all += 1
        if self._listener:
            self._listener(asked)

    def stats(
        self, jobs: Mapping[str, Job], called: Mapping[str, CallbackResult], now: Instant, job_id: str | None = None
    ) -> dict[str, Any]:
        """By key and by job (or of one job): what was asked when and what came of it. Times are `Instant`s."""
        polls = defaultdict(list)
        for one in self.asked:
            if one.call == "poll" and one.job_id is not None and job_id in (None, one.job_id):
                polls[one.job_id].append(
                    {"at": one.at, "status": one.status, "said": one.job_status, "fault": one.fault},
                )
        known = [*jobs, *(id for id in polls if id not in jobs)] if job_id is None else [job_id]
        return {
            "now": now,
            "forgotten": self._all - len(self.asked),
            "keys": {key: self._of_key(key) for key in sorted({one.key for one in self.asked})},
            "jobs": {id: {**_life(jobs.get(id), called.get(id), now), "polls": polls.get(id, [])} for id in known},
        }

    def _of_key(self, key: str) -> dict[str, Any]:
        mine = [one for one in self.asked if one.key == key]
        calls = Counter(one.call for one in mine)
        return {
            "requests": len(mine),
            "polls": calls["poll"],
            "creates": calls["create"],
            "cancels": calls["cancel"],
            "statuses": dict(Counter("none" if one.status is None else str(one.status) for one in mine)),
            "busiest_minute": _busiest(mine, MINUTE),
        }


def _life(job: Job | None, called: CallbackResult | None, now: Instant) -> dict[str, Any]:
    if job is None:
        return {"key": None, "status": None, "created_at": None, "completed_at": None, "callback": None}
    return {
        "key": mask(job.key),
        "status": status(job, now),
        "created_at": job.created_at,
        "completed_at": job.ended_at if ended(job, now) else None,
        "callback": called and {"at": called.at, "status": called.status, "error": called.error},
    }


def _busiest(asked: list[LoggedRequest], span: int) -> int:
    """The most requests in any `span` milliseconds."""
    most, first = 0, 0
    for last, one in enumerate(asked):
        while one.at - asked[first].at >= span:
            first += 1
        most = max(most, last - first + 1)
    return most
