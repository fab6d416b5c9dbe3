"""Looking at Exec: what a look can bring.

The adapter (`exec_api.py`) turns whatever happens on the wire into one of these values.
"""

from dataclasses import dataclass

from relay.model import Instant, ScenarioJob


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
    """`status`, `timeout`, `connection`, `malformed`: a bounded set, fit for a metric's label."""
    detail: str
    """For people; holds no secret."""


Sighting = Seen | Missing | KeyRefused | Limited | Faulty


@dataclass(frozen=True, slots=True)
class Look:
    """One GET of a job's status, as it went."""

    started_at: Instant
    duration_ms: int
    sighting: Sighting
