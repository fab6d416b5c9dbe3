"""A verb that fails by a fault of the relay's own."""

import errno
import os

import click
import pytest
from click.testing import CliRunner

from relay.cli import Commands
from relay.errors import ConfigError, StoreError
from tests import marked

EVERY_SECRET = " ".join(marked.ALL)


class Falling(Commands):
    """The command line with one command, which raises the given error."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def get_command(self, _context: click.Context, _name: str) -> click.Command:
        @click.command()
        def command() -> None:
            held = self.error
            raise held

        return command


def test_an_internal_error_is_printed_without_values() -> None:
    """Its type, its location and what to do; exit code 1."""
    done = CliRunner().invoke(Falling(KeyError(EVERY_SECRET)), ["fall"])
    assert done.exit_code == 1
    for words in ("KeyError", "test_faults.py", "in command", "relay doctor"):
        assert words in done.output
    assert marked.found_in(done.output) == []


@pytest.mark.parametrize(
    ("number", "said"), [(errno.EPIPE, ""), (errno.ENOSPC, "relay: can't write: No space left on device\n")]
)
def test_output_that_nobody_takes_is_no_fault_of_the_relay(number: int, said: str) -> None:
    """`relay jobs | head` ends without a word, a full disk is named; neither asks for a report."""
    done = CliRunner().invoke(Falling(OSError(number, os.strerror(number))), ["fall"])
    assert (done.exit_code, done.output) == (1, said)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreError("full"), 1),
        (ConfigError("wrong"), 2),
        (click.UsageError("wrong"), 2),
        (click.ClickException("x"), 1),
    ],
)
def test_expected_errors_are_printed_without_a_traceback(error: Exception, code: int) -> None:
    """Without a traceback, with their exit codes."""
    done = CliRunner().invoke(Falling(error), ["fall"])
    assert (done.exit_code, str(error) in done.output) == (code, True)
    assert "fault of its own" not in done.output
