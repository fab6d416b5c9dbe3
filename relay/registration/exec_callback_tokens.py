"""Exec's own callback: the address that Exec is given, and who comes to it.

Exec's create-job call takes one `callback_url`, and POSTs the job there when it ends: once, unsigned, with no promise
of a retry. The address holds a token, one a workspace: whoever has it may hint that a job ended, and nothing else. What
a hint is worth is `register.hint`'s to say.
"""

import hashlib
import hmac
from collections.abc import Collection
from dataclasses import replace

from relay.model import DAY, HOUR, Instant, new_token
from relay.store.engine.database import Tx, random_bytes
from relay.store.tables import callback_tokens
from relay.store.tables.callback_tokens import CallbackToken

PATH = "/v1/exec/callbacks/"
OLD_TOKEN_GRACE = DAY
"""How long the token before the last rotation works, in milliseconds: longer than any job takes."""

_RANDOM_BYTES = 32
_SHOWN = 4


def get_or_create_token(tx: Tx, workspace: str) -> CallbackToken:
    """The workspace's token, made where it has none."""
    if (found := callback_tokens.get(tx, workspace)) is not None:
        return found
    made = CallbackToken(workspace=workspace, token=_new(tx))
    return made if callback_tokens.add(tx, made) else callback_tokens.get(tx, workspace) or made


def rotate_token(tx: Tx, workspace: str, now: Instant) -> CallbackToken:
    """A new token; the one until now works for another day, the one before that no longer."""
    get_or_create_token(tx, workspace)
    before = callback_tokens.get_for_update(tx, workspace) or get_or_create_token(tx, workspace)
    after = replace(before, token=_new(tx), old_token=before.token, old_token_valid_until=now + OLD_TOKEN_GRACE)
    callback_tokens.save(tx, after)
    return after


def find_token(tx: Tx, token: str, now: Instant, workspaces: Collection[str]) -> CallbackToken | None:
    """Whose token it is. All there are are compared, each in constant time, so that the time tells nothing."""
    digest = _digest(token)
    found = None
    for known in callback_tokens.all(tx):
        now_good = hmac.compare_digest(digest, _digest(known.token))
        was_good = hmac.compare_digest(digest, _digest(known.old_token or known.token))
        still_good = was_good and now < (known.old_token_valid_until or 0)
        if (now_good or still_good) and known.workspace in workspaces:
            found = known
    return found


def record_callback(tx: Tx, token: CallbackToken, now: Instant) -> None:
    """Remembers, to the hour, that Exec's callbacks reach this relay."""
    if token.last_callback_at is None or not 0 <= now - token.last_callback_at < HOUR:
        callback_tokens.mark_received(tx, token.workspace, now)


def url_of(token: CallbackToken, public_url: str | None) -> str | None:
    """What Exec is given as `callback_url`; None where nobody said how the relay is reached from outside."""
    return None if public_url is None else public_url.rstrip("/") + PATH + token.token


def masked_url(token: CallbackToken, public_url: str) -> str:
    """The same, fit for a log: enough to tell one token from the next."""
    return f"{public_url.rstrip('/')}{PATH}{token.token[:_SHOWN]}…"


def _new(tx: Tx) -> str:
    return new_token(random_bytes(tx, _RANDOM_BYTES))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
