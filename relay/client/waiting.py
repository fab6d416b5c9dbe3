"""How one long wait for a job is sliced into requests, and how long it goes on without an answer: a pure decision."""

from dataclasses import dataclass

from relay.client.retries import Patience


@dataclass(slots=True)
class JobWait:
    """One wait. Times are seconds of one monotonic clock."""

    url: str
    started_at: float
    timeout: float | None
    slice: float
    retry_for: float
    has_answer: bool = False

    @property
    def deadline(self) -> float:
        """When it is over."""
        return float("inf") if self.timeout is None else self.started_at + self.timeout

    def answered(self) -> None:
        """The relay has answered: it is there, and may be away for a restart from now on."""
        self.has_answer = True

    def patience(self) -> Patience:
        """How long the next request is repeated: a wrong address is not waited for as long as a restart."""
        first = self.started_at + self.retry_for
        return Patience(self.url, self.deadline if self.has_answer else min(self.deadline, first))

    def next_slice(self, now: float) -> float | None:
        """Seconds of the next request; None if the time is over. The relay answers a second early."""
        remaining = self.deadline - now
        if remaining <= 0:
            return None
        return max(1.0, min(self.slice, remaining + 1))
