"""What CONTRIBUTING.md says is so: its folders and files are there, and its format in ten minutes is one."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from relay.formats.base import Format
from tests.docs.pages import blocks
from tests.unit.formats.format_samples import JOBS, event

ROOT = Path(__file__).parents[1]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def test_contributing_lists_every_folder_of_tests() -> None:
    """Who looks for the tests of something finds where they are."""
    listed = subprocess.run(["git", "ls-files", "tests"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folders = {"/".join(path.split("/")[:2]) for path in listed.split() if re.search(r"/test_\w+\.py$", path)}
    folders = {folder for folder in folders if (ROOT / folder).is_dir()}
    assert folders - set(re.findall(r"`(tests/\w+)`", CONTRIBUTING)) == set()


def test_the_format_in_contributing_works() -> None:
    """The module that CONTRIBUTING.md shows makes a body of each event, and knows its URLs."""
    [code] = [block for block in blocks(CONTRIBUTING, "python") if "formats/webex.py" in block]
    made: dict[str, Any] = {}
    exec(code, made)  # noqa: S102 (our own page)
    format = made["FORMAT"]
    assert isinstance(format, Format)
    for type, job in JOBS.items():
        assert set(json.loads(json.dumps(format.body(event(type, job), None)))) == {"text"}
    assert format.matches_url("webexapis.com", "/v1/webhooks/incoming/x")
    assert not format.matches_url("example.com", "/v1/webhooks/incoming/x")


def test_contributing_names_existing_files() -> None:
    """No step of CONTRIBUTING.md leads to a file that was renamed."""
    named = re.findall(r"`((?:relay|tests|docs|requirements)/[\w./-]+\.\w+)`", CONTRIBUTING)
    assert [path for path in named if not (ROOT / path).exists() and "webex" not in path] == []
    assert named


def test_the_changelog_keeps_its_form() -> None:
    """Keep a Changelog: Unreleased first, versions newest first with their dates, known kinds of changes."""
    text = (ROOT / "CHANGELOG.md").read_text()
    heads = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert heads[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", head) for head in heads[1:])
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= (
        {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    )
