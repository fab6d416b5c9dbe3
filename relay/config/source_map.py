"""The source map: where each key of the configuration was written, which keys may stand there, and what is wrong."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import NoneType
from typing import Annotated, Any, TypeGuard, get_args, get_origin

from pydantic import BaseModel

_PRINTABLE_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,22}")

_MAX_REPORTED = 50
"""Problems in one report. A file with more of them is some other kind of file."""

KeyPath = tuple[str | int, ...]
"""A key of the configuration: `("polling", "tick")`, `("endpoints", 0, "url")`."""


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """Where a value was written: a file and its line, or a variable (line 0)."""

    name: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.name}:{self.line}" if self.line else self.name


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault and its key. The text never holds a value."""

    path: KeyPath
    text: str
    origin: SourceLocation | None = None
    """None: the location of the path."""


@dataclass(slots=True)
class Source:
    """The data as read, and the location of each key."""

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, SourceLocation] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    invalid: set[KeyPath] = field(default_factory=set)
    """Paths whose problem left no value to validate. Nothing else is reported for them."""

    def mark_invalid(self, path: KeyPath, text: str) -> None:
        """Records a problem, and that the path has no usable value."""
        self.problems.append(Problem(path, text))
        self.invalid.add(path)

    def origin(self, path: KeyPath) -> SourceLocation | None:
        """The location of a path, or of its nearest parent that has one."""
        while path not in self.origins and path:
            path = path[:-1]
        return self.origins.get(path)

    def forget(self, path: KeyPath) -> None:
        """Drops the records of a path and of everything below it, because another value replaces it."""

        def stays(other: KeyPath) -> bool:
            return other[: len(path)] != path

        self.origins = {other: origin for other, origin in self.origins.items() if stays(other)}
        self.problems = [problem for problem in self.problems if stays(problem.path)]
        self.invalid = {other for other in self.invalid if stays(other)}

    def report(self, problems: Iterable[Problem]) -> str:
        """These and the recorded problems, one a line in the order of the file: location, key, fault. May be empty."""
        reported = self.problems + [problem for problem in problems if not self._is_invalid(problem.path)]
        problems_with_origin = [(problem.origin or self.origin(problem.path), problem) for problem in reported]
        problems_with_origin.sort(key=lambda pair: pair[0].line if pair[0] else 0)
        lines = [
            ": ".join(filter(None, (str(at or ""), format_path(item.path), item.text)))
            for at, item in problems_with_origin
        ]
        lines = list(dict.fromkeys(lines))
        suffix = [f"... and {len(lines) - _MAX_REPORTED:,} more"] if len(lines) > _MAX_REPORTED else []
        return "\n".join(lines[:_MAX_REPORTED] + suffix)

    def _is_invalid(self, path: KeyPath) -> bool:
        return any(path[:depth] in self.invalid for depth in range(len(path) + 1))


def format_path(path: KeyPath) -> str:
    """`("endpoints", 0, "url")` → `endpoints[0].url`. A part that does not read like a key may be a secret: `…`."""
    parts = (part if isinstance(part, int) or _PRINTABLE_KEY.fullmatch(part) else "…" for part in path)
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")


# --- the keys of a model ---------------------------------------------------------------------------------------


def known_keys(model: type[BaseModel], path: KeyPath) -> set[str]:
    """The keys that may stand below a path."""
    inner = _inner_model(annotation_at(model, path))
    return {*inner.model_fields, *getattr(inner, "also_written", ())} if inner else set()


def annotation_at(model: type[BaseModel], path: KeyPath) -> Any:
    """The type at a path (for an entry of a list: the type of the list); None if the model has no such key."""
    current: Any = model
    for part in path:
        if isinstance(part, int):
            continue
        inner = _inner_model(current)
        info = inner.model_fields.get(part) if inner else None
        if info is None:
            return None
        current = info.annotation
    return current


def is_number_or_boolean(annotation: Any) -> bool:
    """Whether the type is `int`, `float` or `bool`, optional or not."""
    if get_origin(annotation) is Annotated:
        return is_number_or_boolean(get_args(annotation)[0])
    inner = [part for part in get_args(annotation) if part is not NoneType]
    return annotation in (int, float, bool) or (
        len(inner) == 1 and not is_collection(annotation) and is_number_or_boolean(inner[0])
    )


def is_collection(annotation: Any) -> bool:
    """Whether the type is a list or a mapping."""
    return _is_section(annotation) or get_origin(annotation) in (tuple, dict)


def variables(model: type[BaseModel]) -> dict[str, KeyPath]:
    """The variable of every key that a variable can set: `RELAY_POLLING__TICK` → `("polling", "tick")`."""
    return {"RELAY_" + "__".join(map(str, path)).upper(): path for path in _paths(model, ())}


def _paths(model: type[BaseModel], parent: KeyPath) -> Iterator[KeyPath]:
    for name, info in model.model_fields.items():
        path, inner = (*parent, name), info.annotation
        if parent or not _is_section(inner):
            yield path
        if _is_section(inner):
            yield from _paths(inner, path)


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if _is_section(annotation):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _inner_model(inner))), None)


def _is_section(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
