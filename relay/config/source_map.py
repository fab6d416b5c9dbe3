"""Places in the configuration: where each was written, what may stand there, what is wrong with it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeGuard, get_args, get_origin

from pydantic import BaseModel

_LOOKS_LIKE_A_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,22}")

_MOST_TOLD = 50
"""Problems told at once; a file with more is another file."""

KeyPath = tuple[str | int, ...]
"""Where in the configuration: `("polling", "tick")`, `("endpoints", 0, "url")`."""


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """What something was written in: a file and its line, or (line 0) a variable."""

    name: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.name}:{self.line}" if self.line else self.name


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong, and where. Its text never holds a value."""

    place: KeyPath
    text: str
    origin: SourceLocation | None = None
    """None: the origin of the place."""


@dataclass(slots=True)
class Source:
    """What was read: the data, and where each place of it came from."""

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, SourceLocation] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    invalid: set[KeyPath] = field(default_factory=set)
    """Places with a problem that left no value to judge: nothing more is said of them."""

    def mark_invalid(self, place: KeyPath, text: str) -> None:
        """Notes that what stands at a place can't be used."""
        self.problems.append(Problem(place, text))
        self.invalid.add(place)

    def origin(self, place: KeyPath) -> SourceLocation | None:
        """Where a place was written, or the nearest one around it that was."""
        while place not in self.origins and place:
            place = place[:-1]
        return self.origins.get(place)

    def forget(self, place: KeyPath) -> None:
        """Drops what was noted of a place and of all beneath it: something else stands there now."""

        def stays(other: KeyPath) -> bool:
            return other[: len(place)] != place

        self.origins = {other: origin for other, origin in self.origins.items() if stays(other)}
        self.problems = [problem for problem in self.problems if stays(problem.place)]
        self.invalid = {other for other in self.invalid if stays(other)}

    def report(self, found: Iterable[Problem]) -> str:
        """All problems for people, one a line and in the file's order: origin, key, what is wrong. Empty for none."""
        told = self.problems + [problem for problem in found if not self._is_unusable(problem.place)]
        placed = [(problem.origin or self.origin(problem.place), problem) for problem in told]
        placed.sort(key=lambda one: one[0].line if one[0] else 0)
        lines = [": ".join(filter(None, (str(at or ""), format_path(one.place), one.text))) for at, one in placed]
        lines = list(dict.fromkeys(lines))
        more = [f"... and {len(lines) - _MOST_TOLD:,} more"] if len(lines) > _MOST_TOLD else []
        return "\n".join(lines[:_MOST_TOLD] + more)

    def _is_unusable(self, place: KeyPath) -> bool:
        return any(place[:depth] in self.invalid for depth in range(len(place) + 1))


def format_path(place: KeyPath) -> str:
    """`("endpoints", 0, "url")` → `endpoints[0].url`. What looks like no key, and so may be a secret, is `…`."""
    shown = (part if isinstance(part, int) or _LOOKS_LIKE_A_KEY.fullmatch(part) else "…" for part in place)
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in shown).removeprefix(".")


# --- what may stand where --------------------------------------------------------------------------------------


def known_keys(model: type[BaseModel], place: KeyPath) -> set[str]:
    """The keys that may stand at a place."""
    found = _inner_model(annotation_at(model, place))
    return {*found.model_fields, *getattr(found, "also_written", ())} if found else set()


def annotation_at(model: type[BaseModel], place: KeyPath) -> Any:
    """The type of what stands at a place (of the list, for an entry of one); None where nothing may."""
    current: Any = model
    for part in place:
        if isinstance(part, int):
            continue
        inner = _inner_model(current)
        known = inner.model_fields.get(part) if inner else None
        if known is None:
            return None
        current = known.annotation
    return current


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if _is_section(annotation):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _inner_model(inner))), None)


def _is_section(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def is_collection(annotation: Any) -> bool:
    """Whether what stands there is a list or a mapping."""
    return _is_section(annotation) or get_origin(annotation) in (tuple, dict)


def variables(model: type[BaseModel]) -> dict[str, KeyPath]:
    """The variable of every key that can be set by one: `RELAY_POLLING__TICK` → `("polling", "tick")`."""
    return {"RELAY_" + "__".join(map(str, place)).upper(): place for place in _places(model, ())}


def _places(model: type[BaseModel], above: KeyPath) -> Iterator[KeyPath]:
    for name, known in model.model_fields.items():
        place, inner = (*above, name), known.annotation
        if above or not _is_section(inner):
            yield place
        if _is_section(inner):
            yield from _places(inner, place)
