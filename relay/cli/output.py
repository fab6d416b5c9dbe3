"""Output on a terminal, in a pipe and in any encoding: text without control characters, and JSON in ASCII."""

import json
import shutil
import sys
import textwrap
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
    """Prints text that may come from elsewhere; its lines stay, other control characters do not.

    A terminal gets lines that fit it, broken between words; a pipe or a file gets them whole.
    """
    lines = [strip_control_chars(line) for line in text.split("\n")]
    if (sys.stderr if err else sys.stdout).isatty():
        width = shutil.get_terminal_size().columns
        lines = [part for line in lines for part in wrap(line, width)]
    click.echo("\n".join(lines), err=err)


def wrap(line: str, width: int) -> list[str]:
    """The line in parts of at most `width` characters, all but the first indented. Words stay whole, however long."""
    if len(line) <= width:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )


def to_json(value: Any, indent: int | None = 2) -> str:
    """JSON in ASCII: nothing in it can control a terminal, and every encoding can print it."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def print_json(value: Any, indent: int | None = 2) -> None:
    """Prints a value as JSON in ASCII."""
    click.echo(to_json(value, indent))
