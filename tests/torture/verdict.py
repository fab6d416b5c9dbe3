"""The verdict: counts from the records of receivers and of Exec, not from what the relay says of itself.

The relay is asked one thing only: which of the registrations that it answered 201 to it still shows.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from standardwebhooks.webhooks import Webhook

from relay.model import DAY, MINUTE, SECOND, Instant
from relay.sandbox.job_simulation import Job
from relay.sandbox.receiver import Received
from relay.sandbox.request_log import LoggedRequest

IN_FLIGHT = 3 * SECOND
"""How long an attempt may be under way, from its arrival until the relay has written down what came of it: the
`delivery.timeout` of these relays, and a second for the store."""

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A registration that the relay answered 201 to. `path`: where its receiver is; None: standing endpoints only."""

    id: str
    job_id: str
    path: str | None


@dataclass(frozen=True, slots=True)
class Disturbance:
    """When relays were hurt: attempts then in flight may be made again, and no others."""

    begins: Instant
    ends: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is judged."""

    accepted: Sequence[Accepted]
    standing: Sequence[str]
    """Paths of the receivers that hear of every job."""
    received: Sequence[Received]
    secret: str = field(repr=False)
    jobs: Mapping[str, Job]
    asked: Sequence[LoggedRequest]
    shown: Collection[str]
    """Ids of the registrations that the relay shows at the end."""
    disturbances: Sequence[Disturbance] = ()
    in_vain: Mapping[str, int] = field(default_factory=dict)
    """Requests to register that had to be made again, by the status that they were answered."""
    lasting: Callable[[bytes], object] = bytes
    """What of a body has to be the same whenever it is sent; all of it if left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is counted; each text names one case. All but `repeats` have to be empty."""

    registrations: int
    in_vain: Mapping[str, int]
    expected: int
    receipts: int
    lost: list[str]
    """Events that a receiver should have taken, with a 2xx, and did not."""
    changed: list[str]
    """Deliveries that came with two ids or two bodies, or with a signature that is not theirs."""
    untrue: list[str]
    """Endings told that were not so."""
    repeats: int
    """Deliveries made again that were in flight when relays were hurt."""
    oldest_repeat: int
    """The longest in milliseconds that one of these had been under way."""
    duplicates: list[str]
    """Deliveries made again although the receiver had taken them and no relay was hurt meanwhile."""
    missing: list[str]
    """Registrations answered 201 that the relay does not show at the end."""
    overdrafts: list[str]
    """429s of Exec that nobody had ordered."""
    busiest_minute: int
    busiest_day: int

    @property
    def holds(self) -> bool:
        """Whether nothing forbidden happened, and something happened at all."""
        return self.expected > 0 and not any(found for _, found in self._counted())

    def _counted(self) -> list[tuple[str, list[str]]]:
        return [
            ("events lost", self.lost),
            ("deliveries with a changed id or body", self.changed),
            ("endings told that were not so", self.untrue),
            ("duplicates of what was not in flight", self.duplicates),
            ("registrations answered 201, then missing", self.missing),
            ("budget overdrafts", self.overdrafts),
        ]

    def text(self, title: str) -> str:
        """The verdict as text, with some of the cases."""
        vain = ", ".join(f"{number} {status}" for status, number in sorted(self.in_vain.items())) or "none"
        lines = [
            f"{title}: {'HOLDS' if self.holds else 'BROKEN'}",
            f"  {self.registrations:>8}  registrations answered 201; requests in vain before: {vain}",
            f"  {self.expected:>8}  events that receivers were to hear of; {self.receipts} requests came to them",
            f"  {self.repeats:>8}  made again: in flight, for {self.oldest_repeat} ms at most, when relays were hurt",
            f"  {self.busiest_minute:>8}  requests to Exec in the busiest minute, {self.busiest_day} in 24 hours",
        ]
        for name, found in self._counted():
            lines.append(f"  {len(found):>8}  {name}")
            lines += [f"            {one}" for one in found[:_SHOWN]]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Told:
    """What a body of the format `standard` says."""

    job_id: str
    type: str


def judge(evidence: Evidence) -> Verdict:
    """Counts. A job's ending is due at the paths that registered it, and at the standing endpoints."""
    due = {(one.job_id, path) for one in evidence.accepted for path in (one.path, *evidence.standing) if path}
    told: dict[tuple[str, str], list[tuple[Received, str]]] = defaultdict(list)
    changed = [f"{one.path}: {why}" for one in evidence.received if (why := _unsigned(one, evidence.secret))]
    untrue = []
    for one in evidence.received:
        said = _told(one.body)
        if said is None:
            changed.append(f"{one.path}: no body of ours")
            continue
        told[said.job_id, one.path].append((one, said.type))
        if not _is_so(said, evidence.jobs):
            untrue.append(f"{one.path}: {said.type} of {said.job_id}")
    taken = {due_at for due_at, came in told.items() if any(_taken(one) for one, _ in came)}
    duplicates, repeated = _repeats(evidence)
    return Verdict(
        registrations=len(evidence.accepted),
        in_vain=evidence.in_vain,
        expected=len(due),
        receipts=len(evidence.received),
        lost=[f"{path}: {job_id}" for job_id, path in sorted(due - taken)],
        changed=changed + _changed(told, evidence.lasting),
        untrue=untrue,
        repeats=len(repeated),
        oldest_repeat=max(repeated, default=0),
        duplicates=duplicates,
        missing=[one.id for one in evidence.accepted if one.id not in evidence.shown],
        overdrafts=[f"at {one.at}" for one in evidence.asked if one.status == 429 and one.fault is None],
        busiest_minute=busiest(evidence.asked, MINUTE),
        busiest_day=busiest(evidence.asked, DAY),
    )


def _told(body: bytes) -> _Told | None:
    try:
        found: Any = json.loads(body)
        return _Told(str(found["data"]["job"]["id"]), str(found["type"]))
    except (ValueError, KeyError, TypeError):
        return None


def _is_so(said: _Told, jobs: Mapping[str, Job]) -> bool:
    job = jobs.get(said.job_id)
    return job is not None and said.type == f"job.{job.outcome.value}"


def _taken(one: Received) -> bool:
    return 200 <= one.answered < 300


def _unsigned(one: Received, secret: str) -> str:
    """Why the signature does not match the request; empty if it does. Its age does not count, because clocks may be
    wrong."""
    id, stamp, signatures = (one.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    try:
        signed_at = datetime.fromtimestamp(int(stamp), UTC)
        right = Webhook(secret).sign(id, signed_at, one.body.decode())
    except ValueError as fault:
        return f"not signed: {fault}"
    return "" if right in signatures.split(" ") else "no signature matches"


def _changed(
    told: Mapping[tuple[str, str], Sequence[tuple[Received, str]]], lasting: Callable[[bytes], object]
) -> list[str]:
    """Events with two ids or bodies: an event has one id everywhere, one body at each receiver, and no id belongs to
    two events."""
    ids: dict[tuple[str, str], set[str | None]] = defaultdict(set)
    events: dict[str | None, set[tuple[str, str]]] = defaultdict(set)
    found = []
    for (job_id, path), came in told.items():
        for type in {type for _, type in came}:
            of_type = [one for one, of in came if of == type]
            ids[job_id, type] |= {one.webhook_id for one in of_type}
            if (bodies := len({lasting(body) for body in {one.body for one in of_type}})) > 1:
                found.append(f"{path}: {bodies} bodies of {type} of {job_id}")
        if len({type for _, type in came}) > 1:
            found.append(f"{path}: two endings of {job_id}")
    for event, of in ids.items():
        if len(of) > 1:
            found.append(f"{event[0]}: ids {', '.join(sorted(map(str, of)))}")
        for id in of:
            events[id].add(event)
    return found + [f"{id}: the id of {len(of)} events" for id, of in events.items() if len(of) > 1]


def _repeats(evidence: Evidence) -> tuple[list[str], list[int]]:
    """Deliveries that were repeated after they had been accepted: those that may not be, and how old the
    others were."""
    came = defaultdict(list)
    for one in sorted(evidence.received, key=lambda one: one.at):
        came[one.path, one.webhook_id].append(one)
    duplicates, excused = [], []
    for (path, id), all in came.items():
        for one, next in pairwise(all):
            if not _taken(one):
                continue
            age = _age_when_hurt(one.at, evidence.disturbances)
            if age is None:
                duplicates.append(f"{path}: {id} at {one.at}, and {next.at - one.at} ms later again")
            else:
                excused.append(age)
    return duplicates, excused


def _age_when_hurt(at: Instant, disturbances: Sequence[Disturbance]) -> int | None:
    """How long a request that arrived at `at` had been in flight when a disturbance began; None if none began."""
    hurt = [max(0, one.begins - at) for one in disturbances if one.begins - IN_FLIGHT <= at <= one.ends]
    return min(hurt, default=None)


def busiest(asked: Sequence[LoggedRequest], span: int) -> int:
    """The most requests that Exec let through in any `span` milliseconds."""
    at = sorted(one.at for one in asked if one.status != 429 or one.fault is not None)
    most, first = 0, 0
    for last, instant in enumerate(at):
        while instant - at[first] >= span:
            first += 1
        most = max(most, last - first + 1)
    return most
