"""`slack_workflow`: a workflow that starts from a webhook; its variables are `flat.py`'s keys and `metadata_KEY`, every
one a text.

A workflow declares the variables it wants by these names and ignores the others; one that it declared and does not
get makes it fail, so all are always there, empty if there is nothing to say.
"""

import json

from relay.egress.result import HttpResponse
from relay.formats.base import Format, Rejection, json_body
from relay.formats.flat import PROSE, flat_fields, flat_metadata
from relay.formats.message_text import link, plain_value, sanitize
from relay.formats.slack import error_meaning, said_no
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
    # The workflow posts these texts in a message, so they are made as harmless as the relay's own messages. A word
    # joiner in a URL or an id would break it, so nothing is ever added to those.
    if key in PROSE:
        return sanitize(str(value or "")) or ""
    if isinstance(value, bool):
        return json.dumps(value)
    text = "" if value is None else str(value)
    return text if key in ("scenario_url", "job_page") else plain_value(text)


def _rejection(answer: HttpResponse) -> Rejection | None:
    if 400 <= answer.status < 500:
        return error_meaning(str(json_body(answer).get("error")))
    return said_no(answer)


def _matches_url(host: str, path: str) -> bool:
    return host in ("hooks.slack.com", "hooks.slack-gov.com") and path.startswith(("/triggers/", "/workflows/"))


FORMAT = Format(body=body, matches_url=_matches_url, rejection=_rejection, rate_per_second=1)
