"""`relay --help`, wrong command names, and output in other encodings."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from relay.cli import COMMANDS, main
from tests.commands import outputs


@pytest.mark.parametrize("width", [80, 100, 160])
def test_summaries_fit_the_terminal(width: int) -> None:
    """Each command has a line, and none is cut."""
    output = CliRunner(env={"COLUMNS": str(width)}).invoke(main, ["--help"]).output
    assert max(map(len, output.splitlines())) <= 80
    for name, summary in COMMANDS.items():
        assert f"  {name:<12}{summary}\n" in output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_in_80_columns(name: str) -> None:
    """With its options; the text of examples may be longer."""
    help = CliRunner(env={"COLUMNS": "80"}).invoke(main, [name, "--help"])
    assert help.exit_code == 0
    assert f"Usage: main {name}" in help.output or f"Usage: relay {name}" in help.output


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["regsiter", "j1"], "no command 'regsiter'; did you mean \"register\"?"),
        (["dilveries"], 'did you mean "deliveries"?'),
        (["rotatekey"], 'did you mean "rotate-key"?'),
        (["keys", "lst"], 'did you mean "list"?'),
        (["callback", "rotaet"], 'did you mean "rotate"?'),
        (["zzz"], "There is no command 'zzz'"),
    ],
)
def test_a_wrong_command_name_gets_a_suggestion(words: list[str], meant: str) -> None:
    """Exit code 2."""
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, meant in done.output) == (2, True), done.output


def test_help_imports_no_command() -> None:
    """So it starts at once: none of the relay's libraries is loaded but click."""
    code = (
        "import sys; from relay.cli import main; main(['--help'], standalone_mode=False); "
        "print(*(name for name in sys.modules if name.split('.')[0] in "
        "{'pydantic', 'sqlalchemy', 'httpx', 'aiohttp', 'starlette', 'yaml', 'rich', 'jinja2'} "
        "or name.startswith('relay.cli.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1].split() == ["relay.cli.output"]


VERBS_WITHOUT_STORE = ["callback", "deliveries", "endpoints", "events", "jobs", "receive", "register", "resend", "wait"]


def test_commands_that_open_no_store_load_none() -> None:
    """So they start at once."""
    code = (
        "import sys; from relay.cli import main; "
        f"[main([verb, '--help'], standalone_mode=False) for verb in {VERBS_WITHOUT_STORE}]; "
        "print(*({'sqlalchemy', 'alembic', 'apscheduler', 'aiohttp'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.count("Usage:") == len(VERBS_WITHOUT_STORE)
    assert done.stderr.split() == []


@pytest.mark.parametrize("encoding", ["ascii", "cp437"])
async def test_another_encoding_prints_replacements(encoding: str, tmp_path: Path) -> None:
    """A mark that the terminal lacks is no error."""
    environ = {
        "PYTHONIOENCODING": encoding,
        "EXEC_API_KEY": "exec_live_" + "a" * 40,
        "RELAY_STORAGE__URL": f"sqlite:///{tmp_path}/relay.db",
        "RELAY_EXEC__BASE_URL": "http://127.0.0.1:9/rest/v1",
    }
    lines = [(tmp_path, ("check",)), (tmp_path, ("deliveries", "caf\u00e9 \U0001f3ad"))]
    [(_, checked), (_, listed)] = await outputs(lines, environ, [sys.executable])
    assert " configuration: can be used" in checked
    assert "Traceback" not in checked + listed
