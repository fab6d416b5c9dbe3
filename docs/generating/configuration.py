"""The configuration, from `config.example.yaml`, which tests hold to the code."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from docs.generating.tables import code, table
from relay.config import Config

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
_KEY = re.compile(r"( *)(\w+):(?: +([^#\n]*?))?(?: +# *(.*))?$")


def page() -> str:
    """Every key with its default and its meaning; then the example in full."""
    text = EXAMPLE.read_text()
    told = dict(_told(text))
    parts = [_HEAD]
    for section in Config.model_fields:
        rows = [_row(section, key, told) for key in _leaves(section)]
        if rows:
            parts += [f"\n## {section}\n", table(["key", "default", "is"], rows)]
    return "\n".join([*parts, "\n## The whole file\n", _WHOLE, code(text, "yaml")])


def _leaves(section: str) -> Iterator[str]:
    """`budget.per_minute` and the like: what stands in a section and is no section itself."""
    model = Config.model_fields[section].annotation
    if isinstance(model, type) and issubclass(model, BaseModel):
        yield from _leaves_of(model)


def _leaves_of(model: type[BaseModel], before: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = [one for one in (field.annotation, *get_args(field.annotation)) if isinstance(one, type)]
        nested = [one for one in inner if issubclass(one, BaseModel)]
        if nested and field.annotation in nested:
            yield from _leaves_of(nested[0], f"{before}{name}.")
        else:
            yield before + name


def _told(text: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Each key of the example with its value and its comment."""
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        if found := _KEY.fullmatch(line):
            depth = len(found[1])
            path = [part for part in path if part[0] < depth] + [(depth, found[2])]
            yield ".".join(name for _, name in path), (found[3] or "", found[4] or "")


def _row(section: str, key: str, told: dict[str, tuple[str, str]]) -> list[str]:
    value, comment = told[f"{section}.{key}"]
    *above, _ = f"{section}.{key}".split(".")
    _, comment_above = told[".".join(above)]
    return [f"`{section}.{key}`", f"`{value}`", comment or comment_above]


_HEAD = """\
# Configuration

`config.yaml`, or the file that `--config` names. `${VAR}` and `${VAR:-default}` in it are filled in from the
environment, `$$` is a dollar sign. Durations: `500ms`, `15s`, `5m`, `1h30m`, `30d`.

Every key can also be set in the environment, which goes before the file: `polling.interval` is
`RELAY_POLLING__INTERVAL`, `exec.budget.share` is `RELAY_EXEC__BUDGET__SHARE`. Without a file the environment is enough.

A key that does not exist, a value of the wrong kind, a variable that is not set: the relay does not start, and says
each with file, line, key and the nearest right name. `relay check` says the same without starting it.
"""
_WHOLE = "With the lists `workspaces`, `endpoints` and `security.api_keys`, whose entries have keys of their own:\n"
