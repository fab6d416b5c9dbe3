"""PostgreSQL without its driver."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("words", ["serve", "check", "keys list", "keys create x --scope read", "plan", "rotate-key"])
def test_a_missing_driver_is_one_sentence_with_the_command(words: str, tmp_path: Path) -> None:
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
    command = [sys.executable, "-m", "relay", *words.split()]
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    output = (done.stdout + done.stderr).decode()
    sentence = "storage.url names a PostgreSQL, and its driver is not installed: pip install 'exec-relay[postgres]'"
    assert (done.returncode, sentence in output, "Traceback" in output) == (1, True, False), output
    assert "hunter2" not in output
