"""The request body that creates a job: Exec's fields and those of a registration."""

from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema

from relay.web.schemas import requests
from relay.web.schemas.fields import (
    Events,
    Format,
    Headers,
    Metadata,
    Reference,
    RequestedBy,
    Secret,
    Signing,
    Url,
    Workspace,
    validate_metadata,
)
from relay.web.schemas.requests import RequestModel

_RESERVED_FIELDS = frozenset("user_email prompt context scenario_slug request_id callback_url callback_headers".split())


def _refuse_reserved(fields: dict[str, Any]) -> dict[str, Any]:
    if reserved := sorted(_RESERVED_FIELDS & set(fields)):
        raise ValueError(f"must not hold {reserved[0]}: give it outside exec_fields, or let the relay fill it in")
    return validate_metadata(fields)


def _described(name: str) -> str | None:
    """The description of a registration's field."""
    return requests.RegistrationRequest.model_fields[name].description


RequestId = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,200}$")]
ExecFields = Annotated[
    dict[str, Any],
    AfterValidator(_refuse_reserved),
    WithJsonSchema({"type": "object", "propertyNames": {"not": {"enum": sorted(_RESERVED_FIELDS)}}}),
]

_REQUEST_ID = (
    "a text of your choice, 1 to 200 printable characters, stored for a day: a repetition creates nothing twice and "
    "gets the existing job; left out: the relay creates one"
)
_EXEC_FIELDS = "an object of further fields of Exec's create-job call, passed on as they are"
_REQUESTED_BY = (
    "the e-mail address or the name of who wants the scenario, part of every notification about the job; left out: "
    "user_email"
)
_EXEC_CALLBACK_DESCRIPTION = (
    "true to rely on Exec's callback for this job, false not to; left out: true if server.public_url is set and one "
    "arrived in the last seven days"
)


class CreateJobRequest(RequestModel):
    """Creates a job at Exec and registers it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "user_email": "jane@acme.com",
                "prompt": "A discovery call with a skeptical IT director",
                "request_id": "order-4711",
                "callback_url": "https://hooks.slack.com/services/T000/B000/XXXX",
            },
            **requests.SECRET_XOR_SIGNING,
        }
    )
    user_email: str = Field(description="Exec's user_email: the member of the workspace for whom the job is made")
    prompt: str = Field(description="Exec's prompt: a description of the scenario, in at most 10,000 characters")
    context: str | None = Field(None, description="Exec's context")
    scenario_slug: str | None = Field(None, description="Exec's scenario_slug")
    request_id: RequestId | None = Field(None, description=_REQUEST_ID)
    exec_fields: ExecFields = Field(default_factory=dict, description=_EXEC_FIELDS)
    callback_url: Url | None = Field(None, description=_described("callback_url"))
    endpoint: Reference | None = Field(None, description=_described("endpoint"))
    format: Format = Field("auto", description=_described("format"))
    events: Events | None = Field(None, description=_described("events"))
    secret: Secret | None = Field(None, description=_described("secret"))
    signing: Signing | None = Field(None, description=_described("signing"))
    headers: Headers = Field(default_factory=dict, description=_described("headers"))
    metadata: Metadata = Field(default_factory=dict, description=_described("metadata"))
    requested_by: RequestedBy | None = Field(None, description=_REQUESTED_BY)
    workspace: Workspace | None = Field(None, description=_described("workspace"))
    exec_callback: bool | None = Field(None, description=_EXEC_CALLBACK_DESCRIPTION)

    def for_exec(self, request_id: str) -> dict[str, Any]:
        """The fields of Exec's create-job call, unchanged."""
        named_fields = {name: getattr(self, name) for name in ("user_email", "prompt", "context", "scenario_slug")}
        values = {name: value for name, value in named_fields.items() if name in self.model_fields_set}
        return {**self.exec_fields, **values, "request_id": request_id}
