"""README.md as PyPI shows it, on standard output: links and pictures lead to the repository, at the tag."""

import re
import sys
import tomllib
from pathlib import Path

from relay import __version__

ROOT = Path(__file__).parents[1]


def absolute(text: str, repository: str, version: str) -> str:
    """The text with every relative link made absolute. `repository` is its URL at GitHub."""
    raw = repository.replace("https://github.com/", "https://raw.githubusercontent.com/")
    pages, pictures = f"{repository}/blob/v{version}/", f"{raw}/v{version}/"
    relative = r"(?!\w+:|#)"
    text = re.sub(rf"(!\[[^]]*\]\(|<img src=\"){relative}", rf"\g<1>{pictures}", text)
    return re.sub(rf"((?<!!)\[[^]]*\]\(){relative}", rf"\g<1>{pages}", text)


def main() -> int:
    """Prints the README of this version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    print(absolute((ROOT / "README.md").read_text(), project["urls"]["Source"], __version__), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
