"""What `relay check` found."""

from dataclasses import dataclass

OK, WARN, FAIL = "✓", "!", "✗"


@dataclass(frozen=True, slots=True)
class Finding:
    """One result, with what to do about it."""

    mark: str
    subject: str
    text: str
