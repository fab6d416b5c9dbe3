"""API keys of the configuration: each key is replaced by its hash before anything else reads it."""

from collections.abc import Mapping
from typing import Any

from relay.config import parsers
from relay.config.reader import KeyPath, Problem
from relay.security import hash_api_key

_NO_HASH = "sha256:" + "0" * 64
"""Replaces an unusable key, so that the rest of its entry is validated too. The configuration is refused anyway."""


def with_hashes(data: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """The data with every API key replaced by its hash."""
    security = data.get("security")
    keys = security.get("api_keys") if isinstance(security, Mapping) else None
    if not isinstance(security, Mapping) or not isinstance(keys, list | tuple):
        return data, []
    problems: list[Problem] = []
    hashed = [_hashed(key, number, problems) for number, key in enumerate(keys)]
    return {**data, "security": {**security, "api_keys": hashed}}, problems


def _hashed(entry: Any, number: int, problems: list[Problem]) -> dict[str, Any]:
    path: KeyPath = ("security", "api_keys", number)
    fields = entry
    if isinstance(entry, str):
        fields = {"hash" if entry.startswith("sha256:") else "key": entry}
    elif isinstance(entry, Mapping) and "key" in entry:
        path = (*path, "key")
    hashed: dict[str, Any] = {"name": f"key-{number + 1}", "hash": _NO_HASH}
    if not isinstance(fields, Mapping) or ("key" in fields) == ("hash" in fields):
        text = "must be a key, its hash, or {name, key or hash, scopes}; see `relay keygen`"
        problems.append(Problem(path[:3], text))
        return hashed
    hashed |= {str(part): value for part, value in fields.items() if part != "key"}
    try:
        if "key" in fields:
            hashed["hash"] = hash_api_key(parsers.api_key(fields["key"]))  # guard: configured-key-hash
    except ValueError as error:
        problems.append(Problem(path, str(error)))
    return hashed
