"""Jobs of the fake Exec: a job's course is drawn when it is created, and its state is a pure function of the time.

Source: Exec's page 'Get Scenario job status', its ScenarioJob and examples. `slug` is from the create-job page.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from math import log
from typing import Any

from relay.model import MINUTE, SECOND, Instant, to_rfc3339

HOST = "acme-corp.app.exec.com"
"""The host of scenario URLs in the page's examples."""


class Outcome(StrEnum):
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProfile:
    """How long jobs take and how they end. Durations in milliseconds; shares from 0 to 1, together 1 at most."""

    median: int = 5 * MINUTE
    """Of the processing; Exec's page says 'about 5 minutes'."""
    sigma: float = 0.35
    """Of the logarithm of the processing time (lognormal); 0: every job takes the median."""
    queued: int = 5 * SECOND
    fail: float = 0.0
    cancel: float = 0.0
    stuck: float = 0.0
    """The share of jobs that never end."""
    speed: float = 1.0
    """Divides every duration."""

    def __post_init__(self) -> None:
        shares = (self.fail, self.cancel, self.stuck)
        if min(shares) < 0 or sum(shares) > 1:
            raise ValueError("the shares of failed, cancelled and stuck jobs are 0 to 1, and together 1 at most")
        if self.median <= 0 or self.queued < 0 or self.sigma < 0 or self.speed <= 0:
            raise ValueError("median and speed are above 0, queued and sigma not below it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job and its whole course."""

    id: str
    key: str
    """The API key that created it: other keys get 404."""
    created_at: Instant
    started_at: Instant
    """When it starts, unless it ends before."""
    ended_at: Instant | None
    """When it ends; None: never."""
    outcome: Outcome
    scenario: Mapping[str, Any]
    """Shown once it completed."""
    error: Mapping[str, Any]
    """Shown once it failed."""


def random_job(profile: JobProfile, job_id: str, key: str, now: Instant, rng: random.Random) -> Job:
    """A job created `now`, with a course drawn from the profile. Every job takes the same number of draws."""
    processing = rng.lognormvariate(log(profile.median), profile.sigma) / profile.speed
    draw, failure, name, scenario_id = rng.random(), rng.choice(FAILURES), rng.choice(NAMES), new_id(rng)
    started_at = now + round(profile.queued / profile.speed)
    stuck = profile.stuck
    fails = stuck + profile.fail
    cancels = fails + profile.cancel
    return Job(
        id=job_id,
        key=key,
        created_at=now,
        started_at=started_at,
        ended_at=None if draw < stuck else started_at + max(round(processing), 1),
        outcome=Outcome.FAILED if draw < fails else Outcome.CANCELLED if draw < cancels else Outcome.COMPLETED,
        scenario=scenario(scenario_id, name),
        error=failure,
    )


def status(job: Job, now: Instant) -> str:
    """Exec's status of the job."""
    if ended(job, now):
        return job.outcome.value
    return "processing" if now >= job.started_at else "queued"


def ended(job: Job, now: Instant) -> bool:
    return job.ended_at is not None and now >= job.ended_at


def scripted_job(job: Job, queued: int, duration: int | None, outcome: Outcome, name: str | None) -> Job:
    """The job with the given course; `duration` None: it never ends. Durations in milliseconds."""
    started_at = job.created_at + queued
    return replace(
        job,
        started_at=started_at,
        ended_at=None if duration is None else started_at + duration,
        outcome=outcome,
        scenario=job.scenario if name is None else scenario(job.scenario["id"], name),
    )


def cancel(job: Job, now: Instant) -> Job:
    """The job, cancelled now. It must not have ended."""
    return replace(job, ended_at=now, outcome=Outcome.CANCELLED)


def to_json(job: Job, now: Instant) -> dict[str, Any]:
    """The job as a poll returns it: keys in the page's order, null if the page has null."""
    end = job.ended_at if ended(job, now) else None
    start = job.started_at if job.started_at <= (now if end is None else end) else None
    current = status(job, now)
    return {
        "id": job.id,
        "status": current,
        "scenario": dict(job.scenario) if current == Outcome.COMPLETED else None,
        "error": dict(job.error) if current == Outcome.FAILED else None,
        "created_at": to_rfc3339(job.created_at),
        "started_at": None if start is None else to_rfc3339(start),
        "completed_at": None if end is None else to_rfc3339(end),
        "duration_seconds": None if start is None or end is None else _seconds(end - start),
    }


def new_id(rng: random.Random) -> str:
    """12 hexadecimal characters, like Exec's ids."""
    return f"{rng.getrandbits(48):012x}"


def scenario(id: str, name: str) -> dict[str, Any]:
    """A scenario with its URL; the slug contains the start of the id, so that equal names get different slugs."""
    name_words = re.findall(r"[a-z0-9]+", name.lower().replace("'", ""))
    slug = "-".join([*name_words[:6], id[:4]]) if name_words else f"scenario-{id[:4]}"
    return {"id": id, "name": name, "slug": slug, "url": f"https://{HOST}/scenarios/{slug}"}


def _seconds(duration: int) -> int | float:
    return duration // SECOND if duration % SECOND == 0 else duration / SECOND


FAILURES = (
    {"code": "GENERATION_ERROR", "message": "Unable to generate scenario from the provided prompt"},
    {"code": "GENERATION_ERROR", "message": 'The agent could not agree on a "customer" <persona> & gave up'},
    {"code": "CONTENT_POLICY_VIOLATION", "message": "The prompt was declined by the content policy"},
)

NAMES = (
    "Discovery Call with IT Director",
    "Renewal Negotiation: 'We're Looking at Alternatives'",
    'Handling "It\'s Too Expensive" 💸',
    "De-escalating an Angry Customer <tier 2> & Winning Back Trust",
    "Coaching a High Performer Who Has Checked Out",
    "First Week as a Manager: Saying No to Your Former Peers",
    "Budget Talk: 10% Off, or We Walk",
    "Präsentation vor dem Vorstand: Änderungen im Führungskräfte-Programm",
    "Entretien annuel : annoncer une déception sans démotiver",
    "Conversación difícil: ¿por qué perdimos la cuenta?",
    "مكالمة استكشافية مع مدير تقنية المعلومات",
    "שיחת משוב עם עובדת מצטיינת",
    "初めての商談:慎重なIT部長を説得する",
    "어려운 고객과의 갱신 협상",
    "Переговоры о цене с закупками",
    "🔥 Crisis Simulation: Data Breach, Hour One 🔥",
    "*Bold* _Moves_: Pitching `DevTools` to a ~Skeptical~ CTO",
    "@channel Outage: Telling Everyone at Once",
    "Warehouse Safety Walk / Near-Miss Conversation #7",
    "Multi-Stakeholder Enterprise Expansion Conversation Between a Customer Success Lead, a Procurement Officer Who "
    "Has Never Heard of the Product, and a Legal Counsel Who Would Rather Be Anywhere Else on This Rainy Tuesday",
)
"""Varied on purpose: quotes, markup, mentions, emoji, right-to-left, ideographs, and one over 150 characters."""
