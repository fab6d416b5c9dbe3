"""`python -m tests.security [WORD]` (`make guards`): takes out each guard in a copy, and sees its test fail.

WORD: only the guards whose name, promise or test holds it. A test that passes without its guard shows nothing: exit
code 1.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.security.guard import Guard, Line, marked_lines
from tests.security.guards import GUARDS

ROOT = Path(__file__).parents[2]
COPIED = (
    "relay",
    "tests",
    "docs",
    "requirements",
    "pyproject.toml",
    "README.md",
    "config.example.yaml",
    "Dockerfile",
    "Makefile",
)


def fails(guard: Guard, line: Line, folder: Path) -> bool:
    """Whether the guard's test fails without it."""
    path, whole = line.path, line.path.read_text()
    path.write_text(line.without(guard.mutation))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "--no-header",
        "-m",
        "",
        guard.test,
    ]
    try:
        ended = subprocess.run(command, cwd=folder, capture_output=True, timeout=300)
    finally:
        path.write_text(whole)
    return ended.returncode == 1  # a test failed; 2 to 5 would be pytest's own trouble


def main(word: str = "") -> int:
    """Exit code 1 where a test passed without its guard."""
    wrong = 0
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        lines = dict(marked_lines(folder))
        if strange := {guard.name for guard in GUARDS} ^ set(lines):
            print(f"guards without a marker, or markers without a guard: {', '.join(sorted(strange))}")
            return 1
        for guard in GUARDS:
            if word.lower() in f"{guard.name} {guard.promise} {guard.test}".lower():
                failed = fails(guard, lines[guard.name], folder)
                wrong += not failed
                print(f"{'failed, as it must' if failed else 'PASSED WITHOUT ITS GUARD'}: {guard.test}", flush=True)
                print(f"    {guard.promise}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:2]))
