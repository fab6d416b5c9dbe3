"""What a pushed tag is called everywhere: git tag --list 'v*' | python -m requirements.tags v0.1.0

Prints `version=`, `prerelease=`, `latest=` and `image-tags=` lines. Exit code 1 unless the tag is the code's version
and CHANGELOG.md has a section for it.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.version import Version

from relay import __version__
from requirements.notes import section

ROOT = Path(__file__).parents[1]
TAG = re.compile(r"v(\d+\.\d+\.\d+(?:-[0-9A-Za-z.]+)?)")


def names(tag: str, tags: Iterable[str]) -> dict[str, str]:
    """The names of a release, among all tags that there are. Raises ValueError if the tag is no `vX.Y.Z`.

    `latest` is the highest version that is no prerelease, so a release of an older line never takes it; `X.Y` follows
    the highest of its line.
    """
    found = TAG.fullmatch(tag)
    if found is None:
        raise ValueError(f"{tag}: a release's tag is vX.Y.Z, or vX.Y.Z-rc1 before it")
    version = Version(found[1])
    others = [Version(other[1]) for other in map(TAG.fullmatch, tags) if other]
    finished = [other for other in others if not other.is_prerelease and other != version]
    in_line = [other for other in finished if other.release[:2] == version.release[:2]]
    latest = not version.is_prerelease and all(version > other for other in finished)
    line = not version.is_prerelease and all(version > other for other in in_line)
    image = [found[1], *([f"{version.major}.{version.minor}"] if line else []), *(["latest"] if latest else [])]
    return {
        "version": found[1],
        "prerelease": str(version.is_prerelease).lower(),
        "latest": str(latest).lower(),
        "image-tags": ",".join(image),
    }


def main(tag: str) -> int:
    said = names(tag, sys.stdin.read().split())
    if said["version"] != __version__:
        print(f"{tag} is not the code's version: relay/__init__.py says {__version__}", file=sys.stderr)
        return 1
    changelog = (ROOT / "CHANGELOG.md").read_text()
    if said["prerelease"] != "true" and not section(__version__, changelog):
        print(f"CHANGELOG.md has no section [{__version__}]", file=sys.stderr)
        return 1
    print("\n".join(f"{name}={value}" for name, value in said.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
