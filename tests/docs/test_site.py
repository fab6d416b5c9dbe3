"""The site: it builds without warnings, every page is reachable, and the reference comes from the code."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pygments.styles import get_style_by_name
from pygments.token import STANDARD_TYPES, Whitespace

from docs.generating import api, commands, configuration, events, library, metrics
from relay.cli import COMMANDS
from relay.config import Config
from relay.formats import FORMATS
from relay.model import EventType, OperatorEventType
from relay.web.app import OPERATIONS
from tests.docs.pages import DOCS, ROOT, all_pages, blocks, sections

_BUILDS_WITHIN = 280.0


def build(source: Path, out: Path, builder: str = "html") -> subprocess.CompletedProcess[str]:
    """Builds like `make docs`, in another folder."""
    asked = ["-W", "--keep-going", "-q", "-b", builder, "-c", str(DOCS), str(source), str(out)]
    command = [sys.executable, "-m", "sphinx", *asked]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_BUILDS_WITHIN)


@pytest.mark.timeout(300)
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """No dead link, no page outside the navigation, no missing heading."""
    done = build(DOCS, tmp_path)
    assert done.returncode == 0, done.stderr
    made = {path.relative_to(tmp_path).with_suffix(".md") for path in tmp_path.rglob("*.html")}
    written = {path.relative_to(DOCS) for path in all_pages() if path.is_relative_to(DOCS)}
    assert written <= made


def test_a_dead_link_fails_the_build(tmp_path: Path) -> None:
    """A link to a missing page or heading fails, and so does an unknown directive."""
    (tmp_path / "index.md").write_text("# A page\n\n[x](nowhere.md) [y](#nowhere)\n\n```{nothing}\n```\n")
    done = build(tmp_path, tmp_path / "out", "dummy")
    assert done.returncode != 0
    assert [word for word in ("nowhere.md", "'nowhere'", "'nothing'") if word not in done.stderr] == [], done.stderr


EVERY_PAGE = [
    *all_pages(),
    *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "integrations").glob("*/README.md")),
]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    titles = [re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", title) for title in sections(page)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_work_in_the_repository() -> None:
    """Links work in the repository too, to their headings; only the reference exists only on the site."""
    dead = []
    for page in EVERY_PAGE:
        for target, anchor in re.findall(r"\]\((?!\w+:)([^)#]*)#?([^)]*)\)", page.read_text()):
            path = (page.parent / target).resolve() if target else page
            if path.parent == DOCS / "reference":
                continue
            if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
                dead.append(f"{page.name}: {target}#{anchor}")
    assert dead == []


def test_every_picture_is_shown() -> None:
    """No picture is left over, and each has a text for those who don't see it."""
    shown = {
        (page.parent / target).resolve()
        for page in EVERY_PAGE
        for text, target in re.findall(r"!\[([^]]+)\]\(([^)]+)\)", page.read_text())
        if text.strip()
    }
    assert set((DOCS / "images").iterdir()) - shown == set()


def test_the_make_target_is_strict() -> None:
    """`make docs` builds like the test above."""
    assert "sphinx -W --keep-going -q -b html docs docs/_build/html" in (ROOT / "Makefile").read_text()


def luminance(colour: str) -> float:
    """As WCAG 2 defines it; the colour is `#rrggbb` or without the `#`."""
    parts = [int(colour.lstrip("#")[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_code_can_be_read_in_dark_mode() -> None:
    """Each colour of the dark style has WCAG's contrast of 4.5 with its background, or the site gives it another."""
    [name] = re.findall(r'^pygments_dark_style = "(\w+)"', (DOCS / "conf.py").read_text(), re.MULTILINE)
    style, own = get_style_by_name(name), (DOCS / "static/site.css").read_text()
    replaced = set(re.findall(r"\.highlight \.(\w+)(?=[^}]*color: inherit !important)", own))
    background = luminance(style.background_color)
    dark = {
        STANDARD_TYPES[token]
        for token, rule in style
        if rule["color"] and (luminance(rule["color"]) + 0.05) / (background + 0.05) < 4.5
    }
    assert dark - {STANDARD_TYPES[Whitespace]} == replaced == {"err", "cs"}


def test_every_key_has_its_row() -> None:
    """Each section that is no list has a row for every key, with its meaning."""
    text = configuration.page()
    for section, field in Config.model_fields.items():
        model = field.annotation
        for name in getattr(model, "model_fields", ()):
            if (section, name) not in (("exec", "budget"), ("storage", "retention_of")):
                assert f"| `{section}.{name}` | " in text, name
    assert re.findall(r"RELAY_\w+", text)[:2] == ["RELAY_POLLING__INTERVAL", "RELAY_EXEC__BUDGET__SHARE"]
    rows = [row.split(" | ") for row in text.splitlines() if row.startswith("| `")]
    assert [row[0] for row in rows if not row[2].strip(" |")] == []


def test_every_call_has_its_section() -> None:
    """With its scope."""
    text = api.page()
    for one in OPERATIONS:
        assert f"### {one.method} {one.path}\n" in text
    assert text.count("Needs a key with the scope") == sum(one.scope is not None for one in OPERATIONS)


def test_every_verb_has_its_help() -> None:
    """With its options."""
    text = commands.page()
    assert re.findall(r"^## relay ([\w-]+)$", text, re.MULTILINE) == list(COMMANDS)
    within = re.findall(r"^### relay (\w+ \w+)$", text, re.MULTILINE)
    assert {"callback show", "callback rotate"} <= set(within)
    assert text.count("Options:") == len([*COMMANDS, *within]) + 1


def test_every_metric_has_its_row() -> None:
    """With its labels; counters have the name that Prometheus shows."""
    text = metrics.page()
    assert "| `relay_polls_total` | counter | `workspace`, `outcome` |" in text
    assert "| `relay_detection_delay_seconds` | histogram |" in text
    assert len(re.findall(r"^\| `relay_", text, re.MULTILINE)) >= 10


def test_every_exception_of_verify_has_its_row() -> None:
    """The page also shows how to call the function."""
    text = library.page()
    named = re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)
    assert named == ["Unverified", "MissingHeader", "TimestampTooOld", "TimestampTooNew", "BadSignature", "InvalidBody"]
    assert "def verify(headers: " in text
    assert "Raises a subclass of Unverified" in text


def test_every_event_and_format_has_its_body() -> None:
    """Each ending as `standard`, the others in brief; all of it JSON."""
    text = events.page()
    for type in EventType:
        assert text.count(f"| `{type.value}` |") == 1
    shown = re.findall(r"^### ([\w-]+)$", text, re.MULTILINE)
    assert set(FORMATS) <= set(shown)
    bodies = [json.loads(block) for block in blocks(text, "json")]
    shown_types = [body["type"] for body in bodies if "type" in body and "data" in body]
    assert shown_types == [*(type.value for type in EventType), OperatorEventType.KEY_REFUSED.value]
