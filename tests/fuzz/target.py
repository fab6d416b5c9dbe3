"""What a fuzz target is: a parser, the texts to start from, and what it may raise."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """One parser of what others send. `parse` raises nothing but `declared`; its own `assert`s are findings too."""

    name: str
    parse: Callable[[bytes], None]
    declared: tuple[type[Exception], ...] = ()
    seeds: tuple[bytes, ...] = ()
    longest: int = 16 * 1024
    """Bytes of the longest input that it is given."""

    def once(self, data: bytes) -> None:
        """Parses `data`; a declared refusal is fine, and any other exception a finding."""
        with contextlib.suppress(*self.declared):
            self.parse(data)


def text_of(data: bytes) -> str:
    """Any text: as headers have it where the bytes are no UTF-8."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("latin-1")
