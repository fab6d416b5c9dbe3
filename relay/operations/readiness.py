"""Readiness: checks what the relay needs in order to work, and says what to do if something is missing."""

from dataclasses import dataclass

from relay.model import MINUTE, SECOND, Instant, to_rfc3339

MAX_BACKLOG_AGE = 5 * MINUTE
"""A relay with a due delivery that waits longer than this does not keep up."""


@dataclass(frozen=True, slots=True)
class Check:
    """One requirement for the relay to work; if it is not met, `text` says what to do."""

    name: str
    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """All checks; ready if each of them passes."""

    checks: tuple[Check, ...]

    @property
    def ready(self) -> bool:
        return all(check.ok for check in self.checks)

    def excluding(self, name: str | None) -> "Readiness":
        """All checks except those with this name: `store`, or `exec` for the checks of every workspace.

        `exec` leaves out `sending` too: neither keeps jobs from being registered, and a person has to decide both.
        """
        names = {name, "sending"} if name == "exec" else {name}
        return Readiness(tuple(check for check in self.checks if check.name.partition(":")[0] not in names))


def scheduler(age: int, tick: int) -> Check:
    """Whether the last tick, `age` ms ago, is recent enough for ticks every `tick` ms."""
    text, ok = f"the last tick was {age / 1_000:.0f} s ago", age < max(15 * SECOND, 10 * tick)
    return Check("scheduler", ok, text if ok else f"{text}; the log says why. Restarting the relay loses nothing")


def store(fault: str | None) -> Check:
    """Whether the store answers; `fault` is its error, None if it does."""
    return Check("store", fault is None, fault or "answers")


def delivery_backlog(oldest_age: int) -> Check:
    """Whether due deliveries are sent in time: the longest-waiting one of a free endpoint waits for `oldest_age` ms."""
    text, ok = f"the longest-waiting due delivery waits {oldest_age / 1_000:.0f} s", oldest_age < MAX_BACKLOG_AGE
    advice = "give the relay a faster disk or database, or set delivery.concurrency higher"
    return Check("delivery_backlog", ok, text if ok else f"{text}; {advice}")


def stopping(is_draining: bool) -> Check:
    """Whether the relay takes work; after it was told to stop, load balancers take it out of their list."""
    return Check("stopping", not is_draining, "the relay stops" if is_draining else "the relay was not told to stop")


def sending(reason: str | None, waiting: int) -> Check:
    """Whether the relay sends; `reason` says why it is suspended, None if it is not. `waiting` deliveries wait."""
    if reason is None:
        return Check("sending", True, "deliveries are sent")
    text = f"nothing is sent, because {reason}; {waiting:,} {'delivery waits' if waiting == 1 else 'deliveries wait'}"
    advice = "`relay sending resume` sends them, `relay sending discard` cancels them; so does the dashboard"
    return Check("sending", False, f"{text}. {advice}")


def notifications(silent_since: Instant | None) -> Check:
    """Whether NOTIFY of other relays arrives; without it the relay works as well, and a little later."""
    if silent_since is None:
        return Check("notifications", True, "other relays are heard")
    text = f"other relays are not heard since {to_rfc3339(silent_since)}: their work is found on the next tick"
    return Check("notifications", True, f"{text}; the log says why")


def plans(count_too_far: int, latest: Instant | None) -> Check:
    """Whether polls and deliveries are planned within the reach of a schedule; `latest` is the latest that is not."""
    if latest is None:
        return Check("plans", True, "nothing is planned further ahead than a schedule reaches")
    text = f"{count_too_far} polls or deliveries wait for a time that no schedule reaches, up to {to_rfc3339(latest)}"
    return Check("plans", False, f"{text}; is the clock right? If it is, a restart makes them due. It loses nothing")


def workspace(name: str, kind: str | None, reason: str | None, paused_until: Instant | None, now: Instant) -> Check:
    """Whether Exec accepts the workspace's key. A pause that ends by itself is described, but the check passes."""
    refused = kind == "unauthorized"
    is_paused = refused or (paused_until is not None and paused_until > now)
    text = reason if is_paused and reason else "the key is accepted, or was not used yet"
    return Check(f"exec:{name}", not refused, text)
