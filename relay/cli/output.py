"""Output on a terminal, in a pipe and in any encoding: text without control characters, and JSON in ASCII."""

import json
import sys
from io import TextIOWrapper
from typing import Any

import click


def replace_unencodable() -> None:
    """From now on a character that the terminal's encoding lacks is printed as `?` instead of an exception."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def strip_control_chars(text: str) -> str:
    """The text without characters that move the cursor, are invisible, or change the direction of writing."""
    return "".join(character if character.isprintable() else "·" for character in text)


def print_text(text: str, err: bool = False) -> None:
    """Prints text that may come from elsewhere; its lines stay, other control characters do not."""
    click.echo("\n".join(strip_control_chars(line) for line in text.split("\n")), err=err)


def to_json(value: Any, indent: int | None = 2) -> str:
    """JSON in ASCII: nothing in it can control a terminal, and every encoding can print it."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def print_json(value: Any, indent: int | None = 2) -> None:
    """Prints a value as JSON in ASCII."""
    click.echo(to_json(value, indent))
