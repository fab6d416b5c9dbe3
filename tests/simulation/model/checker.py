"""A small model checker: visits every reachable state of a model, and reports the shortest way to a broken rule."""

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)


class Model(Protocol[S]):
    """What is checked: states are values, and a step is a name and the state after it."""

    def start(self) -> S:
        """The first state."""

    def steps(self, state: S) -> Iterator[tuple[str, S]]:
        """All that may happen next."""

    def broken(self, state: S) -> str | None:
        """The rule that this state breaks, or None."""

    def is_done(self, state: S) -> bool:
        """Whether all work is done: such a state has to be reachable from every other."""


@dataclass(frozen=True, slots=True)
class Report(Generic[S]):
    """What the search found: nothing, if `broken` is None."""

    states: int
    broken: str | None = None
    way: tuple[str, ...] = ()
    """The steps from the start to the state that breaks the rule."""


def check(model: Model[S], most: int = 2_000_000) -> Report[S]:
    """Searches breadth first. Raises RuntimeError if there are more than `most` states."""
    first = model.start()
    came: dict[S, tuple[S, str] | None] = {first: None}
    before: dict[S, list[S]] = {}
    done: list[S] = []
    queue = deque([first])
    while queue:
        state = queue.popleft()
        if (broken := model.broken(state)) is not None:
            return Report(len(came), broken, _way(came, state))
        if model.is_done(state):
            done.append(state)
        for name, after in model.steps(state):
            before.setdefault(after, []).append(state)
            if after not in came:
                if len(came) >= most:
                    raise RuntimeError(f"the model has more than {most} states")
                came[after] = state, name
                queue.append(after)
    if (stuck := _never_done(came, before, done)) is not None:
        return Report(len(came), "work-gets-done", _way(came, stuck))
    return Report(len(came))


def _never_done(came: dict[S, tuple[S, str] | None], before: dict[S, list[S]], done: list[S]) -> S | None:
    """A state from which no done one can be reached."""
    reaches, queue = set(done), deque(done)
    while queue:
        for earlier in before.get(queue.popleft(), ()):
            if earlier not in reaches:
                reaches.add(earlier)
                queue.append(earlier)
    return next((state for state in came if state not in reaches), None)


def _way(came: dict[S, tuple[S, str] | None], state: S) -> tuple[str, ...]:
    names = []
    while (step := came[state]) is not None:
        state, name = step
        names.append(name)
    return tuple(reversed(names))
