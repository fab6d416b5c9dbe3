"""Tokens of Exec's callback URL, one for each workspace.

Exec's create-job call takes one `callback_url`, and POSTs the job there when it ends: once, unsigned, without promising
a retry. The URL contains the token: its holder may hint that a job ended, and nothing else
(`exec_callback_hints.py`).
"""

import hashlib
import hmac
from collections.abc import Collection
from dataclasses import replace

from relay.model import DAY, HOUR, THE_RELAY, Actor, AuditAction, Instant, new_token
from relay.store import Tx
from relay.store.engine.database import random_bytes
from relay.store.tables import audit, callback_tokens
from relay.store.tables.callback_tokens import CallbackToken

PATH = "/v1/exec/callbacks/"
OLD_TOKEN_GRACE = DAY
"""Milliseconds for which the token before the last rotation works: longer than any job takes."""

_RANDOM_BYTES = 32
_SHOWN = 4


def get_or_create_token(tx: Tx, workspace: str) -> CallbackToken:
    """The workspace's token; a new one if it has none."""
    if (existing := callback_tokens.get(tx, workspace)) is not None:
        return existing
    new = CallbackToken(workspace=workspace, token=_new(tx))
    return new if callback_tokens.add(tx, new) else callback_tokens.get(tx, workspace) or new


def rotate_token(tx: Tx, workspace: str, now: Instant, actor: Actor = THE_RELAY) -> CallbackToken:
    """A new token. The current token works for another day; an older one stops working. Locks the token."""
    get_or_create_token(tx, workspace)
    before = callback_tokens.get_for_update(tx, workspace) or get_or_create_token(tx, workspace)
    after = replace(before, token=_new(tx), old_token=before.token, old_token_valid_until=now + OLD_TOKEN_GRACE)
    callback_tokens.save(tx, after)
    audit.add(tx, actor, AuditAction.CALLBACK_ROTATED, now, workspace)
    return after


def find_token(tx: Tx, token: str, now: Instant, workspaces: Collection[str]) -> CallbackToken | None:
    """The row of the workspace whose token this is. It compares all tokens, each in constant time, so that timing
    reveals nothing."""
    digest = _digest(token)
    match = None
    for row in callback_tokens.all(tx):
        is_current = hmac.compare_digest(digest, _digest(row.token))
        is_old = hmac.compare_digest(digest, _digest(row.old_token or row.token))
        is_valid = is_current or (is_old and now < (row.old_token_valid_until or 0))
        if is_valid and row.workspace in workspaces:
            match = row
    return match


def record_callback(tx: Tx, token: CallbackToken, now: Instant) -> None:
    """Records, at most once an hour, that Exec's callbacks reach this relay."""
    if token.last_callback_at is None or not 0 <= now - token.last_callback_at < HOUR:
        callback_tokens.mark_received(tx, token.workspace, now)


def url_of(token: CallbackToken, public_url: str | None) -> str | None:
    """The `callback_url` for Exec; None if the relay's public URL is not configured."""
    return None if public_url is None else public_url.rstrip("/") + PATH + token.token


def masked_url(token: CallbackToken, public_url: str) -> str:
    """The URL for the log: it shows enough of the token to distinguish it from the next one."""
    return f"{public_url.rstrip('/')}{PATH}{token.token[:_SHOWN]}…"


def _new(tx: Tx) -> str:
    return new_token(random_bytes(tx, _RANDOM_BYTES))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
