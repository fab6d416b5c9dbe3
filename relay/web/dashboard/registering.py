"""A form, so that a person can register a job by hand."""

from collections.abc import Mapping, Sequence

from starlette.responses import Response

from relay import register
from relay.errors import Invalid, Refused
from relay.formats import FORMATS
from relay.model import ENDINGS, EventType, Registration
from relay.register import Registered
from relay.store import endpoints
from relay.subscribing import Wanted
from relay.web import references
from relay.web.dashboard.page import Visit, seen, show

EMPTY = {"job_id": "", "workspace": "", "endpoint": "", "callback_url": "", "format": "auto"}


async def form_page(visit: Visit) -> Response:
    """The form, its job id filled in where a link brings one."""
    return await _form(visit, EMPTY | {"job_id": visit.query("job_id") or ""}, None)


async def submit(visit: Visit, form: Mapping[str, str]) -> Response:
    """Registers, or shows the form again with what is wrong beside the field."""
    given = {name: form.get(name, "").strip() for name in EMPTY}
    try:
        callback = Wanted(given["callback_url"], given["format"] or "auto") if given["callback_url"] else None
        request = register.Request(
            job_id=given["job_id"],
            workspace=given["workspace"] or None,
            callback=callback,
            endpoint=given["endpoint"] or None,
            events=_events(form),
            metadata={},
        )
        checked = register.check(request, visit.relay.rules, visit.relay.clients)
        if not request.events:
            raise Invalid("no_events", "tick what is to be told of", "events")
        made: Registered = await visit.relay.store.write(lambda tx: register.register(tx, checked, visit.now))
    except Refused as error:
        return await _form(visit, given, error, _events(form))
    visit.relay.wake()
    said = "registered" if made.is_new else "known"
    where = f"/jobs/{made.registration.workspace}/{made.registration.job_id}"
    is_deaf = made.endpoint is not None and not made.endpoint.enabled
    if made.secret is not None or is_deaf or not visit.visitor.may("read"):
        return show(
            visit, "registered.html", registration=made.registration, endpoint=made.endpoint, secret=made.secret
        )
    return seen(where, said)


async def withdraw(visit: Visit, id: str, form: Mapping[str, str]) -> Response:
    """Withdraws a registration."""
    named = references.id_of(id, "registration")
    gone: Registration = await visit.relay.store.write(lambda tx: register.withdraw(tx, named, visit.now))
    return seen(f"/jobs/{gone.workspace}/{gone.job_id}", "withdrawn")


async def _form(
    visit: Visit, given: Mapping[str, str], error: Refused | None, chosen: Sequence[EventType] = ENDINGS
) -> Response:
    standing = await visit.relay.store.read(endpoints.standing)
    return show(
        visit,
        "register.html",
        error.status if error else 200,
        given=given,
        error=error,
        standing=standing,
        workspaces=list(visit.relay.clients),
        formats=["auto", *FORMATS],
        endings=ENDINGS,
        chosen=chosen,
    )


def _events(form: Mapping[str, str]) -> tuple[EventType, ...]:
    return tuple(type for type in ENDINGS if form.get(type.value) == "on")
