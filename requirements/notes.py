"""The notes of a release, as Markdown: python -m requirements.notes 0.1.0 IMAGE sha256:... OWNER/NAME"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

NOTES = """\
{changes}

## Get it

```sh
pip install exec-relay=={version}
docker pull {image}@{digest}
```

The image is for amd64 and arm64, signed, and has a list of its parts (SBOM) and its provenance with it. To see that it
was built here, of this tag:

```sh
cosign verify {image}@{digest} \\
  --certificate-oidc-issuer https://token.actions.githubusercontent.com \\
  --certificate-identity https://github.com/{repository}/.github/workflows/release.yml@refs/tags/v{version}
```
"""


def section(version: str, changelog: str) -> str | None:
    """What CHANGELOG.md says of a version, without its heading; None if it has no section."""
    found = re.search(rf"^## \[{re.escape(version)}\] - .+?\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else None


def notes(version: str, image: str, digest: str, repository: str) -> str:
    """What CHANGELOG.md says, and how to get just this."""
    changes = section(version, (ROOT / "CHANGELOG.md").read_text()) or "What comes next, to be tried."
    return NOTES.format(changes=changes, version=version, image=image, digest=digest, repository=repository)


if __name__ == "__main__":
    sys.stdout.write(notes(*sys.argv[1:]))
