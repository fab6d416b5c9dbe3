"""A promise of SECURITY.md with its guard: the line that keeps it, what takes it out, the test that then fails.

The line says it itself, at its end or right above it: `# guard: NAME`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

Mutation = Callable[[str], str]
"""A line of code without its guard. Raises ValueError if the line is not of the kind that the mutation is for."""

_MARKER = re.compile(r" *# guard: ([a-z0-9-]+)$")
_PLACES = ("relay/**/*.py", "requirements/*.sh", "Dockerfile")


@dataclass(frozen=True, slots=True)
class Guard:
    """One promise. `python -m tests.security` mutates the line that is marked `name`, and expects `test` to fail."""

    name: str
    promise: str
    test: str
    """file::test, as pytest takes it."""
    mutation: Mutation


@dataclass(frozen=True, slots=True)
class Line:
    """A marked line of a file."""

    path: Path
    number: int
    """From 0."""

    def without(self, mutation: Mutation) -> str:
        """The file's whole text, with this line mutated. Raises ValueError."""
        lines = self.path.read_text().splitlines()
        lines[self.number] = mutation(_MARKER.sub("", lines[self.number]))
        return "\n".join(lines) + "\n"


def marked_lines(root: Path) -> Iterator[tuple[str, Line]]:
    """The name and place of every marker in the code; a marker that has its line to itself marks the next one."""
    for path in (path for place in _PLACES for path in sorted(root.glob(place))):
        for number, line in enumerate(path.read_text().splitlines()):
            if found := _MARKER.search(line):
                yield found[1], Line(path, number + (found.start() == 0))


def never(line: str) -> str:
    """The condition never holds."""
    changed, times = re.subn(r"\bif .*:$", "if False:", line)
    if times != 1:
        raise ValueError(f"no `if` is on the line: {line}")
    return changed


def gone(line: str) -> str:
    """The statement, argument or item is not there."""
    return "" if line.endswith(",") else _indent(line) + "pass"


def swap(old: str, new: str) -> Mutation:
    """One thing stands in the place of another."""

    def mutation(line: str) -> str:
        if line.count(old) != 1:
            raise ValueError(f"{old!r} is not on the line once: {line}")
        return line.replace(old, new)

    return mutation


def instead(code: str) -> Mutation:
    """Other code stands in the place of the line."""
    return lambda line: _indent(line) + code


def also(code: str) -> Mutation:
    """The line is followed by one that undoes it."""
    return lambda line: f"{line}\n{_indent(line)}{code}"


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
