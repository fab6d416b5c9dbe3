"""Lanes: who is on the wire now. What is claimed beyond that waits here in its order, and needs no store to begin."""

import asyncio
from dataclasses import dataclass, field

from relay.turns import Due, kept


@dataclass(slots=True)
class _Lane:
    """Room for some attempts; kept while anybody is in it or waits for it."""

    room: asyncio.Semaphore
    users: int = 0


@dataclass(slots=True)
class Lanes:
    """Of `concurrency` attempts in all, one host has `per_host` at the most and one endpoint `per_endpoint`.

    An eighth of all is kept for what is urgent, so that it finds room whatever else is under way.
    """

    concurrency: int
    per_host: int
    per_endpoint: int
    waiting: int = 0
    """How many wait for their turn."""
    _lanes: dict[str, _Lane] = field(default_factory=dict)

    async def enter(self, due: Due, patience: float) -> bool:
        """Whether there was room for an attempt within so many seconds; then `leave` gives it back."""
        try:
            async with asyncio.timeout(None if self._have_room(due) else patience):
                await self._enter(due)
        except TimeoutError:
            return False
        return True

    def _have_room(self, due: Due) -> bool:
        lanes = (self._lanes.get(name) for name, _ in self._of(due))
        return not any(lane.room.locked() for lane in lanes if lane is not None)

    async def _enter(self, due: Due) -> None:
        entered: list[str] = []
        self.waiting += 1
        try:
            for name, most in self._of(due):
                lane = self._lanes.setdefault(name, _Lane(asyncio.Semaphore(most)))
                lane.users += 1
                entered.append(name)
                await lane.room.acquire()
        except BaseException:
            self._forget(entered.pop())
            self._give_back(entered)
            raise
        finally:
            self.waiting -= 1

    def leave(self, due: Due) -> None:
        """The attempt is over."""
        self._give_back([name for name, _ in self._of(due)])

    def _of(self, due: Due) -> tuple[tuple[str, int], ...]:
        """The narrowest first, so that nobody keeps a wide one waiting for a narrow one."""
        narrow = (f"endpoint {due.endpoint_id}", self.per_endpoint), (f"host {due.host}", self.per_host)
        patient = () if due.urgent else (("patient", self.concurrency - kept(self.concurrency)),)
        return *narrow, *patient, ("all", self.concurrency)

    def _give_back(self, names: list[str]) -> None:
        for name in names:
            self._lanes[name].room.release()
            self._forget(name)

    def _forget(self, name: str) -> None:
        lane = self._lanes[name]
        lane.users -= 1
        if not lane.users:
            del self._lanes[name]
