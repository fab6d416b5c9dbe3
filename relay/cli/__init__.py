"""The command line: one file per verb.

Exit codes: 0 fine, 1 failed, 2 wrong use (click's own, and a configuration that can't be used).
"""

import os
import signal
from importlib import import_module

import click

from relay import __version__
from relay.errors import ConfigError, RelayError

COMMANDS = (
    "demo serve register jobs deliveries resend plan check doctor "
    "backup restore import keys keygen rotate-key callback sandbox receive"
).split()
"""In the order in which `relay --help` shows them."""


class Commands(click.Group):
    """Loads a verb's module when it is called, so that each verb starts as fast as it can."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return COMMANDS

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"relay.cli.{name.replace('-', '_')}").command
        return command

    def invoke(self, context: click.Context) -> object:
        if os.getpid() == 1:  # a container's first process ignores a signal that it has no handler for
            signal.signal(signal.SIGTERM, lambda caught, _: os._exit(128 + caught))
        try:
            return super().invoke(context)
        except ConfigError as error:
            click.echo(str(error), err=True)
            context.exit(2)
        except RelayError as error:
            click.echo(f"relay: {error}", err=True)
            context.exit(1)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:
            click.echo(
                f"{_safe_traceback(error)}\n"
                "relay: that is a fault of the relay's own; `relay doctor` helps to report it",
                err=True,
            )
            context.exit(1)


def _safe_traceback(error: Exception) -> str:
    """What happened where, without what it held: that could be a secret."""
    from relay.telemetry import safe_traceback  # seldom needed, and it loads much

    return safe_traceback(error)  # guard: verb-fault


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="relay")
def main() -> None:
    """Turns Exec's Scenario Studio jobs into signed notifications.

    \b
    See it work, with no account:    relay demo
    Run it:                          relay serve --config config.yaml
    Hear of a job's end:             relay register j1o2b3i4d5x6 --url https://example.com/callback
    """
