"""Bodies of requests: JSON, schemas, and what becomes an endpoint."""

from relay.egress import EgressRules
from relay.endpoints import spec
from relay.errors import RequestError
from relay.web.core import request_parsing
from relay.web.schemas.requests import (
    BatchRequest,
    EndpointChange,
    EndpointRequest,
    RegistrationRequest,
    ResendRequest,
)
from tests.fuzz.target import Target

MODELS = (RegistrationRequest, EndpointRequest, EndpointChange, ResendRequest, BatchRequest)
RULES = EgressRules()


def parse(data: bytes) -> None:
    model = MODELS[data[0] % len(MODELS)] if data else RegistrationRequest
    body = request_parsing.validated(model, request_parsing.parse(data[1:]))
    if isinstance(body, RegistrationRequest) and body.callback_url is not None:
        wanted = spec.EndpointSpec(body.callback_url, body.format, secret=body.secret, headers=body.headers)
        checked = spec.validate(wanted, RULES)
        assert all("\n" not in value and "\r" not in value for value in checked.headers.values())


TARGET = Target(
    "requests",
    parse,
    (RequestError,),
    (
        b'\x00{"job_id": "j1", "callback_url": "https://example.com/a", "metadata": {"a": [1, 2.5e3, null, true]}}',
        b'\x00{"job_id": "j1", "events": ["job.completed"], "headers": {"x-a": "b"}, "callback_url": "https://a.b"}',
        b'\x01{"hookUrl": "https://example.com", "name": "a", "format": "slack", "secret": "whsec_AAAA"}',
        b'\x03{"status": "failed", "since": "2026-03-01T10:00:00.5+02:00", "dry_run": true}',
        b'\x04{"registrations": [{"job_id": "j1"}, null]}',
        b"\x00" + b'{"metadata":' * 1_000,
        b'\x00{"a": "\\ud800", "a": 1e999, "b": NaN}',
    ),
)
