"""`slack_workflow`: a workflow that starts from a webhook; its variables are `flat.py`'s keys, every one a text.

A workflow declares the variables it wants by these names and ignores the others; one that it declared and does not
get makes it fail, so all are always there, empty where there is nothing to say.
"""

from relay.egress.result import HttpResponse
from relay.formats.base import Format, PermanentError, json_body
from relay.formats.flat import flat_fields
from relay.formats.message_text import sanitize
from relay.formats.slack import error_meaning
from relay.model import Event, Registration


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """Every key of the flat fields, with a string."""
    return {key: _text(value) for key, value in flat_fields(event, registration).items()}


def _text(value: str | int | float | bool | None) -> str:
    # These texts end up in a message that the workflow posts, so they are made as harmless as our own messages'.
    return "" if value is None else sanitize(str(value)) or ""


def _permanent(answer: HttpResponse) -> PermanentError | None:
    return error_meaning(str(json_body(answer).get("error"))) if 400 <= answer.status < 500 else None


def _recognises(host: str, path: str) -> bool:
    return host in ("hooks.slack.com", "hooks.slack-gov.com") and path.startswith(("/triggers/", "/workflows/"))


FORMAT = Format(body=body, matches_url=_recognises, permanent_error=_permanent, rate_per_second=1)
