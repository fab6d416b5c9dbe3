"""The part of a request that registers a job: the same in a registration, a batch, and a job to create."""

from collections.abc import Iterable, Sequence

from relay import registration
from relay.endpoints.spec import EndpointSpec
from relay.errors import ValidationFailed
from relay.model import Endpoint
from relay.registration import RegistrationResult, ValidatedRegistration
from relay.store.engine.database import Tx
from relay.store.tables import endpoints
from relay.web.core.route import RequestContext
from relay.web.schemas.create_job import CreateJobRequest
from relay.web.schemas.requests import RegistrationRequest


def validate_registration(
    call: RequestContext, body: RegistrationRequest | CreateJobRequest, job_id: str, exec_callback: bool
) -> ValidatedRegistration:
    """Validates a registration without the store. Raises ValidationFailed."""
    callback = None
    if body.callback_url is not None:
        callback = EndpointSpec(
            body.callback_url,
            body.format,
            secret=body.secret,
            headers=body.headers,
            signing=body.signing,
            outside_only=not call.caller.is_admin,
        )
    elif body.secret or body.headers or body.signing or body.format != "auto":
        only = "secret, signing, headers and format belong to a callback_url; give one, or leave them out"
        raise ValidationFailed("missing_field", only, "callback_url")
    created = body if isinstance(body, CreateJobRequest) else None
    spec = registration.RegistrationSpec(
        job_id=job_id,
        workspace=body.workspace,
        callback=callback,
        endpoint=body.endpoint,
        events=tuple(body.events) if body.events else None,
        metadata=body.metadata,
        requested_by=body.requested_by or (created.user_email if created else None),
        prompt=created.prompt if created else None,
        exec_callback=exec_callback,
        trace=call.trace,
        owner=call.caller.name,
    )
    return registration.validate(spec, call.relay.rules_for(call.caller.is_admin), call.relay.clients)


def standing_endpoints(tx: Tx, results: Iterable[RegistrationResult]) -> Sequence[Endpoint]:
    """The standing endpoints, if any of these registrations has no endpoint of its own; else none are read."""
    return endpoints.all_standing(tx) if any(result.endpoint is None for result in results) else ()
