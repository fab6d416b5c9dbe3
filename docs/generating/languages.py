"""The same call of the API in curl, Python and JavaScript, for the page of the HTTP API."""

import json
import re
from typing import Any

from docs.generating.tables import code

BODIES = {
    "/v1/registrations/batch": {
        "registrations": [{"job_id": "j1o2b3i4d5x6"}, {"job_id": "j7o8b9i0d1x2", "metadata": {"team": "sales"}}]
    }
}
"""Bodies of calls whose schemas have no example."""
QUERIES = {
    "/v1/registrations": "?job_id=j1o2b3i4d5x6",
    "/v1/jobs": "?state=active",
    "/v1/jobs/{job_id}": "?wait=25",
    "/v1/events": "?after=0&wait=25",
    "/v1/deliveries": "?status=failed&since=2026-03-01T10:00:00Z",
}
"""What a reader will ask for first."""
_IDS = {"endpoints": "ep", "registrations": "reg", "deliveries": "dlv"}
_LABELS = {"curl": "curl", "python": "Python", "javascript": "JavaScript"}

PYTHON = """\
import os

import httpx

relay = httpx.Client(
    base_url=os.environ["RELAY_URL"],
    headers={"Authorization": f"Bearer {os.environ['RELAY_API_KEY']}"},
    timeout=60,
)
"""
JAVASCRIPT = """\
const { RELAY_URL, RELAY_API_KEY } = process.env;

async function relay(method, path, body) {
  const headers = { Authorization: `Bearer ${RELAY_API_KEY}`, "Content-Type": "application/json" };
  const answer = await fetch(RELAY_URL + path, { method, headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.status === 204 ? null : answer.json();
}
"""


def has_examples(path: str) -> bool:
    """A stream is read by a client, and Exec's callback is called by Exec."""
    return path.startswith("/v1/") and path not in ("/v1/events/stream", "/v1/exec/callbacks/{token}")


def call(method: str, path: str, body: Any = None) -> str:
    """The call in each language."""
    body = BODIES.get(path, body)
    target = _filled(path) + (QUERIES.get(path, "") if method == "get" else "")
    return _tabs(_curl(method, target, body), _python(method, target, body), _javascript(method, target, body))


def preparation() -> str:
    """What the examples need before they are run; the languages are chosen here too."""
    curl = "export RELAY_URL=https://relay.example.com RELAY_API_KEY=relay_..."
    return _chooser() + _tabs(curl, PYTHON, JAVASCRIPT)


def _filled(path: str) -> str:
    """The path with an id of the right kind in each place."""
    kind = _IDS.get(path.split("/")[2], "")
    known = {"id": f"{kind}_01JC4ZJ5QX0000000000000000", "job_id": "j1o2b3i4d5x6", "workspace": "default"}
    return re.sub(r"{(\w+)}", lambda found: known.get(found[1], found[1].upper()), path)


def _curl(method: str, target: str, body: Any) -> str:
    verb = {"get": "", "post": "" if body else "-X POST "}.get(method, f"-X {method.upper()} ")
    lines = [f'curl {verb}"$RELAY_URL{target}" -H "Authorization: Bearer $RELAY_API_KEY"']
    if body:
        lines += ["-H 'Content-Type: application/json'", f"-d '{_indented(body, 2)}'"]
    return " \\\n  ".join(lines)


def _python(method: str, target: str, body: Any) -> str:
    given = f", json={_python_literal(body)}" if body else ""
    asked = f'relay.{method}("{target}"{given}).raise_for_status()'
    return asked if method == "delete" else f"print({asked}.json())"


def _javascript(method: str, target: str, body: Any) -> str:
    given = f", {_javascript_literal(body)}" if body else ""
    asked = f'await relay("{method.upper()}", "{target}"{given})'
    return f"{asked};" if method == "delete" else f"console.log({asked});"


def _python_literal(body: Any) -> str:
    words, text = {"true": "True", "false": "False", "null": "None"}, _indented(body, 4)
    return re.sub(r"(?<=: )(true|false|null)(?=,?$)", lambda found: words[found[1]], text, flags=re.MULTILINE)


def _javascript_literal(body: Any) -> str:
    return re.sub(r'^( *)"(\w+)":', r"\1\2:", _indented(body, 2), flags=re.MULTILINE)


def _indented(body: Any, indent: int) -> str:
    return json.dumps(body, indent=indent, ensure_ascii=False)


def _chooser() -> str:
    """One choice for the whole page: every call's labels belong to it."""
    radios = [f'<input type="radio" name="language" id="language-{name}">' for name in _LABELS]
    return f'<div class="language-choice">{radios[0].replace(">", " checked>")}{"".join(radios[1:])}</div>\n\n'


def _tabs(curl: str, python: str, javascript: str) -> str:
    labels = "".join(f'<label for="language-{name}">{label}</label>' for name, label in _LABELS.items())
    blocks = "\n".join([code(curl, "sh"), code(python, "python"), code(javascript, "javascript")])
    return f'<div class="languages"><p>{labels}</p>\n\n{blocks}\n</div>\n'
