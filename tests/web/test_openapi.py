"""The OpenAPI document equals the routes and their validation."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel, ValidationError
from starlette.routing import Route

from relay.errors import ValidationFailed
from relay.model import EventType, Secret
from relay.signing.standard_webhooks import check_secret, headers
from relay.web.app import OPERATIONS
from relay.web.core import openapi
from relay.web.core.route import routes
from relay.web.schemas.requests import EndpointRequest, RegistrationRequest, ResendRequest
from relay.web.schemas.webhooks import Notification
from tests.make import SECRET
from tests.web.conftest import Api

STANDARD = Path(__file__).parents[1] / "unit/golden/standard"
DOCUMENT: dict[str, Any] = json.loads(openapi.build_openapi(OPERATIONS))


def test_rate_limits_are_documented() -> None:
    """Each call that wants a key, and the one that wants a token, may answer 429, and says when to try again."""
    for one in OPERATIONS:
        answers = DOCUMENT["paths"][one.path][one.method.lower()]["responses"]
        assert ("429" in answers) == (one.scope is not None or "token" in one.path), one.path
        for status in {"429", "503"} & set(answers):
            if one.path != "/readyz":
                assert answers[status]["headers"]["Retry-After"]["schema"]["type"] == "integer"


def test_the_document_is_valid_openapi_3_1() -> None:
    """An independent validator accepts it."""
    assert DOCUMENT["openapi"].startswith("3.1")
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


def test_paths_and_routes_are_the_same() -> None:
    """Each route and method is documented, and nothing else."""
    routed = {route.path: {method.lower() for method in route.methods or ()} - {"head"} for route in routes(OPERATIONS)}
    assert {path: set(methods) for path, methods in DOCUMENT["paths"].items()} == routed
    assert all(isinstance(route, Route) for route in routes(OPERATIONS))


def test_the_documented_calls_exist() -> None:
    """The calls that users were promised."""
    promised = """
        POST /v1/registrations · POST /v1/registrations/batch · GET /v1/registrations
        GET /v1/registrations/{id} · DELETE /v1/registrations/{id} · GET /v1/jobs · GET /v1/jobs/{job_id}
        POST /v1/endpoints · GET /v1/endpoints · GET /v1/endpoints/{id} · PATCH /v1/endpoints/{id}
        DELETE /v1/endpoints/{id} · POST /v1/endpoints/{id}/test · POST /v1/endpoints/{id}/rotate-secret
        POST /v1/endpoints/{id}/enable · POST /v1/endpoints/{id}/disable · GET /v1/deliveries · GET /v1/deliveries/{id}
        POST /v1/deliveries/{id}/resend · POST /v1/deliveries/resend
        GET /healthz · GET /readyz · GET /metrics · GET /openapi.json
    """
    calls = {call.strip() for line in promised.splitlines() for call in line.split("·") if call.strip()}
    assert calls <= {f"{one.method} {one.path}" for one in OPERATIONS}


@pytest.mark.parametrize("one", OPERATIONS, ids=lambda one: one.id)
def test_every_call_is_documented_in_full(one: Any) -> None:
    """A summary that is a sentence, an id of its own, parameters of its path, and what can go wrong."""
    documented = DOCUMENT["paths"][one.path][one.method.lower()]
    assert documented["summary"].endswith((".", "?"))
    assert [other.id for other in OPERATIONS].count(documented["operationId"]) == 1
    in_path = {parameter["name"] for parameter in documented["parameters"] if parameter["in"] == "path"}
    assert in_path == {part[1:-1] for part in one.path.split("/") if part.startswith("{")}
    expected = {str(status) for status in one.answers}
    if one.scope:
        expected |= {"401", "403", "503"}
        assert documented["security"] == [{"key": [one.scope]}]
    else:
        assert documented["security"] == []
    if one.body:
        expected |= {"400", "413", "415"}
        assert documented["requestBody"]["content"]["application/json"]["schema"]
    assert expected <= set(documented["responses"])
    assert all(response["description"] for response in documented["responses"].values())


@pytest.mark.parametrize("path", sorted(STANDARD.glob("*.json")), ids=lambda path: path.stem)
def test_notifications_match_the_document(path: Path) -> None:
    """Each body of the format `standard`, those with odd texts too, under the name of its event."""
    body = json.loads(path.read_text())
    read = Notification.model_validate(body, strict=True)
    assert read.model_dump(exclude_unset=True) == body
    for name in ("type", "timestamp", "data"):
        with pytest.raises(ValidationError):
            Notification.model_validate({key: value for key, value in body.items() if key != name})


def test_every_event_is_a_webhook() -> None:
    """With its meaning, and the headers by which it is verified."""
    assert set(DOCUMENT["webhooks"]) == {type.value for type in EventType}
    for one in DOCUMENT["webhooks"].values():
        assert {found["name"] for found in one["post"]["parameters"]} == set(headers("e", b"", [Secret(SECRET)], 0))


def test_a_relay_without_keys_documents_none() -> None:
    """Where no key is asked for, the document asks for none either."""
    paths = json.loads(openapi.build_openapi(OPERATIONS, with_auth=False))["paths"]
    assert [call for path in paths.values() for call in path.values() if call["security"]] == []


def test_every_limit_is_a_json_schema_keyword() -> None:
    """pydantic's `ge` or `max_length` has its name in JSON Schema."""
    text = json.dumps(DOCUMENT)
    assert [word for word in ("ge", "le", "gt", "lt", "max_length", "min_length") if f'"{word}":' in text] == []
    [limit] = [found for found in DOCUMENT["paths"]["/v1/jobs"]["get"]["parameters"] if found["name"] == "limit"]
    assert (limit["schema"]["minimum"], limit["schema"]["maximum"]) == (1, 200)


@given(st.binary(max_size=70))
@example(bytes(24))
@example(bytes(64))
def test_the_pattern_of_secrets_matches_the_validation(key: bytes) -> None:
    """A text is a valid secret exactly if the document's pattern matches."""
    pattern = DOCUMENT["components"]["schemas"]["RotateRequest"]["properties"]["secret"]["anyOf"][0]["pattern"]
    text = "whsec_" + base64.b64encode(key).decode()
    for written in (text, text.rstrip("="), text[:-1] + "B", text + "="):
        assert bool(re.search(pattern, written)) == is_accepted(written), written


def is_accepted(secret: str) -> bool:
    """Whether the relay accepts it."""
    try:
        check_secret(secret)
    except ValidationFailed:
        return False
    return True


@pytest.mark.parametrize(
    ("item", "code"), [({"job_id": ""}, "invalid_job_id"), ([], "invalid_field"), (None, "invalid_field")]
)
async def test_a_batch_documents_that_wrong_items_are_taken(api: Api, item: object, code: str) -> None:
    """One wrong item does not fail a batch, and the document says so: its items may be anything."""
    items = DOCUMENT["components"]["schemas"]["BatchRequest"]["properties"]["registrations"]["items"]
    assert {} in items["anyOf"]
    [result] = (await api.post("/v1/registrations/batch", {"registrations": [item]}, 200))["data"]
    assert result["error"]["code"] == code


@pytest.mark.parametrize("model", [RegistrationRequest, EndpointRequest, ResendRequest])
def test_examples_are_accepted(model: type[BaseModel]) -> None:
    """What the document shows as an example is a request that the API takes."""
    example = DOCUMENT["components"]["schemas"][model.__name__]["example"]
    assert model.model_validate(example)


def test_generated_clients_get_one_class_for_each_body() -> None:
    """A choice at the top of a schema would make them one class for each option, without the fields; a field whose
    default is null would be demanded. `make clients` shows what the generators do."""
    schemas = DOCUMENT["components"]["schemas"]
    bodies = {one.body.__name__ for one in OPERATIONS if one.body}
    assert [name for name in bodies if {"anyOf", "oneOf"} & set(schemas[name])] == []
    fields = [(name, field) for name in bodies for field in schemas[name]["properties"].items()]
    assert [name for name, (_, field) in fields if field.get("default", ...) is None] == []


def test_every_request_field_has_a_description() -> None:
    """Descriptions complete the API's own errors."""
    bodies = {one.body for one in OPERATIONS if one.body} | {RegistrationRequest}
    queries = {one.query for one in OPERATIONS if one.query}
    fields = [(model, name, info) for model in bodies | queries for name, info in model.model_fields.items()]
    assert [f"{model.__name__}.{name}" for model, name, info in fields if not info.description] == []
