"""SECURITY.md's promises: each is kept by a line that is there, and shown by a test that is there."""

import ast
import re
from pathlib import Path

import pytest

from tests.security.guard import Guard
from tests.security.guards import GUARDS

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| (.+?) \| `(tests/[^`]+)` \|$", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)


def test_the_table_and_the_guards_are_the_same() -> None:
    """SECURITY.md promises what has a guard, and nothing else."""
    assert [(guard.promise, guard.test) for guard in GUARDS] == ROWS


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: str(guard.promise))
def test_guard_and_test_are_there(guard: Guard) -> None:
    """The line stands where it is said to stand, once; the test has a name that pytest finds. `make guards` does it."""
    assert (ROOT / guard.file).read_text().count(guard.line) == 1, f"{guard.file}: say where this guard is now"
    file, _, name = guard.test.partition("::")
    defined = [node for node in ast.walk(ast.parse((ROOT / file).read_text())) if hasattr(node, "name")]
    assert name in {getattr(node, "name") for node in defined}  # noqa: B009
