"""`slack_workflow`: a workflow that starts from a webhook; its variables are `flat.py`'s keys and `metadata_KEY`, every
one a text.

A workflow declares variables by these names, ignores the others, and fails if a declared one is missing. So all are
always sent, empty if they have no value.
"""

import json

from relay.egress import HttpResponse
from relay.formats.base import Format, Rejection, json_body
from relay.formats.flat import PROSE, flat_fields, flat_metadata
from relay.formats.inert_text import link, plain_value, sanitize
from relay.formats.slack import error_meaning, rejection_in_body
from relay.model import Event, Registration


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """Every key of the flat fields and of the metadata, with a string."""
    fields: dict[str, object] = {key: _text(key, value) for key, value in flat_fields(event, registration).items()}
    return fields | {key: _metadata_text(value) for key, value in flat_metadata(event, registration).items()}


def _metadata_text(value: object) -> str:
    """A value of the metadata: a URL stays as it is, so that it opens; anything else is prose."""
    text = value if isinstance(value, str) else _plain_number(value)
    return text if link(text) == text else sanitize(text) or ""


def _plain_number(value: object) -> str:
    return "" if value is None else json.dumps(value)


def _text(key: str, value: str | int | float | bool | None) -> str:
    # The workflow posts these texts in a message, so they are sanitized like the relay's own messages. A word joiner
    # would break a URL or an id, so none is added to those.
    if key in PROSE:
        return sanitize(str(value or "")) or ""
    if isinstance(value, bool):
        return json.dumps(value)
    text = "" if value is None else str(value)
    return text if key in ("scenario_url", "job_page") else plain_value(text)


def _rejection(response: HttpResponse) -> Rejection | None:
    if 400 <= response.status < 500:
        return error_meaning(str(json_body(response).get("error")))
    return rejection_in_body(response)


def _matches_url(host: str, path: str) -> bool:
    return host in ("hooks.slack.com", "hooks.slack-gov.com") and path.startswith(("/triggers/", "/workflows/"))


FORMAT = Format(body=body, matches_url=_matches_url, rejection=_rejection, rate_per_second=1)
