"""Showing: answers made of the relay's own values, with URLs masked and no secret but a new one."""

import json
import re
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


_NOBODY_NOTIFIED = (
    "nothing is notified of this job: the registration names no endpoint, and no standing endpoint exists; register it "
    "with a callback_url, or make a standing endpoint with POST /v1/endpoints"
)


def registration_result(
    result: RegistrationResult, caller: str, may_see_all: bool, standing: Sequence[Endpoint]
) -> RegistrationResponse:
    """A registration for the caller of the call that made it, or found it; with the secret if one was made.

    Metadata of a registration that another key made is left out, unless the caller `may_see_all`. Without an endpoint
    of its own the answer names the `standing` endpoints, or warns that there are none.
    """
    row = result.registration
    if row.owner != caller and not may_see_all:  # guard: own-registrations
        row = replace(row, metadata={})
    known = {result.endpoint.id: result.endpoint} if result.endpoint else {}
    answer = registration(row, known, result.secret)
    if row.endpoint_id is not None:
        return answer
    notified = [endpoint.id for endpoint in standing]
    return answer.model_copy(update={"endpoints": notified} | ({} if notified else {"warning": _NOBODY_NOTIFIED}))


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


_NOT_DIALLED = re.compile(r"not dialled: .*", re.DOTALL)
_ADDRESS_HIDDEN = "not dialled: the egress rules forbid it; a key with the scope admin sees the address"


def hide_addresses(text: str | None) -> str | None:
    """An error of an attempt without the addresses behind a name: they would map the inside network."""
    return _NOT_DIALLED.sub(_ADDRESS_HIDDEN, text) if text else text  # guard: inside-addresses


def _delivery_fields(found: Delivery, known: Mapping[str, Endpoint], is_admin: bool) -> dict[str, Any]:
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
        "reason": found.reason if is_admin else hide_addresses(found.reason),
        "trace_id": trace_context.trace_id(found.trace),
    }


def delivery(found: Delivery, known: Mapping[str, Endpoint], is_admin: bool) -> DeliveryResponse:
    """A delivery, with its endpoint out of `known`; only an admin sees addresses behind names."""
    return DeliveryResponse(**_delivery_fields(found, known, is_admin))


def delivery_detail(
    found: Delivery, known: Mapping[str, Endpoint], attempts: Sequence[Attempt], is_admin: bool
) -> DeliveryDetail:
    """A delivery with its body and its attempts; only an admin sees addresses behind names."""
    log = [attempt(item, is_admin) for item in attempts]
    body = found.body.decode("utf-8", "replace")
    return DeliveryDetail(**_delivery_fields(found, known, is_admin), body=body, attempt_log=log)


def attempt(found: Attempt, is_admin: bool) -> AttemptResponse:
    """An attempt; only an admin sees addresses behind names."""
    fields = {name: getattr(found, name) for name in AttemptResponse.model_fields}
    return AttemptResponse(**fields | ({} if is_admin else {"error": hide_addresses(found.error)}))


def job_fields(found: Watch) -> dict[str, Any]:
    """What every answer about a job has."""
    same = ("job_id", "workspace", "state", "polls", "last_poll_at", "next_poll_at", "next_poll_reason", "last_error")
    fields = {
        name: getattr(found, name)
        for name in (*same, "exec_callback", "callback_received_at", "created_at", "ended_at")
    }
    if found.job is not None and not found.job.has_known_status:
        fields["unknown_status"] = found.job.status
    return fields | {"job": found.job.raw() if found.job else None}


def job(found: Watch) -> JobResponse:
    return JobResponse(**job_fields(found))
