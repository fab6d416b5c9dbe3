"""What happens in a simulation: a swarm of faults and acts, drawn from the seed before anything runs.

A seed takes some kinds of fault and leaves out others, so that each kind also meets the relay without the rest.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One fault or act of an operator. `relay` is the number of the relay it befalls; times are virtual seconds."""

    kind: str
    at: float
    lasts: float = 0.0
    relay: int = 0
    values: Mapping[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """`at 12.3 s: stall of relay 1 for 20.0 s`, for the report of a failing seed."""
        more = ", ".join(f"{name} {value}" for name, value in self.values.items())
        lasts = f" for {self.lasts:.1f} s" if self.lasts else ""
        return f"at {self.at:.1f} s: {self.kind}, relay {self.relay}{lasts}{f' ({more})' if more else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that a seed decides before the run."""

    seed: int
    relays: int
    """Several share a store and its clock, as on PostgreSQL; a single one has the SQLite file to itself."""
    jobs: int
    active: float
    """Virtual seconds in which jobs are registered and faults happen."""
    tick: float
    strategy: str
    per_minute: int
    loss: float
    """The share of requests and answers that are lost on any way at any time."""
    callbacks: float
    """The share of jobs of which Exec calls back, sometimes early or twice."""
    acts: tuple[Act, ...]

    def only(self, numbers: Sequence[int]) -> "Plan":
        """The same with these acts only."""
        return replace(self, acts=tuple(self.acts[number] for number in numbers))

    def with_jobs(self, number: int) -> "Plan":
        """The same with so many jobs."""
        return replace(self, jobs=number)


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    rng = random.Random(f"plan {seed}")
    relays = rng.choice((1, 2, 2, 3))
    active = rng.uniform(15, 60)
    possible = [kind for kind in KINDS if relays == 1 or kind not in _OF_ONE]
    kinds = sorted(kind for kind in possible if rng.random() < (0.03 if kind in _RARE else 0.3))
    acts = list[Act]()
    for kind in kinds:
        number = 1 if kind in _ONCE else rng.choice((1, 1, 2, 3))
        plain = [Act(kind=kind, at=rng.uniform(1, active), relay=rng.randrange(relays)) for _ in range(number)]
        acts += [KINDS[kind](rng, act) for act in plain]
    return Plan(
        seed=seed,
        relays=relays,
        jobs=rng.randint(2, 10),
        active=active,
        tick=rng.choice((1.0, 2.0, 5.0)),
        strategy="adaptive" if rng.random() < 0.1 else "interval",
        per_minute=rng.choice((8, 30, 600)),
        loss=rng.choice((0.0, 0.0, 0.02, 0.2)),
        callbacks=rng.choice((0.0, 0.0, 0.5, 1.0)),
        acts=tuple(sorted(acts, key=lambda act: act.at)),
    )


def _kill(rng: random.Random, act: Act) -> Act:
    where = rng.choice(("step", "step", "before commit", "after commit"))
    return replace(act, lasts=rng.choice((0.1, 1.0, 20.0)), values={"where": where, "after": rng.randrange(60)})


def _stall(rng: random.Random, act: Act) -> Act:
    return replace(act, lasts=rng.choice((0.3, 2.5, 6.0, 15.0, 25.0)))


def _stall_at_commit(rng: random.Random, act: Act) -> Act:
    return replace(_stall(rng, act), values={"after": rng.randrange(6)})


def _window(rng: random.Random, act: Act) -> Act:
    return replace(act, lasts=rng.choice((0.5, 3.0, 10.0, 20.0)), values={"share": rng.choice((0.2, 0.6, 1.0))})


def _answers(rng: random.Random, act: Act) -> Act:
    status = rng.choice((429, 500, 503, 404, 301, 0))
    return replace(_window(rng, act), values={"status": status, "path": rng.randrange(4), "wait": rng.choice((0, 5))})


def _exec(rng: random.Random, act: Act) -> Act:
    fault = rng.choice(("429", "500", "503", "404", "wrong_shape", "not_json", "other_job", "truncated", "403"))
    wait = rng.choice((None, 2_000, 20_000))
    return replace(_window(rng, act), values={"fault": fault, "share": rng.choice((0.3, 1.0)), "wait": wait})


def _step(rng: random.Random, act: Act) -> Act:
    return replace(act, values={"by": rng.choice((-7_200_000, -90_000, -3_000, 400, 3_000, 90_000, 7_200_000))})


def _plain(_: random.Random, act: Act) -> Act:
    return act


KINDS: Mapping[str, Callable[[random.Random, Act], Act]] = {
    "kill": _kill,
    "restart": _kill,
    "stall": _stall,
    "stall at commit": _stall_at_commit,
    "slow store": _window,
    "failing store": _window,
    "commit unknown": _window,
    "requests lost": _window,
    "answers lost": _window,
    "slow network": _window,
    "receiver trouble": _answers,
    "exec trouble": _exec,
    "exec answers lost": _window,
    "clock set": _step,
    "rotation": _plain,
    "disabling": _stall,
    "reload": _plain,
    "exec key changed": _stall,
    "withdrawal": _plain,
    "resend": _plain,
    "outage": _plain,
    "restore": _stall,
}
"""Every kind, and how its values are drawn."""

_OF_ONE = frozenset({"clock set", "restore"})
_RARE = frozenset({"outage"})
"""Kinds that take long to simulate."""
_ONCE = frozenset({"outage", "restore", "exec key changed"})
