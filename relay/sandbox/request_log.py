"""The requests that the fake Exec received: tests and benchmarks count polls, 429s and delays from them."""

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
    """The API key, masked; `?` for an unknown key."""
    call: str
    """`poll`, `create` or `cancel`."""
    job_id: str | None
    status: int | None
    """None: no response, or half of one."""
    job_status: str | None
    """The job's status in the response, if there is one."""
    fault: str | None


def mask(key: str) -> str:
    """`exec_live_…` and the last four characters."""
    return f"{key[:10]}…{key[-4:]}"


class RequestLog:
    """The last `keep` requests. `listener` is called for each."""

    def __init__(self, keep: int, listener: Callable[[LoggedRequest], None] | None = None) -> None:
        self.requests: deque[LoggedRequest] = deque(maxlen=keep)
        self._listener = listener
        self._total = 0

    def add(self, request: LoggedRequest) -> None:
        self.requests.append(request)
        self._total += 1
        if self._listener:
            self._listener(request)

    def stats(
        self,
        jobs: Mapping[str, Job],
        callback_results: Mapping[str, CallbackResult],
        now: Instant,
        job_id: str | None = None,
    ) -> dict[str, Any]:
        """Requests and their outcomes by key and by job (or of one job). Times are `Instant`s."""
        polls = defaultdict(list)
        for request in self.requests:
            if request.call == "poll" and request.job_id is not None and job_id in (None, request.job_id):
                polls[request.job_id].append(
                    {
                        "at": request.at,
                        "status": request.status,
                        "job_status": request.job_status,
                        "fault": request.fault,
                    },
                )
        job_ids = [*jobs, *(id for id in polls if id not in jobs)] if job_id is None else [job_id]
        return {
            "now": now,
            "forgotten": self._total - len(self.requests),
            "keys": {key: self._of_key(key) for key in sorted({request.key for request in self.requests})},
            "jobs": {
                id: {**_life(jobs.get(id), callback_results.get(id), now), "polls": polls.get(id, [])} for id in job_ids
            },
        }

    def _of_key(self, key: str) -> dict[str, Any]:
        requests = [request for request in self.requests if request.key == key]
        calls = Counter(request.call for request in requests)
        return {
            "requests": len(requests),
            "polls": calls["poll"],
            "creates": calls["create"],
            "cancels": calls["cancel"],
            "statuses": dict(Counter("none" if logged.status is None else str(logged.status) for logged in requests)),
            "busiest_minute": _busiest(requests, MINUTE),
        }


def _life(job: Job | None, callback_result: CallbackResult | None, now: Instant) -> dict[str, Any]:
    if job is None:
        return {"key": None, "status": None, "created_at": None, "completed_at": None, "callback": None}
    return {
        "key": mask(job.key),
        "status": status(job, now),
        "created_at": job.created_at,
        "completed_at": job.ended_at if ended(job, now) else None,
        "callback": callback_result
        and {"at": callback_result.at, "status": callback_result.status, "error": callback_result.error},
    }


def _busiest(requests: list[LoggedRequest], span: int) -> int:
    """The most requests in any `span` milliseconds."""
    busiest, first = 0, 0
    for last, request in enumerate(requests):
        while request.at - requests[first].at >= span:
            first += 1
        busiest = max(busiest, last - first + 1)
    return busiest
