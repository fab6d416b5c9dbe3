"""The command line: one file per command.

Exit codes: 0 success, 1 failure, 2 wrong usage (click's own) or a configuration that can't be used.
"""

import errno
import os
import signal
from importlib import import_module

import click

from relay import __version__
from relay.cli.output import print_text, replace_unencodable
from relay.errors import ConfigError, RelayError
from relay.suggestions import did_you_mean

COMMANDS = {
    "demo": "See the relay work, with no account and no configuration.",
    "serve": "Run the relay.",
    "register": "Register a job: get notified when it ends.",
    "wait": "Wait until a job has ended.",
    "events": "List events, or follow them as they come.",
    "endpoints": "List, add, test and change endpoints.",
    "mcp": "Serve tools for agents, over MCP.",
    "jobs": "List the watched jobs, or show one.",
    "deliveries": "List deliveries, or show one with its attempts.",
    "resend": "Send a delivery again, or all failed ones.",
    "plan": "Show when a job registered now would be polled.",
    "check": "Check configuration, Exec key, store and endpoints.",
    "doctor": "Print a report for a bug's issue, without secrets.",
    "backup": "Copy the store to a file while the relay runs.",
    "restore": "Replace the store by a backup.",
    "sending": "Suspend sending; resume it, or discard what waits.",
    "import": "Move a SQLite store into PostgreSQL.",
    "keys": "Create, list and revoke API keys in the store.",
    "audit": "List who did what: endpoints, keys, resends, logins.",
    "keygen": "Make an API key, a signing secret or a secret key.",
    "rotate-key": "Encrypt the store with another secret key.",
    "callback": "Show or rotate the URL for Exec's own callbacks.",
    "sandbox": "Run a stand-in for Exec.",
    "receive": "Run a receiver that verifies and prints notifications.",
}
"""Every command with its summary, in the order of `relay --help`, which imports none of them."""


class Group(click.Group):
    """A group of commands that suggests the right name for a wrong one."""

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(context, name) is None and not name.startswith("-") and not context.resilient_parsing:
            context.fail(f"There is no command {name!r}{did_you_mean(name, self.list_commands(context))}")
        return super().resolve_command(context, args)


class Commands(Group):
    """Imports the module of a command only when the command runs."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"relay.cli.{name.replace('-', '_')}").command
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, context: click.Context) -> object:
        if os.getpid() == 1:  # the first process of a container ignores a signal for which it has no handler
            signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
        replace_unencodable()
        try:
            return super().invoke(context)
        except ConfigError as error:
            print_text(str(error), err=True)
            context.exit(2)
        except RelayError as error:
            print_text(f"relay: {error}", err=True)
            context.exit(1)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except BrokenPipeError:
            raise  # whoever reads the output has what they want, as `head`: click ends without a word
        except Exception as error:
            print_text(_describe_fault(error), err=True)
            context.exit(1)


def _describe_fault(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"relay: can't write: {os.strerror(error.errno)}"
    return f"{_safe_traceback(error)}\nrelay: internal error; please report it with the output of `relay doctor`"


def _safe_traceback(error: Exception) -> str:
    """The traceback without values: those could be secrets."""
    from relay.telemetry import safe_traceback  # imports much, and is rarely needed

    return safe_traceback(error)  # guard: verb-fault


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="relay")
def main() -> None:
    """Turns Exec's Scenario Studio jobs into signed notifications.

    \b
    See it work, with no account:
      relay demo
    Run it:
      relay serve --config config.yaml
    Get notified when a job ends:
      relay register j1o2b3i4d5x6 --url https://example.com/callback
    """
