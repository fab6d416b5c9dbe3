"""The request to register a job, and its validation without the store."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from relay.egress import EgressRules
from relay.endpoints import spec
from relay.errors import ValidationFailed
from relay.model import JOB_ID, EventType, Instant

DEFAULT_WORKSPACE = "default"
PROMPT_KEPT = 300
"""Characters of a prompt that are stored: enough to recognise the scenario that was asked for."""
REQUESTED_BY_KEPT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationSpec:
    """A request to register a job, not validated: with `callback`, with `endpoint` (an id or a name), or neither."""

    job_id: str
    workspace: str | None = None
    """None: the only workspace, or the one named `default`."""
    callback: spec.EndpointSpec | None = field(default=None, repr=False)
    endpoint: str | None = None
    events: tuple[EventType, ...] | None = None
    """None: the events of the endpoint."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    requested_by: str | None = None
    """Who wants the scenario; None: the text `requested_by` of the metadata, if there is one."""
    prompt: str | None = None
    """The prompt, if the relay creates the job: its beginning is kept."""
    exec_callback: bool = False
    """Whether the job was created with the relay's callback URL."""
    trace: str | None = None
    """The trace context of the request (`relay.telemetry.trace_context`); None: a new trace begins."""
    owner: str | None = None
    """The name of the caller's API key; "" without keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedRegistration:
    """A validated request. Its type proves the validation: the workspace is known, the callback's URL allowed."""

    job_id: str
    workspace: str
    callback: spec.ValidatedEndpoint | None = None
    endpoint: str | None = None
    events: tuple[EventType, ...] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    requested_by: str | None = None
    prompt: str | None = None
    request_id: str | None = None
    """The request_id that Exec got, if the relay created the job."""
    exec_callback: bool = False
    trace: str | None = None
    owner: str | None = None


def validate(request: RegistrationSpec, rules: EgressRules, workspaces: Collection[str]) -> ValidatedRegistration:
    """Validates a request without the store. Raises ValidationFailed, which names the field."""
    if not JOB_ID.fullmatch(request.job_id):
        raise ValidationFailed(
            "invalid_job_id", "a job id is 1 to 128 letters, digits, - or _, as Exec gave it", "job_id"
        )
    if request.callback is not None and request.endpoint is not None:
        raise ValidationFailed("two_endpoints", "give callback_url or endpoint, not both", "endpoint")
    workspace = request.workspace or (next(iter(workspaces)) if len(workspaces) == 1 else DEFAULT_WORKSPACE)
    if workspace not in workspaces:
        names = ", ".join(sorted(workspaces))
        raise ValidationFailed(
            "unknown_workspace", f"there is no such workspace; this relay knows {names}", "workspace"
        )
    return ValidatedRegistration(
        job_id=request.job_id,
        workspace=workspace,
        callback=spec.validate(request.callback, rules) if request.callback else None,
        endpoint=request.endpoint,
        events=request.events,
        metadata=request.metadata,
        requested_by=_requested_by(request),
        prompt=_beginning(request.prompt, PROMPT_KEPT),
        exec_callback=request.exec_callback,
        trace=request.trace,
        owner=request.owner,
    )


def _requested_by(request: RegistrationSpec) -> str | None:
    named = request.requested_by or request.metadata.get("requested_by")
    return _beginning(named, REQUESTED_BY_KEPT) if isinstance(named, str) else None


def _beginning(text: str | None, limit: int) -> str | None:
    """At most `limit` characters of the text, which the database can store; None if nothing is left."""
    beginning = (text or "")[:limit].replace("\x00", "").encode("utf-8", "replace").decode().strip()
    return beginning or None


TimedRequest = tuple[ValidatedRegistration, Instant]
"""A validated request, and when it arrived."""
