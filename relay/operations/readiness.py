"""Readiness: what the relay needs in order to work, and where something is missing, what to do."""

from dataclasses import dataclass

from relay.model import MINUTE, SECOND, Instant, to_rfc3339

LATE = 5 * MINUTE
"""A due delivery that waits longer than this says that the relay does not keep up."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that the relay needs in order to work, in words that say what to do where it is not well."""

    name: str
    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """All of them; ready where each is well."""

    checks: tuple[Check, ...]

    @property
    def ready(self) -> bool:
        return all(check.ok for check in self.checks)

    def excluding(self, name: str | None) -> "Readiness":
        """All but the checks of this name: `store`, or `exec` for those of every workspace."""
        return Readiness(tuple(check for check in self.checks if check.name.partition(":")[0] != name))


def scheduler(age: int, tick: int) -> Check:
    """Whether the last tick, `age` ms ago, is no longer ago than ticks of every `tick` ms may be."""
    told, beats = f"the last tick was {age / 1_000:.0f} s ago", age < max(15 * SECOND, 10 * tick)
    return Check("scheduler", beats, told if beats else f"{told}; the log says why. Restarting the relay loses nothing")


def store(fault: str | None) -> Check:
    """Whether the store answers; else its own words."""
    return Check("store", fault is None, fault or "answers")


def delivery_backlog(late: int) -> Check:
    """Whether what is due goes out: the longest-waiting delivery that its endpoint could take waits for `late` ms."""
    told, keeps_up = f"the longest-waiting due delivery waits {late / 1_000:.0f} s", late < LATE
    advice = "give the relay a faster disk or database, or set delivery.concurrency higher"
    return Check("delivery_backlog", keeps_up, told if keeps_up else f"{told}; {advice}")


def plans(too_far: int, latest: Instant | None) -> Check:
    """Whether polls and deliveries are planned no further ahead than any schedule reaches; if not, the latest plan."""
    if latest is None:
        return Check("plans", True, "nothing is planned further ahead than a schedule reaches")
    told = f"{too_far} polls or deliveries wait for a time that no schedule reaches, up to {to_rfc3339(latest)}"
    return Check("plans", False, f"{told}; is the clock right? If it is, a restart makes them due. It loses nothing")


def workspace(name: str, kind: str | None, reason: str | None, paused_until: Instant | None, now: Instant) -> Check:
    """Whether Exec takes the workspace's key. A wait that ends by itself is told, and is no reason not to be ready."""
    refused = kind == "unauthorized"
    waits = refused or (paused_until is not None and paused_until > now)
    return Check(
        f"exec:{name}", not refused, reason if waits and reason else "the key is accepted, or was not used yet"
    )
