"""API keys and their hashes."""

import re
from dataclasses import dataclass

import pytest

from relay.config import ApiKey
from relay.security import Scope, api_keys

KEYS = [ApiKey(name=name, hash=api_keys.hash_api_key(name * 24)) for name in "abc"]


def test_a_key_is_32_random_bytes() -> None:
    """The key contains all of them; fewer are refused."""
    made = {api_keys.generate_api_key(bytes([number]) + b"\0" * 31) for number in range(256)}
    assert len(made) == 256
    assert all(re.fullmatch(r"relay_[A-Za-z0-9_-]{43}", key) for key in made)
    with pytest.raises(ValueError, match="32 random bytes"):
        api_keys.generate_api_key(b"few")


def test_a_hash_does_not_reveal_its_key() -> None:
    """It is SHA-256 of any text."""
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", api_keys.hash_api_key("relay_x"))
    assert api_keys.hash_api_key("a") != api_keys.hash_api_key("b")
    assert api_keys.hash_api_key("\udcff") == api_keys.hash_api_key("?"), "half a character is no reason to fail"


def test_keys_are_found_by_their_hash() -> None:
    """The right key, and none for a similar hash."""
    assert [api_keys.find_by_hash(KEYS, key.hash) for key in KEYS] == KEYS
    assert api_keys.find_by_hash(KEYS, KEYS[0].hash[:-1]) is None
    assert api_keys.find_by_hash(KEYS, KEYS[0].hash.upper()) is None
    assert api_keys.find_by_hash([], KEYS[0].hash) is None


class Guarded(str):
    """A text that may be compared in constant time only."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared letter by letter")


@dataclass(frozen=True)
class GuardedKey:
    hash: Guarded
    id: str = "key_1"
    name: str = "guarded"
    scopes: tuple[Scope, ...] = ()


def test_all_keys_are_compared_in_constant_time() -> None:
    """If a key matches and if none does: timing reveals nothing about the keys."""
    keys = [GuardedKey(Guarded(key.hash)) for key in KEYS]
    for wanted in (KEYS[0].hash, KEYS[2].hash, api_keys.hash_api_key("none")):
        asked = iter(keys)
        api_keys.find_by_hash(asked, wanted)
        assert list(asked) == [], "all were polled"
