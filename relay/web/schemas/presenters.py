"""Presenters: responses made of stored rows, with masked URLs and no secret but a new one."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from relay.egress import mask_url
from relay.model import (
    FINAL_EVENTS,
    Attempt,
    Delivery,
    DeliveryStatus,
    Endpoint,
    Registration,
    Replay,
    Watch,
    WatchState,
)
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
    ReplayResponse,
)


def endpoint_summary(id: str, endpoints: Mapping[str, Endpoint], secret: str | None = None) -> EndpointSummary:
    """The endpoint with this id, which may be removed."""
    endpoint = endpoints.get(id)
    if endpoint is None:
        return EndpointSummary(id=id, url=None, format=None)
    fields: dict[str, str | bool | None] = {"id": id, "url": mask_url(endpoint.url), "format": endpoint.format}
    if not endpoint.enabled:
        fields |= {"enabled": False, "disabled_reason": endpoint.disabled_reason}
    if endpoint.name is not None:
        fields["name"] = endpoint.name
    if (public_key := standard_webhooks.public_key_of(endpoint.secrets[0].value)) is not None:
        fields["public_key"] = public_key
    return EndpointSummary.model_validate(fields | ({"secret": secret} if secret else {}))


def registration(
    row: Registration, endpoints: Mapping[str, Endpoint], secret: str | None = None
) -> RegistrationResponse:
    """A registration, with its endpoint out of `endpoints`."""
    return RegistrationResponse(
        id=row.id,
        job_id=row.job_id,
        workspace=row.workspace,
        status=row.status,
        endpoint=endpoint_summary(row.endpoint_id, endpoints, secret) if row.endpoint_id else None,
        events=list(row.events),
        metadata=dict(row.metadata),
        requested_by=row.requested_by,
        created_at=row.created_at,
        trace_id=trace_context.trace_id(row.trace),
    )


_NOBODY_NOTIFIED = (
    "nothing is notified of this job: the registration names no endpoint, and no standing endpoint exists; register it "
    "with a callback_url, or make a standing endpoint with POST /v1/endpoints"
)


_HELD = "is disabled: its notifications are held until it is enabled with POST /v1/endpoints/{id}/enable"


def registration_result(
    result: RegistrationResult, caller: str, may_see_all: bool, standing: Sequence[Endpoint]
) -> RegistrationResponse:
    """A registration for the caller of the call that made it, or found it; with the secret if one was made.

    Metadata of a registration that another key made is left out, unless the caller `may_see_all`. Without an endpoint
    of its own the answer names the `standing` endpoints that get endings, or warns that there are none. It also warns
    if every endpoint that is to be notified is disabled.
    """
    row = result.registration
    if row.owner != caller and not may_see_all:  # guard: own-metadata
        row = replace(row, metadata={}, requested_by=None)
    endpoints = {result.endpoint.id: result.endpoint} if result.endpoint else {}
    answer = registration(row, endpoints, result.secret)
    if row.endpoint_id is not None:
        return answer.model_copy(update=_held_warning(list(endpoints.values())))
    notified = [endpoint for endpoint in standing if not set(FINAL_EVENTS).isdisjoint(endpoint.events)]
    warning = _held_warning(notified) if notified else {"warning": _NOBODY_NOTIFIED}
    return answer.model_copy(update={"endpoints": [endpoint.id for endpoint in notified]} | warning)


def _held_warning(notified: Sequence[Endpoint]) -> dict[str, str]:
    """The warning if all of these endpoints are disabled, as a field of the answer."""
    if not notified or any(endpoint.enabled for endpoint in notified):
        return {}
    first = notified[0]
    return {"warning": f"the endpoint {first.name or first.id} {_HELD.format(id=first.id)}"}


def endpoint(row: Endpoint, **extra: Any) -> EndpointResponse:
    """An endpoint; `extra` are the fields that only some calls set."""
    return EndpointResponse(
        id=row.id,
        name=row.name,
        kind=row.kind,
        source=row.source,
        url=mask_url(row.url),  # guard: masked-url
        format=row.format,
        template=json.loads(row.template) if row.template else None,
        events=list(row.events),
        signing=standard_webhooks.scheme_of(row.secrets[0].value),
        public_key=standard_webhooks.public_key_of(row.secrets[0].value),
        header_names=sorted(row.headers),
        quiet=row.quiet,
        digest=row.digest,
        fallback=row.fallback,
        enabled=row.enabled,
        disabled_at=row.disabled_at,
        disabled_reason=row.disabled_reason,
        paused_until=row.paused_until,
        failing_since=row.failing_since,
        failures=row.failures,
        created_at=row.created_at,
        **extra,
    )


_NOT_DIALLED = re.compile(r"not dialled: .*", re.DOTALL)
_NOT_DIALLED_ON_PAGE = re.compile(r'not dialled: [^<"]*')
_ADDRESS_HIDDEN = "not dialled: the egress rules forbid it; a key with the scope admin sees the address"


def hide_addresses_on_page(html: str) -> str:
    """As `hide_addresses`, wherever such an error is on a page."""
    return _NOT_DIALLED_ON_PAGE.sub(_ADDRESS_HIDDEN, html)  # guard: inside-addresses-on-pages


def hide_addresses(text: str | None) -> str | None:
    """An error of an attempt without the addresses behind a name: they would map the inside network."""
    return _NOT_DIALLED.sub(_ADDRESS_HIDDEN, text) if text else text  # guard: inside-addresses


def _delivery_fields(row: Delivery, endpoints: Mapping[str, Endpoint], is_admin: bool) -> dict[str, Any]:
    return {
        "id": row.id,
        "event_id": row.event_id,
        "event_type": row.event_type,
        "workspace": row.workspace,
        "job_id": row.job_id,
        "endpoint": endpoint_summary(row.endpoint_id, endpoints),
        "registration_id": row.registration_id,
        "status": row.status,
        "held": row.status is DeliveryStatus.PENDING and row.next_attempt_at is None and not row.is_in_digest,
        "digest_id": row.digest_id if row.is_in_digest else None,
        "attempts": row.attempts,
        "http_status": row.status_code,
        "created_at": row.created_at,
        "next_attempt_at": row.next_attempt_at,
        "ended_at": row.ended_at,
        "reason": row.reason if is_admin else hide_addresses(row.reason),
        "trace_id": trace_context.trace_id(row.trace),
    }


def delivery(row: Delivery, endpoints: Mapping[str, Endpoint], is_admin: bool) -> DeliveryResponse:
    """A delivery, with its endpoint out of `endpoints`; only an admin sees addresses behind names."""
    return DeliveryResponse(**_delivery_fields(row, endpoints, is_admin))


def delivery_detail(
    row: Delivery, endpoints: Mapping[str, Endpoint], attempts: Sequence[Attempt], is_admin: bool
) -> DeliveryDetail:
    """A delivery with its body and its attempts; only an admin sees addresses behind names."""
    log = [attempt(item, is_admin) for item in attempts]
    body = row.body.decode("utf-8", "replace")
    return DeliveryDetail(**_delivery_fields(row, endpoints, is_admin), body=body, attempt_log=log)


def attempt(row: Attempt, is_admin: bool) -> AttemptResponse:
    """An attempt; only an admin sees addresses behind names."""
    fields = {name: getattr(row, name) for name in AttemptResponse.model_fields}
    return AttemptResponse(**fields | ({} if is_admin else {"error": hide_addresses(row.error)}))


def replay(row: Replay) -> ReplayResponse:
    """A replay."""
    return ReplayResponse(**{name: getattr(row, name) for name in ReplayResponse.model_fields})


def job_fields(row: Watch) -> dict[str, Any]:
    """The fields of every response about a job."""
    names = ("job_id", "workspace", "state", "polls", "last_poll_at", "next_poll_at", "next_poll_reason", "last_error")
    fields = {
        name: getattr(row, name) for name in (*names, "exec_callback", "callback_received_at", "created_at", "ended_at")
    }
    fields["ended"] = row.state is not WatchState.ACTIVE
    if row.job is not None and not row.job.has_known_status:
        fields["unknown_status"] = row.job.status
    return fields | {"job": row.job.raw() if row.job else None}


def job(row: Watch) -> JobResponse:
    return JobResponse(**job_fields(row))
