"""A form to register a job by hand."""

from collections.abc import Mapping, Sequence

from starlette.responses import Response

from relay import registration
from relay.endpoints import EndpointSpec
from relay.errors import RequestError, ValidationFailed
from relay.formats import FORMATS
from relay.model import FINAL_EVENTS, Endpoint, EventType, Registration
from relay.registration import RegistrationResult
from relay.store import Tx
from relay.store.tables import endpoints
from relay.web.core import path_params
from relay.web.dashboard.page import PageRequest, redirect_with_notice, render
from relay.web.dashboard.session import CurrentUser

EMPTY = {"job_id": "", "workspace": "", "endpoint": "", "callback_url": "", "format": "auto"}


async def form_page(page: PageRequest) -> Response:
    """The form; a link may fill in its job id."""
    return await _render_form(page, EMPTY | {"job_id": page.query("job_id") or ""}, None)


async def submit(page: PageRequest, form: Mapping[str, str]) -> Response:
    """Registers the job, or shows the form again with the error next to the field."""
    fields = {name: form.get(name, "").strip() for name in EMPTY}
    try:
        rules = page.relay.rules_for(page.user.has_scope("admin"))
        request = registration.validate(_spec(fields, form, page.user), rules, page.relay.clients)
        if not _events(form):
            raise ValidationFailed("no_events", "choose at least one event", "events")

        def write(tx: Tx) -> tuple[RegistrationResult, Sequence[Endpoint]]:
            result = registration.register(tx, request, page.now)
            return result, [result.endpoint] if result.endpoint else _standing(tx, result.registration.events)

        result, recipients = await page.relay.store.write(write)
    except RequestError as error:
        return await _render_form(page, fields, error, _events(form))
    page.relay.after_registration([result], page.request.state.request_id)
    is_heard = any(endpoint.enabled for endpoint in recipients)
    if result.secret is not None or not is_heard or not page.user.has_scope("read"):
        return render(
            page,
            "registered.html",
            registration=result.registration,
            endpoint=result.endpoint,
            secret=result.secret,
            recipients=recipients,
            is_heard=is_heard,
        )
    path = f"/jobs/{result.registration.workspace}/{result.registration.job_id}"
    return redirect_with_notice(page, path, "registered" if result.is_new else "duplicate")


async def withdraw(page: PageRequest, id: str, form: Mapping[str, str]) -> Response:
    """Withdraws a registration."""
    registration_id = path_params.parse_id(id, "registration")
    owner = None if page.user.has_scope("read") or page.user.has_scope("admin") else page.user.name
    withdrawn: Registration = await page.relay.store.write(
        lambda tx: registration.withdraw(tx, registration_id, page.now, owner, page.actor)
    )
    return redirect_with_notice(page, f"/jobs/{withdrawn.workspace}/{withdrawn.job_id}", "withdrawn")


def _spec(fields: Mapping[str, str], form: Mapping[str, str], user: CurrentUser) -> registration.RegistrationSpec:
    url = fields["callback_url"]
    return registration.RegistrationSpec(
        job_id=fields["job_id"],
        workspace=fields["workspace"] or None,
        callback=EndpointSpec(url, fields["format"] or "auto", outside_only=not user.has_scope("admin"))
        if url
        else None,
        endpoint=fields["endpoint"] or None,
        events=_events(form),
        metadata={},
        owner=user.name,
    )


def _standing(tx: Tx, events: Sequence[EventType]) -> Sequence[Endpoint]:
    """The standing endpoints that get one of these events."""
    return [endpoint for endpoint in endpoints.all_standing(tx) if set(endpoint.events) & set(events)]


async def _render_form(
    page: PageRequest, fields: Mapping[str, str], error: RequestError | None, events: Sequence[EventType] = FINAL_EVENTS
) -> Response:
    standing = await page.relay.store.read(endpoints.all_standing)
    return render(
        page,
        "register.html",
        error.status if error else 200,
        fields=fields,
        error=error,
        standing=standing,
        workspaces=list(page.relay.clients),
        formats=["auto", *FORMATS],
        event_types=FINAL_EVENTS,
        chosen=events,
    )


def _events(form: Mapping[str, str]) -> tuple[EventType, ...]:
    return tuple(type for type in FINAL_EVENTS if form.get(type.value) == "on")
