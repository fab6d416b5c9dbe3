"""The HTTP API, from the OpenAPI document that the relay serves."""

import json
from typing import Any

from docs.generating.tables import code, table
from relay.web.app import OPERATIONS
from relay.web.core import openapi

Schema = dict[str, Any]


def page() -> str:
    """Every call with what it takes and gives."""
    document = json.loads(openapi.build_openapi(OPERATIONS))
    schemas = document["components"]["schemas"]
    parts = [_HEAD]
    for tag in document["tags"]:
        parts.append(f"\n## {tag['name'].capitalize()}\n")
        for path, methods in document["paths"].items():
            parts += [
                _call(method, path, one, schemas) for method, one in methods.items() if tag["name"] in one["tags"]
            ]
    return "\n".join(parts)


def _call(method: str, path: str, one: Schema, schemas: Schema) -> str:
    scopes = [scope for needed in one["security"] for scope in needed["key"]]
    needs = f"Needs a key with the scope `{scopes[0]}`." if scopes else "Needs no key."
    parts = [f"### {method.upper()} {path}\n", f"{one['summary']} {one.get('description', '')}".strip(), "", needs, ""]
    parts.append(table(["parameter", "in", "is"], [_parameter(found) for found in one["parameters"]]))
    if body := one.get("requestBody"):
        parts.append(_taken(_resolved(body["content"]["application/json"]["schema"], schemas), schemas))
    parts.append(table(["answers", "with"], [_answer(status, found) for status, found in one["responses"].items()]))
    return "\n".join(parts)


def _taken(schema: Schema, schemas: Schema) -> str:
    required = schema.get("required", [])
    rows = [
        [f"`{name}`", _type(field, schemas) + (", required" if name in required else ""), field.get("description", "")]
        for name, field in schema["properties"].items()
    ]
    shown = f"\n{code(json.dumps(schema['example'], indent=2), 'json')}" if "example" in schema else ""
    return table(["field", "type", "is"], rows) + shown


def _parameter(found: Schema) -> list[str]:
    default = found["schema"].get("default")
    said = found["description"] + (f"; {default} unless given" if default is not None else "")
    return [f"`{found['name']}`", found["in"], said]


def _answer(status: str, found: Schema) -> list[str]:
    content = found.get("content", {}).get("application/json", {}).get("schema", {})
    name = content.get("$ref", "").rpartition("/")[2]
    return [status, found["description"] + (f" (`{name}`)" if name and name != "ErrorResponse" else "")]


def _resolved(schema: Schema, schemas: Schema) -> Schema:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: Schema = schemas[name] if name else schema
    return found


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

- **Errors** have Exec's own envelope, so that a client of both needs one handler:
  `{"error": {"type", "code", "message"}}`, and `field` where one field is at fault. `message` says what to write.
- **Lists** take `limit` and `cursor`, and answer `{"data": [...], "next_cursor": ...}`; `next_cursor` is null on the
  last page.
- **Times** are RFC 3339 in UTC. **Ids** have a prefix that says what they are of, and sort by time.
- **`Idempotency-Key`**, where a call takes it: the same key again gives the same answer, and does nothing twice.
"""
