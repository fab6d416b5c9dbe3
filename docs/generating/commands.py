"""Writes the page of the command line, from click's own help."""

from importlib import import_module

import click

from docs.generating.tables import code
from relay.cli import COMMANDS, main

_WIDTH = 100


def page() -> str:
    """The page: every command with its `--help`."""
    parts = [_HEAD, code(_help(main, "relay"), "text")]
    for name in COMMANDS:
        command = import_module(f"relay.cli.{name.replace('-', '_')}").command
        parts += [f"\n## relay {name}\n", code(_help(command, f"relay {name}"), "text")]
        for subcommand, part in getattr(command, "commands", {}).items():
            parts += [f"\n### relay {name} {subcommand}\n", code(_help(part, f"relay {name} {subcommand}"), "text")]
    return "\n".join(parts)


def _help(command: click.Command, name: str) -> str:
    return click.Context(command, info_name=name, max_content_width=_WIDTH, terminal_width=_WIDTH).get_help()


_HEAD = """\
# Command line

`relay --help` and `relay COMMAND --help` print this. Exit codes: 0 success, 1 failure, 2 wrong usage. Commands that
call a running relay find it with `--server` or `RELAY_URL`, and read its API key from `--key` or `RELAY_API_KEY`.
"""
