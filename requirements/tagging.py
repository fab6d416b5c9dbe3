"""Makes the tag of a release, all but the push: python -m requirements.tagging. Run by `make tag`.

Makes the section of CHANGELOG.md out of what is under Unreleased, commits it, and tags the commit. Refuses a work tree
with changes, a tag that is there already, and files that name another version than relay/__init__.py.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from relay import __version__
from requirements.notes import section

ROOT = Path(__file__).parents[1]
NAMING = {
    "deploy/helm/Chart.yaml": r"^(?:version|appVersion): (\S+)$",
    "compose.yaml": r"exec-relay\}:\$\{RELAY_VERSION:-([^}]+)\}",
    "deploy/fly.toml": r"exec-relay:([^\"]+)\"",
    "deploy/cloudrun.yaml": r"exec-relay:(\S+)",
    "deploy/kubernetes/sqlite.yaml": r"exec-relay:(\S+)",
    "deploy/kubernetes/postgresql.yaml": r"exec-relay:(\S+)",
}
"""Every other file that names the version, and where."""


def disagreeing(folder: Path, version: str) -> Iterator[str]:
    """A line for each file that names another version."""
    for name, pattern in NAMING.items():
        found = set(re.findall(pattern, (folder / name).read_text(), re.MULTILINE))
        if found != {version}:
            yield f"{name} names {', '.join(sorted(found)) or 'no version'}, relay/__init__.py {version}"


def released(changelog: str, version: str, day: str) -> str:
    """CHANGELOG.md with what is under Unreleased as the section of a version. Raises ValueError if that is nothing."""
    head, heading, rest = changelog.partition("## [Unreleased]\n")
    unreleased = rest.partition("\n## ")[0].strip()
    if not unreleased:
        raise ValueError("CHANGELOG.md has nothing under Unreleased")
    return f"{head}{heading}\n## [{version}] - {day}\n{rest}"


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    tag, path = f"v{__version__}", ROOT / "CHANGELOG.md"
    if git("status", "--porcelain"):
        print("Commit or put away your changes first: git status")
        return 1
    if git("tag", "--list", tag):
        print(f"{tag} is there already; a newer version goes into relay/__init__.py first")
        return 1
    if wrong := list(disagreeing(ROOT, __version__)):
        print("\n".join(wrong))
        return 1
    if section(__version__, path.read_text()) is None:
        path.write_text(released(path.read_text(), __version__, datetime.now(UTC).date().isoformat()))
        git("commit", "--all", "--message", f"Release {__version__}")
    git("tag", "--annotate", tag, "--message", f"Release {__version__}")
    print(f"{tag} is on {git('log', '-1', '--format=%h %s')}. What is left: git push origin HEAD {tag}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
