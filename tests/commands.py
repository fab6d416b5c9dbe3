"""Command lines of `relay` in a process of their own: many, one after the other, cost one start of Python."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent

_ENDED = "\x1e"
_EACH = f"""
import json, os, sys
from relay.cli import main
for folder, words in json.load(sys.stdin):
    os.chdir(folder)
    try:
        main(words, prog_name="relay")
    except SystemExit as left:
        print(f"{_ENDED}{{left.code or 0}}{_ENDED}", flush=True)
"""


async def outputs(
    lines: Sequence[tuple[Path, Sequence[str]]], environ: Mapping[str, str] | None = None
) -> list[tuple[int, str]]:
    """The exit code of each command line, and all that it prints; each runs in the folder that stands beside it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _EACH),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(environ or {})},
    )
    wanted = json.dumps([(str(folder), list(words)) for folder, words in lines]).encode()
    printed, _ = await asyncio.wait_for(process.communicate(wanted), 100)
    parts = printed.decode().split(_ENDED)
    assert len(parts) == 2 * len(lines) + 1, printed.decode()
    return [(int(code), text) for text, code in zip(parts[::2], parts[1::2], strict=False)]
