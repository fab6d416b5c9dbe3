"""The part of a request that registers a job: the same in a registration, a batch, and a job to create."""

from relay import registration
from relay.endpoints.spec import EndpointSpec
from relay.errors import ValidationFailed
from relay.registration import ValidatedRegistration
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
            body.callback_url, body.format, secret=body.secret, headers=body.headers, signing=body.signing
        )
    elif body.secret or body.headers or body.signing or body.format != "auto":
        only = "secret, signing, headers and format belong to a callback_url; give one, or leave them out"
        raise ValidationFailed("missing_field", only, "callback_url")
    spec = registration.RegistrationSpec(
        job_id=job_id,
        workspace=body.workspace,
        callback=callback,
        endpoint=body.endpoint,
        events=tuple(body.events) if body.events else None,
        metadata=body.metadata,
        exec_callback=exec_callback,
        trace=call.trace,
        owner=call.caller.name,
    )
    return registration.validate(spec, call.relay.rules, call.relay.clients)
