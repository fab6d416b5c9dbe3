"""A form to register a job by hand, or to create it at Exec first."""

from collections.abc import Mapping, Sequence

from starlette.responses import Response

from relay import registration
from relay.endpoints import EndpointSpec
from relay.errors import RequestError, ValidationFailed
from relay.formats import FORMATS
from relay.model import FINAL_EVENTS, ID_BYTES, Endpoint, EventType
from relay.registration import RegistrationResult, ValidatedRegistration
from relay.registration.job_creation import CreatedJob, ExecJobRequest, new_request_id
from relay.store import Tx
from relay.store.tables import endpoints
from relay.web.api import create_job
from relay.web.core import path_params
from relay.web.dashboard.page import PageRequest, redirect_with_notice, render
from relay.web.schemas.fields import validate_metadata

EMPTY = dict.fromkeys("job_id workspace endpoint callback_url user_email prompt metadata request_id".split(), "") | {
    "format": "auto",
    "mode": "existing",
}
MAX_PROMPT = 10_000
"""Characters of a prompt that Exec takes."""


async def form_page(page: PageRequest) -> Response:
    """The form; a link may fill in its job id."""
    return await _render_form(page, EMPTY | {"job_id": page.query("job_id") or ""}, None)


async def submit(page: PageRequest, form: Mapping[str, str]) -> Response:
    """Registers the job, or creates it at Exec and registers it; or shows the form again with the error next to the
    field."""
    fields = {name: form.get(name, "").strip() or default for name, default in EMPTY.items()}
    try:
        if fields["mode"] == "create":
            result, recipients = await _create(page, fields, form)
        else:
            result, recipients = await _register(page, fields, form)
    except RequestError as error:
        return await _render_form(page, fields, error, _events(form))
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


async def _register(
    page: PageRequest, fields: Mapping[str, str], form: Mapping[str, str]
) -> tuple[RegistrationResult, Sequence[Endpoint]]:
    """Registers a job that exists at Exec. Returns also the endpoints that are notified of it."""
    request = _validated(page, fields, form)

    def write(tx: Tx) -> tuple[RegistrationResult, Sequence[Endpoint]]:
        result = registration.register(tx, request, page.now)
        return result, _recipients(tx, result)

    result, recipients = await page.relay.store.write(write)
    page.relay.after_registration([result], page.request.state.request_id)
    return result, recipients


async def _create(
    page: PageRequest, fields: Mapping[str, str], form: Mapping[str, str]
) -> tuple[RegistrationResult, Sequence[Endpoint]]:
    """Creates the job at Exec, and registers it. The form's own request_id makes a repetition create nothing twice."""
    for name, hint in (("user_email", "whom the scenario is for"), ("prompt", "what the scenario is about")):
        if not fields[name]:
            raise ValidationFailed("missing_field", f"say {hint}", name)
    if len(fields["prompt"]) > MAX_PROMPT:
        raise ValidationFailed("invalid_prompt", f"Exec takes {MAX_PROMPT:,} characters at most", "prompt")
    request_id = fields["request_id"] or _new_request_id(page)
    validated = _validated(page, {**fields, "job_id": create_job.PLACEHOLDER_JOB_ID}, form)
    named = {"user_email": fields["user_email"], "prompt": fields["prompt"], "request_id": request_id}
    request = ExecJobRequest(request_id, named)
    outcome = await page.relay.create_job(validated, request, None, page.request.state.request_id)
    if not isinstance(outcome, CreatedJob):
        raise create_job.refusal_of(outcome, page.relay.clock(), "this form")
    return outcome.result, await page.relay.store.read(lambda tx: _recipients(tx, outcome.result))


def _new_request_id(page: PageRequest) -> str:
    return new_request_id(page.now, page.relay.store.random_bytes(ID_BYTES))


def _recipients(tx: Tx, result: RegistrationResult) -> Sequence[Endpoint]:
    return [result.endpoint] if result.endpoint else _standing(tx, result.registration.events)


async def withdraw(page: PageRequest, id: str, form: Mapping[str, str]) -> Response:
    """Withdraws a registration."""
    registration_id = path_params.parse_id(id, "registration")
    owner = None if page.user.has_scope("read") or page.user.has_scope("admin") else page.user.owner
    withdrawn = await page.relay.withdraw_registration(registration_id, page.now, owner, page.actor)
    return redirect_with_notice(page, f"/jobs/{withdrawn.workspace}/{withdrawn.job_id}", "withdrawn")


def _validated(page: PageRequest, fields: Mapping[str, str], form: Mapping[str, str]) -> ValidatedRegistration:
    url, is_admin = fields["callback_url"], page.user.has_scope("admin")
    callback = EndpointSpec(url, fields["format"] or "auto", outside_only=not is_admin) if url else None
    spec = registration.RegistrationSpec(
        job_id=fields["job_id"],
        workspace=fields["workspace"] or None,
        callback=callback,
        endpoint=fields["endpoint"] or None,
        events=_events(form),
        metadata=parse_metadata(fields["metadata"]),
        requested_by=fields["user_email"] or None,
        prompt=fields["prompt"] or None,
        owner=page.user.owner,
    )
    validated = registration.validate(spec, page.relay.rules_for(is_admin), page.relay.clients)
    if not spec.events:
        raise ValidationFailed("no_events", "choose at least one event", "events")
    return validated


def parse_metadata(text: str) -> dict[str, str]:
    """`customer=acme`, one pair a line. Raises ValidationFailed."""
    metadata: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        key, equals, value = line.partition("=")
        if not equals or not key.strip():
            raise ValidationFailed("invalid_metadata", "write one pair a line, such as customer=acme", "metadata")
        metadata[key.strip()] = value.strip()
    try:
        validate_metadata(metadata)
    except ValueError as error:
        raise ValidationFailed("invalid_metadata", f"metadata {error}", "metadata") from None
    return metadata


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
        fields=dict(fields, request_id=fields["request_id"] or _new_request_id(page)),
        error=error,
        standing=standing,
        workspaces=list(page.relay.clients),
        formats=["auto", *FORMATS],
        event_types=FINAL_EVENTS,
        chosen=events,
    )


def _events(form: Mapping[str, str]) -> tuple[EventType, ...]:
    return tuple(type for type in FINAL_EVENTS if form.get(type.value) == "on")
