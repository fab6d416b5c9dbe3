"""PostgreSQL without its driver."""

import os
import sys
from pathlib import Path

from tests.commands import ROOT, outputs

COMMANDS = ["serve", "check", "keys list", "keys create x --scope read", "plan", "rotate-key"]


async def test_a_missing_driver_is_one_sentence_with_the_command(tmp_path: Path) -> None:
    """For every command that opens the store, without a traceback."""
    (tmp_path / "psycopg").mkdir()
    (tmp_path / "psycopg" / "__init__.py").write_text("raise ImportError('no pq wrapper available')\n")
    environ = {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
        "EXEC_API_KEY": "exec_live_" + "a" * 40,
        "RELAY_EXEC__BASE_URL": "http://127.0.0.1:9/rest/v1",
        "RELAY_SECURITY__SECRET_KEY": "s" * 32,
        "RELAY_STORAGE__URL": "postgresql://relay:hunter2@127.0.0.1:9/relay",
        "PYTHONIOENCODING": "utf-8",
    }
    sentence = "storage.url names a PostgreSQL, and its driver is not installed: pip install 'exec-relay[postgres]'"
    for code, printed in await outputs([(tmp_path, words.split()) for words in COMMANDS], environ, [sys.executable]):
        assert (code, sentence in printed, "Traceback" in printed) == (1, True, False), printed
        assert "hunter2" not in printed
