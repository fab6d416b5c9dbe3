"""Takes the newest digests into the files that name images and actions. Run by `make renew`.

Images (`name:tag@sha256:...`) keep their tag and get its digest of today. Actions (`owner/name@COMMIT # vX.Y.Z`) get
the newest release of their major version: a new major is a person's decision. Exit code 1 if one could not be asked.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from packaging.version import Version

ROOT = Path(__file__).parents[1]
FILES = (
    "docker-bake.hcl",
    "compose.yaml",
    *(f".github/workflows/{name}.yml" for name in ("checks", "release", "renewal")),
)
IMAGE = re.compile(r"(?<=[\s/\"])([a-z][a-z0-9./-]*:[\w.-]+)@(sha256:[0-9a-f]{64})")
ACTION = re.compile(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)")

Digest = Callable[[str], str]
"""From an image's name and tag to its digest."""
Releases = Callable[[str], dict[str, str]]
"""From an action's repository to the commits of its releases, by tag."""


def renewed(text: str, digest: Digest, releases: Releases) -> str:
    """A file's text with what is newest in the place of each digest and commit."""
    text = IMAGE.sub(lambda found: f"{found[1]}@{digest(found[1])}", text)
    return ACTION.sub(lambda found: _action(found[1], found[3], releases(found[1])), text)


def _action(name: str, tag: str, releases: dict[str, str]) -> str:
    major = Version(tag).major
    newest = max((one for one in releases if Version(one).major == major), key=Version)
    return f"{name}@{releases[newest]} # {newest}"


def digest_of(image: str) -> str:
    """As the registry has it today."""
    crane = _said("sh", "requirements/tool.sh", "crane").strip()
    return _said(crane, "digest", image).strip()


def releases_of(action: str) -> dict[str, str]:
    """As its repository has them: a tag with an object of its own is listed a second time, with the commit."""
    listed = _said("git", "ls-remote", "--tags", f"https://github.com/{action}")
    found = re.findall(r"^([0-9a-f]{40})\trefs/tags/(v\d+\.\d+\.\d+)(?:\^\{\})?$", listed, re.MULTILINE)
    return {tag: commit for commit, tag in found}


def _said(*words: str) -> str:
    return subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=300).stdout


def main() -> int:
    failed = False
    for name in FILES:
        path = ROOT / name
        try:
            text = renewed(path.read_text(), digest_of, releases_of)
        except (subprocess.SubprocessError, ValueError) as error:
            print(f"{name}: NOT RENEWED: {error}")
            failed = True
            continue
        print(f"{name}: {'as it was' if text == path.read_text() else 'renewed'}")
        path.write_text(text)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
