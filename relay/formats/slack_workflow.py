"""`slack_workflow`: a workflow that starts from a webhook; its variables are `flat.py`'s keys, every one a text.

A workflow declares the variables it wants by these names and ignores the others; one that it declared and does not
get makes it fail, so all are always there, empty if there is nothing to say.
"""

from relay.egress import HttpResponse
from relay.formats.base import Format, Rejection, json_body
from relay.formats.flat import PROSE, flat_fields
from relay.formats.message_text import plain_value, sanitize
from relay.formats.slack import error_meaning, said_no
from relay.model import Event, Registration


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """Every key of the flat fields, with a string."""
    return {key: _text(key, value) for key, value in flat_fields(event, registration).items()}


def _text(key: str, value: str | int | float | bool | None) -> str:
    # The workflow posts these texts in a message, so they are made as harmless as the relay's own messages. A word
    # joiner in a URL or an id would break it, so nothing is ever added to those.
    if key in PROSE:
        return sanitize(str(value or "")) or ""
    text = "" if value is None else str(value)
    return text if key.endswith("_url") else plain_value(text)


def _rejection(answer: HttpResponse) -> Rejection | None:
    if 400 <= answer.status < 500:
        return error_meaning(str(json_body(answer).get("error")))
    return said_no(answer)


def _matches_url(host: str, path: str) -> bool:
    return host in ("hooks.slack.com", "hooks.slack-gov.com") and path.startswith(("/triggers/", "/workflows/"))


FORMAT = Format(body=body, matches_url=_matches_url, rejection=_rejection, rate_per_second=1)
