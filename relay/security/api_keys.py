"""API keys of the relay: what one is, and what is kept of it."""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol, TypeVar

Scope = Literal["register", "read", "admin"]
"""What a key may do: register jobs and withdraw; read what the relay knows; change endpoints and resend."""

SCOPES: tuple[Scope, ...] = ("register", "read", "admin")
RANDOM_BYTES = 32

_BEGINS = "relay_"


class ApiKey(Protocol):
    """A key as the relay knows it, wherever it is kept."""

    @property
    def name(self) -> str:
        """What it is for; logs and lists name it so."""

    @property
    def hash(self) -> str:
        """As `hash_api_key` has it: of the key itself nothing is kept."""

    @property
    def scopes(self) -> Sequence[Scope]:
        """What its holder may do."""


Key = TypeVar("Key", bound=ApiKey)


def generate_api_key(random_bytes: bytes) -> str:
    """`relay_` and 32 random bytes, as they are given to a client."""
    if len(random_bytes) != RANDOM_BYTES:
        raise ValueError(f"an API key takes {RANDOM_BYTES} random bytes")
    return _BEGINS + base64.urlsafe_b64encode(random_bytes).rstrip(b"=").decode()


def hash_api_key(key: str) -> str:
    """`sha256:` and 64 hexadecimal digits.

    A key holds more chance than anybody can try, so that its hash need not be a slow one.
    """
    return "sha256:" + hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def find_by_hash(keys: Iterable[Key], hash: str) -> Key | None:
    """The key with this hash. All there are are compared, each in constant time, so that the time tells nothing."""
    found = [key for key in keys if hmac.compare_digest(key.hash, hash)]  # guard: constant-time
    return found[0] if found else None
