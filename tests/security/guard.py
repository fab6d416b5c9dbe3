"""A promise of SECURITY.md with its guard: the line that keeps it, what takes it out, the test that then fails."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guard:
    """One promise. `python -m tests.security` puts `without` in the place of `line` and expects `test` to fail."""

    promise: str
    test: str
    """file::test, as pytest takes it."""
    file: str
    line: str
    """Stands in the file exactly once."""
    without: str
