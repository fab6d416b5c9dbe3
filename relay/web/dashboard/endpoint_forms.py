"""Forms to create, edit and delete standing endpoints, with a preview and a test before anything is saved.

A saved URL or secret is never shown again: in the edit form an empty field leaves it unchanged.

Two people may edit one endpoint at a time. A form knows what it showed, so that it changes only what its user changed;
if somebody else has changed the same meanwhile, it is shown again and says so.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from relay.endpoints import EndpointPatch, EndpointSpec, admin, spec
from relay.errors import Conflict, RequestError, ValidationFailed
from relay.formats import FORMATS
from relay.model import FINAL_EVENTS, Attempt, Endpoint, EndpointKind, EventType
from relay.signing import standard_webhooks
from relay.store import Tx
from relay.web.core import path_params
from relay.web.dashboard.endpoints import preview, show_endpoint
from relay.web.dashboard.page import PageRequest, parse_enum, redirect_with_notice, render

_FIELDS = ("name", "url", "format", "secret", "event", "quiet", "digest", "fallback", "shown")
_SHOWN = ("name", "format", "quiet", "digest", "fallback")
"""The texts that a form shows; it shows the events beside them."""


async def new_endpoint(page: PageRequest) -> Response:
    """An empty form for a new endpoint."""
    return _render_form(page, None, {"format": "auto"}, FINAL_EVENTS)


async def create(page: PageRequest, form: Mapping[str, str]) -> Response:
    """Previews, tests or saves a new endpoint, as the pressed button says."""
    return await _submit(page, form, None)


async def edit_endpoint(page: PageRequest, id: str) -> Response:
    """The form of an endpoint, without its URL and secret. Raises Conflict for an endpoint of the configuration."""
    endpoint = await _editable(page, id)
    shown = _shown(endpoint)
    fields = {name: shown[name] for name in _SHOWN} | {"shown": json.dumps(shown)}
    return _render_form(page, endpoint, fields, endpoint.events)


async def edit(page: PageRequest, id: str, form: Mapping[str, str]) -> Response:
    """Previews, tests or saves the changes to an endpoint, as the pressed button says."""
    return await _submit(page, form, await _editable(page, id))


async def delete(page: PageRequest, id: str, form: Mapping[str, str]) -> Response:
    """Deletes an endpoint: withdraws its registrations and cancels its pending deliveries."""
    await admin.delete(page.relay.store, path_params.parse_id(id, "endpoint"), page.now, actor=page.actor)
    return redirect_with_notice(page, "/endpoints", "deleted")


async def _editable(page: PageRequest, id: str) -> Endpoint:
    endpoint_id = path_params.parse_id(id, "endpoint")
    endpoint = await page.relay.store.read(lambda tx: admin.get(tx, endpoint_id))
    admin.refuse_unless_changeable(endpoint)
    return endpoint


async def _submit(page: PageRequest, form: Mapping[str, str], endpoint: Endpoint | None) -> Response:
    fields = {name: form.get(name, "").strip() for name in _FIELDS}
    events = tuple(type for type in EventType if form.get(type.value) == "on")
    action = form.get("action", "preview")
    try:
        if not events:
            raise ValidationFailed("no_events", "choose at least one event", "events")
        if action == "save":
            return await (
                _save_new(page, fields, events) if endpoint is None else _save(page, endpoint, fields, events)
            )
        draft = _draft(page, fields, events, endpoint)
        type = parse_enum(EventType, fields["event"], "event") or EventType.COMPLETED
        by = page.user.name or None
        attempt = await page.relay.send_test(draft, page.now, type, by) if action == "test" else None
    except RequestError as error:
        if isinstance(error, _ChangedMeanwhile):
            fields["shown"] = json.dumps(error.current)  # saving again replaces what somebody else saved
        return _render_form(
            page, endpoint, fields, events, error=error, code=200 if action == "preview" else error.status
        )
    return _render_form(page, endpoint, fields, events, draft=draft, attempt=attempt)


async def _save_new(page: PageRequest, fields: Mapping[str, str], events: tuple[EventType, ...]) -> Response:
    validated = spec.validate(_spec(fields, events, None), page.relay.rules, "url")
    endpoint, is_new = await page.relay.store.write(
        lambda tx: admin.create(tx, fields["name"] or None, validated, page.now, actor=page.actor)
    )
    if not is_new:
        return redirect_with_notice(page, f"/endpoints/{endpoint.id}", "endpoint-exists")
    secret = endpoint.secrets[0].value
    return await show_endpoint(
        page,
        endpoint.id,
        created=True,
        secret=standard_webhooks.secret_to_show(secret),
        public_key=standard_webhooks.public_key_of(secret),
    )


async def _save(
    page: PageRequest, endpoint: Endpoint, fields: Mapping[str, str], events: tuple[EventType, ...]
) -> Response:
    entered: dict[str, Any] = {name: fields[name] for name in _SHOWN} | {"events": sorted(events)}
    shown = _read_shown(fields["shown"])
    changes = {name: value for name, value in entered.items() if value != shown.get(name)}
    if changes.get("name") == "" and shown.get("name"):
        raise ValidationFailed("missing_field", "an endpoint keeps a name; enter another one", "name")
    patch = EndpointPatch(
        name=changes.get("name") or None,
        url=fields["url"] or None,
        format=None if changes.get("format") == endpoint.format else changes.get("format") or None,
        events=events if "events" in changes else None,
        quiet=changes.get("quiet"),
        digest=changes.get("digest"),
        fallback=changes.get("fallback"),
    )

    def write(tx: Tx) -> None:
        locked = admin.get_locked(tx, endpoint.id)
        current = _shown(locked)
        others = [name for name in changes if name in shown and current[name] not in (shown[name], changes[name])]
        if others:
            raise _ChangedMeanwhile(others, current)
        admin.update(tx, locked, patch, page.relay.rules, page.now, page.actor)
        if fields["secret"]:
            config = page.relay.config.endpoints
            admin.rotate(tx, locked, fields["secret"], page.now, config, actor=page.actor)

    await page.relay.store.write(write)
    return redirect_with_notice(page, f"/endpoints/{endpoint.id}", "saved")


class _ChangedMeanwhile(Conflict):
    """Somebody else has changed what this form would change."""

    def __init__(self, names: Sequence[str], current: Mapping[str, Any]) -> None:
        self.current = current
        values = ", ".join(f"{name} is {_in_words(current[name])} now" for name in names)
        text = f"somebody else changed this endpoint meanwhile: {values}; save again to replace that by what is below"
        super().__init__("changed_meanwhile", text)


def _in_words(value: Any) -> str:
    return (", ".join(value) if isinstance(value, list) else value) or "empty"


def _shown(endpoint: Endpoint) -> dict[str, Any]:
    """What a form shows of the endpoint."""
    return {name: getattr(endpoint, name) or "" for name in _SHOWN} | {"events": sorted(endpoint.events)}


def _read_shown(text: str) -> Mapping[str, Any]:
    """What the form showed, as it says itself; nothing if it does not say it, and then all of its fields count."""
    try:
        shown = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return shown if isinstance(shown, dict) else {}


def _spec(fields: Mapping[str, str], events: tuple[EventType, ...], endpoint: Endpoint | None) -> EndpointSpec:
    """The endpoint in the form; its empty fields are those of the saved endpoint. Raises ValidationFailed."""
    url = fields["url"] or (endpoint.url if endpoint else "")
    if not url:
        raise ValidationFailed("missing_field", "paste the URL that is notified", "url")
    secret = fields["secret"] or (endpoint.secrets[0].value if endpoint else None)
    headers = endpoint.headers if endpoint else {}
    return EndpointSpec(
        url,
        fields["format"] or "auto",
        events,
        secret,
        headers,
        quiet=fields["quiet"],
        digest=fields["digest"],
        fallback=fields["fallback"],
    )


def _draft(
    page: PageRequest, fields: Mapping[str, str], events: tuple[EventType, ...], endpoint: Endpoint | None
) -> Endpoint:
    """The endpoint in the form, not saved."""
    if endpoint is not None and endpoint.template and fields["format"] == endpoint.format and not fields["url"]:
        return endpoint
    validated = spec.validate(_spec(fields, events, endpoint), page.relay.rules, "url")
    random_bytes = page.relay.store.random_bytes(spec.RANDOM_BYTES)
    return spec.new_endpoint(validated, kind=EndpointKind.STANDING, now=page.now, random_bytes=random_bytes)


def _render_form(
    page: PageRequest,
    endpoint: Endpoint | None,
    fields: Mapping[str, str],
    events: tuple[EventType, ...],
    *,
    draft: Endpoint | None = None,
    attempt: Attempt | None = None,
    error: RequestError | None = None,
    code: int = 200,
) -> Response:
    sample: dict[str, Any] = {"format": None, "preview": None, "preview_text": ""}
    previewed = draft or endpoint
    if previewed is not None and error is None:
        sample = preview(previewed, previewed.format, fields.get("event") or None, page)
    values: dict[str, Any] = {
        "endpoint": endpoint,
        "fields": dict.fromkeys(_FIELDS, "") | dict(fields),
        "chosen": events,
        "recognized": fields.get("format") == "auto" and draft is not None,
        "attempt": attempt,
        "error": error,
    }
    names = ["auto", *FORMATS, *([endpoint.format] if endpoint and endpoint.template else [])]
    choices = {"format_names": names, "all_events": list(EventType)}
    return render(page, "endpoint_form.html", code, None, **(sample | values | choices))
