"""The receivers of the documentation in Go, PHP, Ruby, C# and Java, each in its runtime. Run by `make receivers`."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, blocks, sections
from tests.docs.receivers import Printed, judge, running
from tests.node import lacks, needs

LANGUAGES = {"go": "go", "php": "php", "ruby": "ruby", "csharp": "dotnet", "java": "java"}
"""The page of each language, and the program that runs it."""
JAVA = Printed(ready="handled evt_1: {", failed="handled evt_5: {", sample='"j1o2b3i4d5x6"')
"""Java parses no JSON by itself: its file prints what came."""
STARTS_WITHIN = 120.0
"""Some of them compile first."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", LANGUAGES)
async def test_each_language_s_file_verifies_and_deduplicates(tmp_path: Path, page: str) -> None:
    """Started as its page says, it accepts what the relay signs, handles it once, and refuses everything else."""
    needs(LANGUAGES[page], f"the receiver of {page}.md")
    if page == "ruby":
        await asyncio.to_thread(has_webrick)
    [part] = sections(DOCS / f"how-to/{page}.md").values()
    async with running(tmp_path, [part], within=STARTS_WITHIN) as receiver:
        await judge(receiver, tmp_path, printed=JAVA if page == "java" else Printed())


def has_webrick() -> None:
    """Ruby comes without its web server since 3.0."""
    asked = ["ruby", "-rwebrick", "-e", ""]
    if subprocess.run(asked, capture_output=True, timeout=60, check=False).returncode:
        lacks("the gem webrick", "the receiver of ruby.md")


def test_every_language_of_the_overview_is_run() -> None:
    """The page that lists them has a row for each, beside the two that the default tests run."""
    text = (DOCS / "how-to/receive.md").read_text()
    listed = [line.split("](")[1].split(".md")[0] for line in text.splitlines() if line.startswith("| [")]
    assert sorted(listed) == sorted(["python", "javascript", *LANGUAGES])
    assert [page for page in LANGUAGES if len(blocks((DOCS / f"how-to/{page}.md").read_text(), page)) != 1] == []
