"""Writes the page of the HTTP API, from the OpenAPI document that the relay serves."""

import json
from typing import Any

from docs.generating import languages
from docs.generating.tables import table
from relay.web.app import OPERATIONS
from relay.web.core import openapi

Schema = dict[str, Any]


def page() -> str:
    """The page: every call with its parameters and answers."""
    document = json.loads(openapi.build_openapi(OPERATIONS))
    schemas = document["components"]["schemas"]
    parts = [_HEAD, languages.preparation()]
    for tag in document["tags"]:
        parts.append(f"\n## {tag['name'].capitalize()}\n")
        for path, methods in document["paths"].items():
            parts += [
                _call(method, path, operation, schemas)
                for method, operation in methods.items()
                if tag["name"] in operation["tags"]
            ]
    return "\n".join(parts)


def _call(method: str, path: str, operation: Schema, schemas: Schema) -> str:
    scopes = [scope for requirement in operation["security"] for scope in requirement["key"]]
    needs = f"Needs a key with the scope `{scopes[0]}`." if scopes else "Needs no key."
    parts = [
        f"### {method.upper()} {path}\n",
        f"{operation['summary']} {operation.get('description', '')}".strip(),
        "",
        needs,
        "",
    ]
    body = operation.get("requestBody")
    schema = _resolved(body["content"]["application/json"]["schema"], schemas) if body else {}
    if languages.has_examples(path):
        parts.append(languages.call(method, path, schema.get("example")))
    parts.append(table(["parameter", "in", "meaning"], map(_parameter, operation["parameters"])))
    if schema:
        parts.append(_body(schema, schemas))
    answers = [_answer(status, response) for status, response in operation["responses"].items()]
    parts.append(table(["status", "answer"], answers))
    return "\n".join(parts)


def _body(schema: Schema, schemas: Schema) -> str:
    required = schema.get("required", [])
    rows = [
        [f"`{name}`", _type(field, schemas) + (", required" if name in required else ""), field.get("description", "")]
        for name, field in schema["properties"].items()
    ]
    return table(["field", "type", "meaning"], rows)


def _parameter(parameter: Schema) -> list[str]:
    default = parameter["schema"].get("default")
    meaning = parameter["description"] + (f"; {default} by default" if default is not None else "")
    return [f"`{parameter['name']}`", parameter["in"], meaning]


def _answer(status: str, response: Schema) -> list[str]:
    content = response.get("content", {}).get("application/json", {}).get("schema", {})
    name = content.get("$ref", "").rpartition("/")[2]
    return [status, response["description"] + (f" (`{name}`)" if name and name != "ErrorResponse" else "")]


def _resolved(schema: Schema, schemas: Schema) -> Schema:
    name = schema.get("$ref", "").rpartition("/")[2]
    resolved: Schema = schemas[name] if name else schema
    return resolved


def _type(field: Schema, schemas: Schema) -> str:
    options = [_resolved(option, schemas) for option in field.get("anyOf", [field])]
    kinds = dict.fromkeys(_kind(option, schemas) for option in options if option.get("type") != "null")
    return " or ".join(kinds)


def _kind(schema: Schema, schemas: Schema) -> str:
    if schema.get("type") == "array":
        return f"list: {_type(schema['items'], schemas)}"
    if "enum" in schema:
        return f"one of {', '.join(f'`{value}`' for value in schema['enum'])}"
    if "const" in schema:
        return f"`{schema['const']}`"
    return {"string": "text", "integer": "number", "boolean": "true or false"}.get(schema.get("type", ""), "object")


_HEAD = """\
# HTTP API

JSON, under `/v1`, with `Authorization: Bearer YOUR_KEY`. A running relay serves the OpenAPI 3.1 document of all this at
`/openapi.json`.

- **Errors** have Exec's own envelope, so that a client of both needs one handler: `{"error": {"type", "code",
  "message"}}`, and `field` if one field causes the error. `message` says how to correct the request.
- **Lists** have the parameters `limit` and `cursor`, and answer `{"data": [...], "next_cursor": ...}`; `next_cursor` is
  null on the last page.
- **Times** are RFC 3339 in UTC. **Ids** have a prefix for their kind, and sort by time.
- **`Idempotency-Key`**, for calls that accept it: a repeat with the same key gets the same answer, and does nothing
  twice.

Each call is shown in curl, Python and JavaScript, after this preparation (`pip install httpx` for Python). The
[clients](../wait.md#python) need fewer lines, and repeat what failed by themselves.

"""
