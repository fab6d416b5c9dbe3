"""API keys: what there is, a form for a new one, which is shown once, and revoking."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from relay.config import parsers
from relay.errors import NotFound, RequestError, ValidationFailed
from relay.model import ID_BYTES, SECOND, new_id
from relay.operations import key_administration
from relay.operations.api_key_cache import CACHE_TTL
from relay.security import generate_api_key
from relay.security.api_keys import RANDOM_BYTES
from relay.store import Tx
from relay.store.tables import api_keys
from relay.store.tables.api_keys import StoredApiKey
from relay.web.core import path_params
from relay.web.dashboard.page import PageRequest, redirect_with_notice, render

_SCOPES = {
    "register": "register jobs, and withdraw its own registrations",
    "subscribe": "create, enable and remove endpoints of its own, as Zapier does",
    "read": "see jobs, deliveries and endpoints, but no secrets",
    "admin": "change endpoints and keys, resend",
}


async def list_keys(page: PageRequest) -> Response:
    """Keys of the store and of the configuration, the revoked ones last, and a form for a new one."""
    return await _show(page)


async def create(page: PageRequest, form: Mapping[str, str]) -> Response:
    """Creates a key, and shows it on this page only."""
    random_bytes = page.relay.store.random_bytes
    text = generate_api_key(random_bytes(RANDOM_BYTES))
    try:
        key = _requested(page, form, text, new_id("key", page.now, random_bytes(ID_BYTES)))
        configured = _configured_names(page)
        is_first = await page.relay.store.write(lambda tx: key_administration.create(tx, key, configured, page.actor))
    except RequestError as error:
        return await _show(page, error.status, error=error, fields=form)
    page.relay.api_key_cache.expire()
    return await _show(page, made=key, made_text=text, closes=is_first and not configured)


async def revoke(page: PageRequest, id: str, form: Mapping[str, str]) -> Response:
    """Revokes a key: this relay refuses it at once, the others within a second; its sessions end."""
    key_id = path_params.parse_id(id, "key")

    def work(tx: Tx) -> None:
        name = next((key.name for key in api_keys.active(tx) if key.id == key_id), None)
        if name is None:
            raise NotFound("key_not_found", "there is no key with this id, or it is revoked already")
        key_administration.revoke(tx, name, (), page.actor, page.now)

    await page.relay.store.write(work)
    page.relay.api_key_cache.expire()
    return redirect_with_notice(page, "/keys", "key-revoked")


def _requested(page: PageRequest, form: Mapping[str, str], text: str, id: str) -> StoredApiKey:
    """The key of the form. Raises ValidationFailed; nobody can give a scope that they lack."""
    try:
        name = parsers.name(form.get("name", "").strip())
    except ValueError as error:
        raise ValidationFailed("invalid_name", f"the name {error}", "name") from None
    allowed = key_administration.mintable(page.user.scopes)
    scopes = [scope for scope in _SCOPES if form.get(scope) == "on"]
    granted = [scope for scope in allowed if scope in scopes]
    if len(granted) != len(scopes):  # guard: no-scope-that-its-maker-lacks
        raise ValidationFailed("scope_not_yours", "you can't give a scope that you don't have", "scopes")
    if not granted:
        raise ValidationFailed("no_scopes", "choose what the key may do", "scopes")
    return key_administration.stored_key(id, name, text, granted, page.now)


async def _show(page: PageRequest, code: int = 200, **results: Any) -> Response:
    stored = await page.relay.store.read(api_keys.all)
    values: dict[str, Any] = {
        "configured": page.relay.config.security.api_keys,
        "active": [key for key in stored if key.revoked_at is None],
        "revoked": [key for key in stored if key.revoked_at is not None],
        "scopes": {name: _SCOPES[name] for name in key_administration.mintable(page.user.scopes)},
        "within": CACHE_TTL // SECOND,
        "made": None,
        "made_text": "",
        "closes": False,
        "error": None,
        "fields": {},
    }
    return render(page, "keys.html", code, None, **(values | results))


def _configured_names(page: PageRequest) -> tuple[str, ...]:
    return tuple(key.name for key in page.relay.config.security.api_keys)
