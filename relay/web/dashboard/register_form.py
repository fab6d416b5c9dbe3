"""A form, so that a person can register a job by hand."""

from collections.abc import Mapping, Sequence

from starlette.responses import Response

from relay import registration
from relay.endpoints.spec import EndpointSpec
from relay.errors import RequestError, ValidationFailed
from relay.formats import FORMATS
from relay.model import FINAL_EVENTS, EventType, Registration
from relay.registration import RegistrationResult
from relay.store.tables import endpoints
from relay.web.core import path_params
from relay.web.dashboard.page import PageRequest, redirect_with_notice, render

EMPTY = {"job_id": "", "workspace": "", "endpoint": "", "callback_url": "", "format": "auto"}


async def form_page(visit: PageRequest) -> Response:
    """The form, its job id filled in where a link brings one."""
    return await _render_form(visit, EMPTY | {"job_id": visit.query("job_id") or ""}, None)


async def submit(visit: PageRequest, form: Mapping[str, str]) -> Response:
    """Registers, or shows the form again with what is wrong beside the field."""
    given = {name: form.get(name, "").strip() for name in EMPTY}
    try:
        callback = EndpointSpec(given["callback_url"], given["format"] or "auto") if given["callback_url"] else None
        request = registration.RegistrationSpec(
            job_id=given["job_id"],
            workspace=given["workspace"] or None,
            callback=callback,
            endpoint=given["endpoint"] or None,
            events=_events(form),
            metadata={},
            owner=visit.visitor.name,
        )
        checked = registration.validate(request, visit.relay.rules, visit.relay.clients)
        if not request.events:
            raise ValidationFailed("no_events", "tick what is to be told of", "events")
        made: RegistrationResult = await visit.relay.store.write(
            lambda tx: registration.register(tx, checked, visit.now)
        )
    except RequestError as error:
        return await _render_form(visit, given, error, _events(form))
    visit.relay.wake()
    said = "registered" if made.is_new else "known"
    where = f"/jobs/{made.registration.workspace}/{made.registration.job_id}"
    is_deaf = made.endpoint is not None and not made.endpoint.enabled
    if made.secret is not None or is_deaf or not visit.visitor.has_scope("read"):
        return render(
            visit, "registered.html", registration=made.registration, endpoint=made.endpoint, secret=made.secret
        )
    return redirect_with_notice(where, said)


async def withdraw(visit: PageRequest, id: str, form: Mapping[str, str]) -> Response:
    """Withdraws a registration."""
    named = path_params.parse_id(id, "registration")
    owner = None if visit.visitor.has_scope("read") or visit.visitor.has_scope("admin") else visit.visitor.name
    gone: Registration = await visit.relay.store.write(lambda tx: registration.withdraw(tx, named, visit.now, owner))
    return redirect_with_notice(f"/jobs/{gone.workspace}/{gone.job_id}", "withdrawn")


async def _render_form(
    visit: PageRequest, given: Mapping[str, str], error: RequestError | None, chosen: Sequence[EventType] = FINAL_EVENTS
) -> Response:
    standing = await visit.relay.store.read(endpoints.all_standing)
    return render(
        visit,
        "register.html",
        error.status if error else 200,
        given=given,
        error=error,
        standing=standing,
        workspaces=list(visit.relay.clients),
        formats=["auto", *FORMATS],
        endings=FINAL_EVENTS,
        chosen=chosen,
    )


def _events(form: Mapping[str, str]) -> tuple[EventType, ...]:
    return tuple(type for type in FINAL_EVENTS if form.get(type.value) == "on")
