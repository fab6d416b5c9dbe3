"""`python -m tests.security [WORD]` (`make guards`): takes out each guard in a copy, and sees its test fail.

WORD: only the guards whose name, promise or test holds it. A test that passes without its guard shows nothing: exit
code 1.
"""

import os
import queue
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.security.guard import Guard, marked_lines
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


def fails(guard: Guard, folder: Path) -> bool:
    """Whether the guard's test fails without it."""
    line = dict(marked_lines(folder))[guard.name]
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
    if strange := {guard.name for guard in GUARDS} ^ {name for name, _ in marked_lines(ROOT)}:
        print(f"guards without a marker, or markers without a guard: {', '.join(sorted(strange))}")
        return 1
    chosen = [one for one in GUARDS if word.lower() in f"{one.name} {one.promise} {one.test}".lower()]
    at_once = os.cpu_count() or 1
    wrong = 0
    with tempfile.TemporaryDirectory() as made, ThreadPoolExecutor(at_once) as pool:
        folders: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(at_once):
            folders.put(copied(Path(made) / str(number)))

        def tried(guard: Guard) -> bool:
            folder = folders.get()
            try:
                return fails(guard, folder)
            finally:
                folders.put(folder)

        for guard, failed in zip(chosen, pool.map(tried, chosen), strict=True):
            wrong += not failed
            print(f"{'failed, as it must' if failed else 'PASSED WITHOUT ITS GUARD'}: {guard.test}", flush=True)
            print(f"    {guard.name}: {guard.promise}", flush=True)
    return 1 if wrong else 0


def copied(folder: Path) -> Path:
    """A copy of what the tests need, in a new folder."""
    folder.mkdir()
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    return folder


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:2]))
