"""Showing: answers made of the relay's own values, with URLs masked and no secret but a new one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from relay.egress.url_policy import mask_url
from relay.model import Attempt, Delivery, DeliveryStatus, Endpoint, Registration, Watch
from relay.registration import RegistrationResult
from relay.signing import standard_webhooks
from relay.telemetry import trace_context
from relay.web.schemas.responses import (
    AttemptResponse,
    DeliveryDetail,
    DeliveryResponse,
    EndpointResponse,
    EndpointSummary,
    JobResponse,
    RegistrationResponse,
)


def endpoint_summary(id: str, known: Mapping[str, Endpoint], secret: str | None = None) -> EndpointSummary:
    """The endpoint with this id, which may be gone."""
    endpoint = known.get(id)
    if endpoint is None:
        return EndpointSummary(id=id, url=None, format=None)
    shown: dict[str, str | bool | None] = {"id": id, "url": mask_url(endpoint.url), "format": endpoint.format}
    if not endpoint.enabled:
        shown |= {"enabled": False, "disabled_reason": endpoint.disabled_reason}
    if endpoint.name is not None:
        shown["name"] = endpoint.name
    if (public_key := standard_webhooks.public_key_of(endpoint.secrets[0].value)) is not None:
        shown["public_key"] = public_key
    return EndpointSummary.model_validate(shown | ({"secret": secret} if secret else {}))


def registration(found: Registration, known: Mapping[str, Endpoint], secret: str | None = None) -> RegistrationResponse:
    """A registration, with its endpoint out of `known`."""
    return RegistrationResponse(
        id=found.id,
        job_id=found.job_id,
        workspace=found.workspace,
        status=found.status,
        endpoint=endpoint_summary(found.endpoint_id, known, secret) if found.endpoint_id else None,
        events=list(found.events),
        metadata=dict(found.metadata),
        created_at=found.created_at,
        trace_id=trace_context.trace_id(found.trace),
    )


def registration_result(result: RegistrationResult, caller: str, may_see_all: bool) -> RegistrationResponse:
    """A registration for the caller of the call that made it, or found it; with the secret if one was made.

    Metadata of a registration that another key made is left out, unless the caller `may_see_all`.
    """
    row = result.registration
    if row.owner != caller and not may_see_all:  # guard: own-metadata
        row = replace(row, metadata={})
    known = {result.endpoint.id: result.endpoint} if result.endpoint else {}
    return registration(row, known, result.secret)


def endpoint(found: Endpoint, **told: Any) -> EndpointResponse:
    """An endpoint; `told` are the fields that only some calls set."""
    return EndpointResponse(
        id=found.id,
        name=found.name,
        kind=found.kind,
        source=found.source,
        url=mask_url(found.url),  # guard: masked-url
        format=found.format,
        template=json.loads(found.template) if found.template else None,
        events=list(found.events),
        signing=standard_webhooks.scheme_of(found.secrets[0].value),
        public_key=standard_webhooks.public_key_of(found.secrets[0].value),
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
        "endpoint": endpoint_summary(found.endpoint_id, known),
        "registration_id": found.registration_id,
        "status": found.status,
        "held": found.status is DeliveryStatus.PENDING and found.next_attempt_at is None,
        "attempts": found.attempts,
        "created_at": found.created_at,
        "next_attempt_at": found.next_attempt_at,
        "ended_at": found.ended_at,
        "reason": found.reason,
        "trace_id": trace_context.trace_id(found.trace),
    }


def delivery(found: Delivery, known: Mapping[str, Endpoint]) -> DeliveryResponse:
    """A delivery, with its endpoint out of `known`."""
    return DeliveryResponse(**_delivery_fields(found, known))


def delivery_detail(found: Delivery, known: Mapping[str, Endpoint], attempts: Sequence[Attempt]) -> DeliveryDetail:
    """A delivery with its body and its attempts."""
    log = [attempt(one) for one in attempts]
    body = found.body.decode("utf-8", "replace")
    return DeliveryDetail(**_delivery_fields(found, known), body=body, attempt_log=log)


def attempt(found: Attempt) -> AttemptResponse:
    return AttemptResponse(**{name: getattr(found, name) for name in AttemptResponse.model_fields})


def job_fields(found: Watch) -> dict[str, Any]:
    """What every answer about a job has."""
    same = ("job_id", "workspace", "state", "polls", "last_poll_at", "next_poll_at", "next_poll_reason", "last_error")
    fields = {
        name: getattr(found, name)
        for name in (*same, "exec_callback", "callback_received_at", "created_at", "ended_at")
    }
    return fields | {"job": found.job.raw() if found.job else None}


def job(found: Watch) -> JobResponse:
    return JobResponse(**job_fields(found))
