"""PostgreSQL without its driver."""

import os
import subprocess
import sys
from pathlib import Path

COMMANDS = ["serve", "check", "keys list", "keys create x --scope read", "plan", "rotate-key"]
EACH = """
import sys
from relay.cli import main
for words in sys.argv[1:]:
    print("#", words, flush=True)
    try:
        main(words.split())
    except SystemExit as left:
        print("exit code", left.code, flush=True)
"""


def test_a_missing_driver_is_one_sentence_with_the_command(tmp_path: Path) -> None:
    """For every command that opens the store, without a traceback."""
    (tmp_path / "psycopg").mkdir()
    (tmp_path / "psycopg" / "__init__.py").write_text("raise ImportError('no pq wrapper available')\n")
    environ = {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])]),
        "PATH": os.environ["PATH"],
        "EXEC_API_KEY": "exec_live_" + "a" * 40,
        "RELAY_EXEC__BASE_URL": "http://127.0.0.1:9/rest/v1",
        "RELAY_SECURITY__SECRET_KEY": "s" * 32,
        "RELAY_STORAGE__URL": "postgresql://relay:hunter2@127.0.0.1:9/relay",
        "PYTHONIOENCODING": "utf-8",
    }
    command = [sys.executable, "-c", EACH, *COMMANDS]
    output = subprocess.STDOUT
    done = subprocess.run(command, env=environ, cwd=tmp_path, stdout=subprocess.PIPE, stderr=output, timeout=60)
    printed = done.stdout.decode()
    sentence = "storage.url names a PostgreSQL, and its driver is not installed: pip install 'exec-relay[postgres]'"
    for words in COMMANDS:
        of_this = printed.partition(f"# {words}\n")[2].partition("\n# ")[0]
        assert sentence in of_this, printed
        assert of_this.endswith(("exit code 1", "exit code 1\n")), printed
    assert "Traceback" not in printed
    assert "hunter2" not in printed
