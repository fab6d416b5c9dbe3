"""API keys of the configuration: of a key that is written there only its hash goes on."""

from collections.abc import Mapping
from typing import Any

from relay.config import parsers
from relay.config.reader import KeyPath, Problem
from relay.security.api_keys import hash_api_key

_NO_HASH = "sha256:" + "0" * 64
"""Stands where a key could not be used, so that the rest of its entry is judged too; nothing is made of it."""


def with_hashes(data: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """The data with every API key replaced by its hash."""
    security = data.get("security")
    keys = security.get("api_keys") if isinstance(security, Mapping) else None
    if not isinstance(security, Mapping) or not isinstance(keys, list | tuple):
        return data, []
    problems: list[Problem] = []
    hashed = [_hashed(key, number, problems) for number, key in enumerate(keys)]
    return {**data, "security": {**security, "api_keys": hashed}}, problems


def _hashed(given: Any, number: int, problems: list[Problem]) -> dict[str, Any]:
    place: KeyPath = ("security", "api_keys", number)
    written = given
    if isinstance(given, str):
        written = {"hash" if given.startswith("sha256:") else "key": given}
    elif isinstance(given, Mapping) and "key" in given:
        place = (*place, "key")
    entry: dict[str, Any] = {"name": f"key-{number + 1}", "hash": _NO_HASH}
    if not isinstance(written, Mapping) or ("key" in written) == ("hash" in written):
        problems.append(
            Problem(place[:3], "must be a key, its hash, or {name, key or hash, scopes}; see `relay keygen`")
        )
        return entry
    entry |= {str(part): value for part, value in written.items() if part != "key"}
    try:
        if "key" in written:
            entry["hash"] = hash_api_key(parsers.api_key(written["key"]))  # guard: configured-key-hash
    except ValueError as error:
        problems.append(Problem(place, str(error)))
    return entry
