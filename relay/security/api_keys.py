"""API keys of the relay. The relay keeps their hashes only."""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

Scope = Literal["register", "subscribe", "read", "admin"]
"""What a key allows: register and withdraw jobs; create and remove endpoints of its own; read everything; change every
endpoint and resend."""

SCOPES: tuple[Scope, ...] = ("register", "subscribe", "read", "admin")
RANDOM_BYTES = 32

_PREFIX = "relay_"
_GENERATED = re.compile(r"relay_[A-Za-z0-9_-]{43}")


class ApiKey(Protocol):
    """A key of the configuration or of the store."""

    @property
    def id(self) -> str:
        """The id of a key in the store, or where another one is from."""

    @property
    def name(self) -> str:
        """The name of the key in logs and lists."""

    @property
    def hash(self) -> str:
        """The result of `hash_api_key`."""

    @property
    def scopes(self) -> Sequence[Scope]:
        """What the key allows."""


@dataclass(frozen=True, slots=True)
class LocalToken:
    """The key of a relay without API keys: made at its start, for the people at its machine."""

    hash: str
    id: str = "local"
    name: str = ""
    scopes: Sequence[Scope] = SCOPES


Key = TypeVar("Key", bound=ApiKey)


def generate_api_key(random_bytes: bytes) -> str:
    """`relay_` and the base64 of 32 random bytes. Raises ValueError for another number of bytes."""
    if len(random_bytes) != RANDOM_BYTES:
        raise ValueError(f"an API key takes {RANDOM_BYTES} random bytes")
    return _PREFIX + base64.urlsafe_b64encode(random_bytes).rstrip(b"=").decode()


def is_generated(key: str) -> bool:
    """Whether a text has the form of `generate_api_key`: 256 random bits, if it is a key at all."""
    return _GENERATED.fullmatch(key) is not None


def hash_api_key(key: str) -> str:
    """`sha256:` and 64 hexadecimal digits.

    A fast hash is enough: a key has 256 random bits, too many to try.
    """
    return "sha256:" + hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def find_by_hash(keys: Iterable[Key], hash: str) -> Key | None:
    """The key with this hash, or None. Compares every key, each in constant time, so that timing leaks nothing."""
    matching = [key for key in keys if hmac.compare_digest(key.hash, hash)]  # guard: constant-time
    return matching[0] if matching else None
