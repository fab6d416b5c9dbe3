"""`slack_workflow`: a workflow that starts from a webhook; its variables are `flat.py`'s keys, every one a text.

A workflow declares the variables it wants by these names and ignores the others; one that it declared and does not
get makes it fail, so all are always there, empty where there is nothing to say.
"""

from relay.formats.flat import fields
from relay.formats.format import Format, Permanent, answered_object
from relay.formats.slack import meaning
from relay.formats.wording import clean
from relay.model import Event, Registration
from relay.outcome import Answer


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """Every key of the flat fields, with a string."""
    return {key: _text(value) for key, value in fields(event, registration).items()}


def _text(value: str | int | float | bool | None) -> str:
    # These texts end up in a message that the workflow posts, so they are made as harmless as our own messages'.
    return "" if value is None else clean(str(value)) or ""


def _permanent(answer: Answer) -> Permanent | None:
    return meaning(str(answered_object(answer).get("error"))) if 400 <= answer.status < 500 else None


def _recognises(host: str, path: str) -> bool:
    return host in ("hooks.slack.com", "hooks.slack-gov.com") and path.startswith(("/triggers/", "/workflows/"))


FORMAT = Format(body=body, recognises=_recognises, permanent=_permanent, per_second=1)
