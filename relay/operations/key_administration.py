"""Creates and revokes API keys of the store, for the command line and the dashboard. The audit log names who did it.

The functions work inside the caller's transaction. Names of keys in the configuration are the caller's to pass.
"""

from collections.abc import Collection, Sequence

from relay.errors import Conflict, NotFound
from relay.model import Actor, AuditAction, Instant
from relay.operations.api_key_cache import MAX_KEYS
from relay.security import SCOPES, Scope, hash_api_key
from relay.store import Tx
from relay.store.tables import api_keys, audit
from relay.store.tables.api_keys import StoredApiKey
from relay.suggestions import did_you_mean_or_list


def stored_key(id: str, name: str, key: str, scopes: Collection[Scope], now: Instant) -> StoredApiKey:
    """The row of a new key, with its scopes in their usual order."""
    # guard: stored-key-hash
    return StoredApiKey(id=id, name=name, hash=hash_api_key(key), scopes=ordered(scopes), created_at=now)


def ordered(scopes: Collection[Scope]) -> tuple[Scope, ...]:
    """Each scope once, in their usual order."""
    return tuple(scope for scope in SCOPES if scope in scopes)


def mintable(scopes: Sequence[Scope]) -> tuple[Scope, ...]:
    """The scopes that somebody with these may give to a key: their own, and what an admin may do anyway."""
    return ordered((*scopes, "subscribe") if "admin" in scopes else scopes)


def create(tx: Tx, key: StoredApiKey, configured: Collection[str], actor: Actor) -> bool:
    """Adds the key. Returns whether it is the first key that the store ever had.

    Raises Conflict if the name is taken, also by a key of the configuration, or there are too many keys.
    """
    if key.name in configured:
        text = "security.api_keys of the configuration has a key of this name; choose another"
        raise Conflict("key_exists", text, "name")
    is_first = not api_keys.any_ever_created(tx)
    if len(api_keys.active(tx)) >= MAX_KEYS:
        raise Conflict("too_many_keys", f"there are {MAX_KEYS:,} keys already, the maximum; revoke unused ones")
    if not api_keys.add(tx, key):
        text = f"there is a key named {key.name}; choose another name, or revoke that one first"
        raise Conflict("key_exists", text, "name")
    audit.add(tx, actor, AuditAction.KEY_CREATED, key.created_at, key.id, key.name, scopes=key.scopes)
    return is_first


def revoke(tx: Tx, name: str, configured: Collection[str], actor: Actor, now: Instant) -> int:
    """Revokes the key of this name. Returns how many keys are left in the store.

    Raises Conflict for a key of the configuration, NotFound if no key has the name.
    """
    if (id := api_keys.revoke(tx, name, now)) is not None:
        audit.add(tx, actor, AuditAction.KEY_REVOKED, now, id, name)
        return len(api_keys.active(tx))
    if name in configured:
        text = f"the key {name} is in the configuration: remove it from security.api_keys, and reload or restart"
        raise Conflict("key_configured", f"{text} the relay")
    names = [key.name for key in api_keys.active(tx)]
    raise NotFound("key_not_found", f"there is no key of this name{did_you_mean_or_list(name, names)}")
