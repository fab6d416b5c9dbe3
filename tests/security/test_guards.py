"""SECURITY.md's promises: each is kept by a line that is marked, and shown by a test that is there."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.security.guard import Guard, Line, marked_lines
from tests.security.guards import GUARDS

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| (.+?) \| `(tests/[^`]+)` \|$", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)
MARKED = list(marked_lines(ROOT))
LINES = dict(MARKED)


def test_the_table_and_the_guards_are_the_same() -> None:
    """SECURITY.md promises what has a guard, and nothing else."""
    assert [(guard.promise, guard.test) for guard in GUARDS] == ROWS


def test_every_guard_is_marked_once_and_every_marker_is_a_guard() -> None:
    """A guard without its `# guard: NAME` guards nothing, and a marker without its guard is tried by nobody."""
    assert Counter(name for name, _ in MARKED) == Counter(guard.name for guard in GUARDS)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: str(guard.name))
def test_a_guard_can_be_taken_out_and_its_test_is_there(guard: Guard) -> None:
    """The mutation changes the marked line to code that is some; the test has a name that pytest finds."""
    line = LINES[guard.name]
    mutated = line.without(guard.mutation)
    assert mutated != line.path.read_text()
    if line.path.suffix == ".py":
        ast.parse(mutated)
    file, _, name = guard.test.partition("::")
    defined = [node for node in ast.walk(ast.parse((ROOT / file).read_text())) if hasattr(node, "name")]
    assert name in {getattr(node, "name") for node in defined}  # noqa: B009


@pytest.mark.parametrize("code", ["    x = f(a)  # guard: it", "    # guard: it\n    x = f(a)"])
def test_a_marker_stands_on_its_line_or_above_it(tmp_path: Path, code: str) -> None:
    """Either way it is that line that is mutated."""
    (tmp_path / "relay").mkdir()
    file = tmp_path / "relay" / "a.py"
    file.write_text(f"if y:\n{code}\n")
    [(name, line)] = marked_lines(tmp_path)
    assert (name, type(line)) == ("it", Line)
    assert line.without(lambda was: was.replace("f(a)", "0")).endswith("    x = 0\n")
