"""A promise of SECURITY.md: the line that keeps it, the mutation that removes it, the test that then fails.

A marker `# guard: NAME` is at the end of the line, or on the line above it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

Mutation = Callable[[str], str]
"""Removes the guard from a line of code. Raises ValueError if the mutation does not fit the line."""

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
        """Returns the file's text with this line mutated. Raises ValueError."""
        lines = self.path.read_text().splitlines()
        lines[self.number] = mutation(_MARKER.sub("", lines[self.number]))
        return "\n".join(lines) + "\n"


def marked_lines(root: Path) -> Iterator[tuple[str, Line]]:
    """Yields the name and place of every marker in the code; a marker on a line of its own marks the next line."""
    for path in (path for place in _PLACES for path in sorted(root.glob(place))):
        for number, line in enumerate(path.read_text().splitlines()):
            if found := _MARKER.search(line):
                yield found[1], Line(path, number + (found.start() == 0))


def never(line: str) -> str:
    """Makes the condition false."""
    changed, times = re.subn(r"\bif .*:$", "if False:", line)
    if times != 1:
        raise ValueError(f"no `if` is on the line: {line}")
    return changed


def gone(line: str) -> str:
    """Removes the statement, argument or item."""
    return "" if line.endswith(",") else _indent(line) + "pass"


def swap(old: str, new: str) -> Mutation:
    """Replaces one expression by another."""

    def mutation(line: str) -> str:
        if line.count(old) != 1:
            raise ValueError(f"{old!r} is not on the line once: {line}")
        return line.replace(old, new)

    return mutation


def no_call(function: str) -> Mutation:
    """Replaces the call of a function by None."""

    def mutation(line: str) -> str:
        changed, times = re.subn(rf"\b{function}\([^()]*\)", "None", line)
        if times != 1:
            raise ValueError(f"{function} is not called once on the line: {line}")
        return changed

    return mutation


def instead(code: str) -> Mutation:
    """Replaces the line by other code."""
    return lambda line: _indent(line) + code


def also(code: str) -> Mutation:
    """Adds a line that undoes this one."""
    return lambda line: f"{line}\n{_indent(line)}{code}"


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
