"""A verb that fails by a fault of the relay's own."""

import click
import pytest
from click.testing import CliRunner

from relay.cli import Commands
from relay.errors import ConfigError, StoreError
from tests import marked

EVERY_SECRET = " ".join(marked.ALL)


class Falling(Commands):
    """The command line, with one verb that raises what it was made with."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def get_command(self, _context: click.Context, _name: str) -> click.Command:
        @click.command()
        def command() -> None:
            held = self.error
            raise held

        return command


def test_a_fault_is_told_without_what_it_held() -> None:
    """Its kind and its place, and what to do; exit code 1."""
    done = CliRunner().invoke(Falling(KeyError(EVERY_SECRET)), ["fall"])
    assert done.exit_code == 1
    for words in ("KeyError", "test_faults.py", "in command", "relay doctor"):
        assert words in done.output
    assert marked.found_in(done.output) == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreError("full"), 1),
        (ConfigError("wrong"), 2),
        (click.UsageError("wrong"), 2),
        (click.ClickException("x"), 1),
    ],
)
def test_errors_that_are_meant_are_told_in_words(error: Exception, code: int) -> None:
    """Without a traceback, with their exit codes."""
    done = CliRunner().invoke(Falling(error), ["fall"])
    assert (done.exit_code, str(error) in done.output) == (code, True)
    assert "fault of its own" not in done.output
