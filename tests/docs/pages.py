"""The documentation's pages, parsed: sections, files and commands."""

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
"""A fenced block, which may stand in a list: its indentation, language and code."""
_GOES_ON = "\\"
_NAMED = re.compile(r"(?:<\?php\n)?(?:#|//) ([\w./-]+\.\w+)\n")


@dataclass(frozen=True)
class Section:
    """What stands under one heading, whatever its level."""

    title: str
    text: str
    files: dict[str, str] = field(default_factory=dict)
    """By the name that a snippet's first line gives as a comment."""
    commands: tuple[str, ...] = ()
    """Of its console blocks, lines that go on with a backslash joined."""


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of one language."""
    return [code for found, code in _fenced(text) if found == language]


def _fenced(text: str) -> list[tuple[str, str]]:
    found = _FENCE.findall(text)
    return [(language, re.sub(rf"^{indent}", "", code, flags=re.MULTILINE)) for indent, language, code in found]


def commands(text: str) -> list[str]:
    """The commands of console blocks: from `$ ` to the end of the command, which may span lines."""
    found: list[str] = []
    for block in blocks(text, "console"):
        typing = False
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(line[2:])
                typing = True
            elif typing and found[-1].endswith(_GOES_ON):
                found[-1] = found[-1].removesuffix(_GOES_ON) + line.strip()
            elif typing and found[-1].count("'") % 2:
                found[-1] += f"\n{line}"
            else:
                typing = False
    return found


def sections(page: Path) -> dict[str, Section]:
    """The sections of a page, by title."""
    text = page.read_text()
    fenced = [match.span() for match in _FENCE.finditer(text)]
    heads = [
        match
        for match in re.finditer(r"^#+ (.+)$", text, re.MULTILINE)
        if not any(start <= match.start() < end for start, end in fenced)
    ]
    found = {}
    for head, after in zip(heads, [*heads[1:], None], strict=True):
        part = text[head.end() : after.start() if after else len(text)]
        files = {name[1]: code for _, code in _fenced(part) if (name := _NAMED.match(code))}
        found[head[1]] = Section(head[1], part, files, tuple(commands(part)))
    return found


def all_pages() -> list[Path]:
    """Every handwritten page, and the README."""
    written = [path for path in DOCS.rglob("*.md") if not {"_build", "reference"} & set(path.relative_to(DOCS).parts)]
    return [ROOT / "README.md", *sorted(written)]
