"""Command lines of `relay` in a process of their own: many, one after the other, in one."""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.forking import processes
from tests.forking.each import END

EACH = "tests.forking.each"
ROOT = Path(__file__).parent.parent


async def outputs(
    lines: Sequence[tuple[Path, Sequence[str]]],
    environ: Mapping[str, str] | None = None,
    python: Sequence[str] | None = None,
) -> list[tuple[int, str]]:
    """The exit code of each command line, and all that it prints; each runs in the folder that stands beside it.

    `python` starts one that has imported nothing; without it the process is forked from one that has.
    """
    process = await asyncio.create_subprocess_exec(
        *([*python, "-m", EACH] if python else await asyncio.to_thread(processes.command, EACH)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(environ or {})},
    )
    wanted = json.dumps([(str(folder), list(words)) for folder, words in lines]).encode()
    printed, _ = await asyncio.wait_for(process.communicate(wanted), 100)
    parts = printed.decode().split(END)
    assert len(parts) == 2 * len(lines) + 1, printed.decode()
    return [(int(code), text) for text, code in zip(parts[::2], parts[1::2], strict=False)]
