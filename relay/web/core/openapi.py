"""OpenAPI 3.1 of the API, generated from the routes and schemas."""

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import getdoc
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema

from relay import __version__
from relay.web.core.route import ApiRoute
from relay.web.schemas.queries import Query
from relay.web.schemas.responses import ErrorResponse
from relay.web.schemas.webhooks import Notification, webhooks

Mode = Literal["validation", "serialization"]

_DESCRIPTION = """\
Turns Exec's poll-only Scenario Studio jobs into signed notifications.

Errors have Exec's own envelope. Lists take `limit` and `cursor` and give `data` and `next_cursor`. Times are RFC 3339.
Keys are made with `relay keys create`; without keys
the relay answers its own machine only, and needs the token that it prints. One key may send
`security.requests_per_minute` requests; beyond that, and after many wrong keys, it gets 429 with `Retry-After`."""

_LICENSE = {"name": "MIT", "identifier": "MIT"}

_REFUSALS = {
    400: "The request is wrong; `field` names the wrong field, `message` says what to write instead.",
    401: "The API key is missing or unknown.",
    403: "The API key lacks the scope.",
    404: "Nothing has this id or path.",
    409: "It conflicts with the present state; the message says how.",
    410: "The cursor can't be continued from; the error holds the oldest and the newest one that can.",
    413: "The body has more than 256 KiB.",
    415: "The body is not JSON in UTF-8.",
    429: "A limit is exceeded; the message says which.",
    502: "Exec refused the relay's key or gave no usable answer; the message says whether to repeat the call.",
    504: "Exec did not answer in time; repeat the call with the same request_id.",
    503: "The store fails at the moment; nothing was done.",
}
_RETRY_HEADERS = {
    "Retry-After": {"description": "Seconds after which to try again", "schema": {"type": "integer", "minimum": 1}}
}
_PATH_PARAMETERS = {
    "job_id": {
        "description": "Exec's id of the job",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,128}$"},
    },
    "id": {"description": "The id", "schema": {"type": "string"}},
    "token": {"description": "The workspace's token, as the callback URL has it", "schema": {"type": "string"}},
    "workspace": {"description": "The workspace's name", "schema": {"type": "string"}},
}


class Document:
    """The document as it is served: with authentication, and without."""

    def __init__(self, build: Callable[[bool], bytes]) -> None:
        self._build = build
        self._built: dict[bool, bytes] = {}

    async def text(self, *, with_auth: bool) -> bytes:
        """The document. The first time, a thread builds it: that takes a few tenths of a second. Later ones are free,
        because anyone may ask for it, also hundreds of clients at once."""
        if with_auth not in self._built:
            self._built[with_auth] = await asyncio.to_thread(self._build, with_auth)
        return self._built[with_auth]


def build_openapi(operations: Sequence[ApiRoute], base_path: str = "", *, with_auth: bool = True) -> bytes:
    """The document, as JSON. `base_path` is the path of `server.public_url`. Without keys: not `with_auth`."""
    schemas, references = _schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for route in operations:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, references, with_auth)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Exec relay", "version": __version__, "description": _DESCRIPTION, "license": _LICENSE},
        "servers": [{"url": base_path or "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys([*(route.tag for route in operations), "webhooks"])],
        "paths": paths,
        "webhooks": webhooks(dict(references[Notification, "serialization"])),
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "A key of the relay."}},
        },
    }
    return json.dumps(document, ensure_ascii=False).encode()


References = Mapping[Any, Mapping[str, Any]]
"""By model and mode: the reference to its schema."""


def _schemas(operations: Sequence[ApiRoute]) -> tuple[dict[str, Any], References]:
    """The components, and the reference to each model's schema."""
    models: dict[tuple[type[BaseModel], Mode], None] = dict.fromkeys(
        [(ErrorResponse, "serialization"), (Notification, "serialization")]
    )
    for route in operations:
        if (body := route.body or route.raw_body_schema) is not None:
            models[body, "validation"] = None
        for answer in route.answers.values():
            if not isinstance(answer, str):
                models[answer, "serialization"] = None
    references, definitions = models_json_schema(
        list(models), ref_template="#/components/schemas/{model}", schema_generator=_WithoutNullDefaults
    )
    return definitions["$defs"], references


class _WithoutNullDefaults(GenerateJsonSchema):
    """Says nothing of a default that is null: the field may be left out, and openapi-typescript would demand it."""

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        described = super().default_schema(schema)
        if described.get("default", ...) is None:
            del described["default"]
        return described


def _operation(route: ApiRoute, references: References, with_auth: bool) -> dict[str, Any]:
    summary, _, description = (getdoc(route.handler) or "").partition("\n\n")
    documented: dict[str, Any] = {
        "operationId": route.id,
        "tags": [route.tag],
        "summary": summary,
        "parameters": [*_path_parameters(route), *_query_parameters(route.query), *_header_parameters(route)],
        "responses": _responses(route, references),
        "security": [{"key": [route.scope]}] if route.scope and with_auth else [],
    }
    if description:
        documented["description"] = description
    if (body := route.body or route.raw_body_schema) is not None:
        schema = references[body, "validation"]
        documented["requestBody"] = {
            "required": not route.body_may_be_empty,
            "content": {"application/json": {"schema": schema}},
        }
    return documented


def _path_parameters(route: ApiRoute) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, **_PATH_PARAMETERS[name]}
        for name in re.findall(r"{(\w+)}", route.path)
    ]


def _query_parameters(query: type[Query] | None) -> list[dict[str, Any]]:
    if query is None:
        return []
    schema = query.model_json_schema()
    inlined = partial(_inlined, schema.get("$defs", {}))
    return [
        {"name": name, "in": "query", "description": part.pop("description", ""), **_in_query(inlined(part))}
        for name, part in schema["properties"].items()
    ]


def _in_query(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter; a list is one text with commas."""
    return {"schema": schema, **({"style": "form", "explode": False} if schema.get("type") == "array" else {})}


def _inlined(definitions: Mapping[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """A parameter's schema without references, and without the null of an optional parameter."""
    options = [option for option in part.get("anyOf", [part]) if option.get("type") != "null"]
    [option] = options
    if "$ref" in option:
        option = definitions[option["$ref"].rpartition("/")[2]]
    default = {"default": part["default"]} if part.get("default") is not None else {}
    return {name: value for name, value in option.items() if name not in ("title", "description")} | default


def _header_parameters(route: ApiRoute) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "header",
            "description": description,
            "schema": {"type": "string", **({"pattern": pattern} if pattern else {})},
        }
        for name, (description, pattern) in route.headers.items()
    ]


def _responses(route: ApiRoute, references: References) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, answer in route.answers.items():
        if isinstance(answer, str):
            responses[str(status)] = {"description": answer}
        else:
            schema = references[answer, "serialization"]
            description = (getdoc(answer) or answer.__name__).partition("\n\n")[0]
            responses[str(status)] = {"description": description, "content": {"application/json": {"schema": schema}}}
    error = {"application/json": {"schema": references[ErrorResponse, "serialization"]}}
    for status in _refusals(route):
        headers = {"headers": _RETRY_HEADERS} if status in (429, 503) else {}
        responses.setdefault(str(status), {"description": _REFUSALS[status], **headers, "content": error})
    return responses


def _refusals(route: ApiRoute) -> list[int]:
    for_keys = (401, 403, 429, 503) if route.scope else ()
    for_bodies = (400, 413, 415) if route.body else ()
    return sorted({*route.error_statuses, *for_keys, *for_bodies})
