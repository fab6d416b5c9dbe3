"""The command line, from click's own help."""

from importlib import import_module

import click

from docs.generating.tables import code
from relay.cli import COMMANDS, main

_WIDTH = 100


def page() -> str:
    """Every verb with what `--help` prints."""
    parts = [_HEAD, code(_help(main, "relay"), "text")]
    for verb in COMMANDS:
        command = import_module(f"relay.cli.{verb.replace('-', '_')}").command
        parts += [f"\n## relay {verb}\n", code(_help(command, f"relay {verb}"), "text")]
        for name, part in getattr(command, "commands", {}).items():
            parts += [f"\n### relay {verb} {name}\n", code(_help(part, f"relay {verb} {name}"), "text")]
    return "\n".join(parts)


def _help(command: click.Command, name: str) -> str:
    return click.Context(command, info_name=name, max_content_width=_WIDTH, terminal_width=_WIDTH).get_help()


_HEAD = """\
# Command line

What `relay --help` and `relay VERB --help` print. Exit codes: 0 fine, 1 failed, 2 wrong use. The verbs that ask a
running relay find it with `--server` or `RELAY_URL`, and take its API key from `--key` or `RELAY_API_KEY`.
"""
