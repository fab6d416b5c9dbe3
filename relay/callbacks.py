"""Exec's own callback: the address that Exec is given, and who comes to it.

Exec's create-job call takes one `callback_url`, and POSTs the job there when it ends: once, unsigned, with no promise
of a retry. The address holds a token, one a workspace: whoever has it may hint that a job ended, and nothing else. What
a hint is worth is `register.hint`'s to say.
"""

import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import replace

from relay.model import DAY, HOUR, Instant
from relay.store import callbacks
from relay.store.callbacks import CallbackToken
from relay.store.database import Tx

PATH = "/v1/exec/callbacks/"
OLD_GOOD_FOR = DAY
"""How long the token before the last rotation works, in milliseconds: longer than any job takes."""

_RANDOM_BYTES = 32
_SHOWN = 4


def ensure(tx: Tx, workspace: str) -> CallbackToken:
    """The workspace's token, made where it has none."""
    if (found := callbacks.get(tx, workspace)) is not None:
        return found
    made = CallbackToken(workspace=workspace, token=_new())
    return made if callbacks.add(tx, made) else callbacks.get(tx, workspace) or made


def rotate(tx: Tx, workspace: str, now: Instant) -> CallbackToken:
    """A new token; the one until now works for another day, the one before that no longer."""
    ensure(tx, workspace)
    before = callbacks.locked(tx, workspace) or ensure(tx, workspace)
    after = replace(before, token=_new(), old_token=before.token, old_until=now + OLD_GOOD_FOR)
    callbacks.save(tx, after)
    return after


def owner(tx: Tx, token: str, now: Instant, workspaces: Collection[str]) -> CallbackToken | None:
    """Whose token it is. All there are are compared, each in constant time, so that the time tells nothing."""
    digest = _digest(token)
    found = None
    for known in callbacks.every(tx):
        now_good = hmac.compare_digest(digest, _digest(known.token))
        was_good = hmac.compare_digest(digest, _digest(known.old_token or known.token))
        still_good = was_good and now < (known.old_until or 0)
        if (now_good or still_good) and known.workspace in workspaces:
            found = known
    return found


def hear(tx: Tx, token: CallbackToken, now: Instant) -> None:
    """Remembers, to the hour, that Exec's callbacks reach this relay."""
    if token.heard_at is None or not 0 <= now - token.heard_at < HOUR:
        callbacks.heard(tx, token.workspace, now)


def url_of(token: CallbackToken, public_url: str | None) -> str | None:
    """What Exec is given as `callback_url`; None where nobody said how the relay is reached from outside."""
    return None if public_url is None else public_url.rstrip("/") + PATH + token.token


def masked(token: CallbackToken, public_url: str) -> str:
    """The same, fit for a log: enough to tell one token from the next."""
    return f"{public_url.rstrip('/')}{PATH}{token.token[:_SHOWN]}…"


def _new() -> str:
    return secrets.token_urlsafe(_RANDOM_BYTES)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
