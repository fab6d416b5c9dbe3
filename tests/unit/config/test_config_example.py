"""config.example.yaml, held to the model that it documents."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from relay import config
from relay.config import Config
from relay.config.reader import known_keys
from relay.signing import standard_webhooks

KEY = "exec_live_" + "a" * 40
EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"
LISTS = ("workspaces", "api_keys", "endpoints")
"""The lists that the example shows in comments."""


def with_comments_opened(block: str) -> str:
    """The example, with the comment signs of one list taken away."""
    opened, inside = [], False
    for line in EXAMPLE.read_text().splitlines():
        stripped = line.lstrip()
        inside = stripped.startswith(f"# {block}:") or (inside and stripped.startswith("# "))
        if stripped.startswith(f"{block}: []"):
            continue
        opened.append(line.replace("# ", "", 1) if inside else line)
    text = "\n".join(opened).replace("sha256:…", "sha256:" + "0" * 64)
    return text.replace("  api_key: ${EXEC_API_KEY} ", "  # ", 1) if block == "workspaces" else text


def places(data: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of nested data, entries of lists counted as one."""
    if isinstance(data, dict):
        for name, value in data.items():
            yield (*above, name)
            yield from places(value, (*above, name))
    elif isinstance(data, list):
        for entry in data:
            yield from places(entry, above)


def every_key(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key that the model knows, in sections and in the entries of lists."""
    for name in known_keys(model, above):
        yield (*above, name)
        yield from every_key(model, (*above, name))


def test_the_example_holds_the_defaults() -> None:
    """It loads with only Exec's key, and changes nothing."""
    assert config.load(EXAMPLE, {"EXEC_API_KEY": KEY}) == config.from_mapping({"exec": {"api_key": KEY}})


def test_the_example_shows_every_key() -> None:
    """As a value or in a comment, and no other key."""
    texts = [EXAMPLE.read_text(), *map(with_comments_opened, LISTS)]
    shown = {place for text in texts for place in places(yaml.safe_load(text))}
    own = {place for place in shown if not {"headers", "template"} & set(place[:-1])}
    assert own == set(every_key(Config))


@pytest.mark.parametrize("block", LISTS)
def test_the_commented_lists_of_the_example_load(tmp_path: Path, block: str) -> None:
    """Each commented list loads when its comment signs are taken away."""
    text = with_comments_opened(block)
    environ = {name: f"{KEY}{number}" for number, name in enumerate(re.findall(r"\$\{(\w+)\}", text))}
    environ |= {"SLACK_URL": "https://hooks.slack.com/services/T/B/X"}
    environ |= {"SLACK_SIGNING_SECRET": standard_webhooks.new_secret(b"x" * 32)}
    path = tmp_path / "config.yaml"
    path.write_text(text)
    loaded = config.load(path, environ)
    names = {
        "workspaces": [space.name for space in loaded.workspaces],
        "api_keys": [key.name for key in loaded.security.api_keys],
        "endpoints": [endpoint.name for endpoint in loaded.endpoints],
    }
    expected = {
        "workspaces": ["sales", "success"],
        "api_keys": ["zapier", "ops"],
        "endpoints": ["sales-channel", "crm"],
    }
    assert names[block] == expected[block]
