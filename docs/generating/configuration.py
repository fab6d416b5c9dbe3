"""Writes the page of the configuration, from `config.example.yaml`, which tests compare with the code."""

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
    """The page: every key with its default and its meaning, then the whole example."""
    text = EXAMPLE.read_text()
    values = dict(_values(text))
    parts = [_HEAD]
    for section in Config.model_fields:
        rows = [_row(section, key, values) for key in _leaves(section)]
        if rows:
            parts += [f"\n## {section}\n", table(["key", "default", "meaning"], rows)]
    return "\n".join([*parts, "\n## The whole file\n", _WHOLE, code(text, "yaml")])


def _leaves(section: str) -> Iterator[str]:
    """The keys of a section that are not sections themselves, such as `budget.per_minute`."""
    model = Config.model_fields[section].annotation
    if isinstance(model, type) and issubclass(model, BaseModel):
        yield from _leaves_of(model)


def _leaves_of(model: type[BaseModel], before: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        types = [type_ for type_ in (field.annotation, *get_args(field.annotation)) if isinstance(type_, type)]
        nested = [type_ for type_ in types if issubclass(type_, BaseModel)]
        if nested and field.annotation in nested:
            yield from _leaves_of(nested[0], f"{before}{name}.")
        else:
            yield before + name


def _values(text: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Each key of the example with its value and its comment."""
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        if match := _KEY.fullmatch(line):
            depth = len(match[1])
            path = [part for part in path if part[0] < depth] + [(depth, match[2])]
            yield ".".join(name for _, name in path), (match[3] or "", match[4] or "")


def _row(section: str, key: str, values: dict[str, tuple[str, str]]) -> list[str]:
    value, comment = values[f"{section}.{key}"]
    *above, _ = f"{section}.{key}".split(".")
    _, comment_above = values[".".join(above)]
    return [f"`{section}.{key}`", f"`{value}`", comment or comment_above]


_HEAD = """\
# Configuration

The relay reads `config.yaml`, or the file that `--config` names. It replaces `${VAR}` and `${VAR:-default}` by
variables of the environment; `$$` is a dollar sign. Durations: `500ms`, `15s`, `5m`, `1h30m`, `30d`.

**Environment.** Every key can also be set in the environment, which overrides the file: `polling.interval` is
`RELAY_POLLING__INTERVAL`, `exec.budget.share` is `RELAY_EXEC__BUDGET__SHARE`. The environment alone is enough, without
a file.

**Secrets in files.** A variable whose name ends in `_FILE` names a file that contains the value:
`RELAY_EXEC__API_KEY_FILE=/run/secrets/exec` sets `exec.api_key`, and `${SLACK_URL}` reads the file of `SLACK_URL_FILE`
if `SLACK_URL` is not set. Docker and Kubernetes mount secrets as such files. The file contains UTF-8 text; line breaks
at its end are removed. The relay does not start if a file is missing or empty, or if both variables are set.

**Proxies.** `exec.proxy` is an HTTP proxy for requests to Exec, `delivery.proxy` one for notifications; a user name and
a password may be part of the URL. The relay ignores `HTTP_PROXY` and the like. [Behind a
proxy](../how-to/proxy.md#outgoing-proxies) says what a proxy changes.

**Mistakes.** If a key does not exist, a value has the wrong type, or a variable is not set, the relay does not start.
It reports all such mistakes at once, each with file, line, key and the closest right name. `relay check` reports the
same without starting.
"""
_WHOLE = (
    "It includes the lists `workspaces`, `endpoints` and `security.api_keys`, whose entries have keys of their own:\n"
)
