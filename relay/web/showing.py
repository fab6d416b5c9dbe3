"""Showing: answers made of the relay's own values, with URLs masked and no secret but a new one."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from relay import signing, traces
from relay.addresses import mask
from relay.model import Attempt, Delivery, DeliveryStatus, Endpoint, Registration, Watch
from relay.web.answers import (
    AttemptAnswer,
    DeliveryAnswer,
    DeliveryDetail,
    EndpointAnswer,
    EndpointOf,
    JobAnswer,
    RegistrationAnswer,
)


def endpoint_of(id: str, known: Mapping[str, Endpoint], secret: str | None = None) -> EndpointOf:
    """The endpoint with this id, which may be gone."""
    endpoint = known.get(id)
    if endpoint is None:
        return EndpointOf(id=id, url=None, format=None)
    shown: dict[str, str | bool | None] = {"id": id, "url": mask(endpoint.url), "format": endpoint.format}
    if not endpoint.enabled:
        shown |= {"enabled": False, "disabled_reason": endpoint.disabled_reason}
    if endpoint.name is not None:
        shown["name"] = endpoint.name
    if (public_key := signing.public_key_of(endpoint.secrets[0].value)) is not None:
        shown["public_key"] = public_key
    return EndpointOf.model_validate(shown | ({"secret": secret} if secret else {}))


def registration(found: Registration, known: Mapping[str, Endpoint], secret: str | None = None) -> RegistrationAnswer:
    """A registration, with its endpoint out of `known`."""
    return RegistrationAnswer(
        id=found.id,
        job_id=found.job_id,
        workspace=found.workspace,
        status=found.status,
        endpoint=endpoint_of(found.endpoint_id, known, secret) if found.endpoint_id else None,
        events=list(found.events),
        metadata=dict(found.metadata),
        created_at=found.created_at,
        trace_id=traces.id_of(found.trace),
    )


def endpoint(found: Endpoint, **told: Any) -> EndpointAnswer:
    """An endpoint; `told` are the fields that only some calls set."""
    return EndpointAnswer(
        id=found.id,
        name=found.name,
        kind=found.kind,
        source=found.source,
        url=mask(found.url),  # guard: masked-url
        format=found.format,
        template=json.loads(found.template) if found.template else None,
        events=list(found.events),
        signing=signing.scheme_of(found.secrets[0].value),
        public_key=signing.public_key_of(found.secrets[0].value),
        header_names=sorted(found.headers),
        enabled=found.enabled,
        disabled_at=found.disabled_at,
        disabled_reason=found.disabled_reason,
        paused_until=found.paused_until,
        failing_since=found.failing_since,
        failures=found.failures,
        created_at=found.created_at,
        **told,
    )


def _delivery_fields(found: Delivery, known: Mapping[str, Endpoint]) -> dict[str, Any]:
    return {
        "id": found.id,
        "event_id": found.event_id,
        "event_type": found.event_type,
        "workspace": found.workspace,
        "job_id": found.job_id,
        "endpoint": endpoint_of(found.endpoint_id, known),
        "registration_id": found.registration_id,
        "status": found.status,
        "held": found.status is DeliveryStatus.PENDING and found.next_attempt_at is None,
        "attempts": found.attempts,
        "created_at": found.created_at,
        "next_attempt_at": found.next_attempt_at,
        "ended_at": found.ended_at,
        "reason": found.reason,
        "trace_id": traces.id_of(found.trace),
    }


def delivery(found: Delivery, known: Mapping[str, Endpoint]) -> DeliveryAnswer:
    """A delivery, with its endpoint out of `known`."""
    return DeliveryAnswer(**_delivery_fields(found, known))


def delivery_detail(found: Delivery, known: Mapping[str, Endpoint], attempts: Sequence[Attempt]) -> DeliveryDetail:
    """A delivery with its body and its attempts."""
    log = [attempt(one) for one in attempts]
    body = found.body.decode("utf-8", "replace")
    return DeliveryDetail(**_delivery_fields(found, known), body=body, attempt_log=log)


def attempt(found: Attempt) -> AttemptAnswer:
    return AttemptAnswer(**{name: getattr(found, name) for name in AttemptAnswer.model_fields})


def job_fields(found: Watch) -> dict[str, Any]:
    """What every answer about a job has."""
    same = ("job_id", "workspace", "state", "looks", "last_look_at", "next_look_at", "next_look_why", "last_error")
    fields = {name: getattr(found, name) for name in (*same, "exec_callback", "hinted_at", "created_at", "ended_at")}
    return fields | {"job": found.job.as_exec_sent_it() if found.job else None}


def job(found: Watch) -> JobAnswer:
    return JobAnswer(**job_fields(found))
