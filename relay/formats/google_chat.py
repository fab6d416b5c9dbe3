"""`google_chat`: a space's webhook, laid out as one card (cardsV2).

A text paragraph reads HTML tags, so Exec's words are escaped there; titles and `fallbackText` are plain. One message
a second per space, 32,000 bytes each.
"""

from relay.egress import HttpResponse
from relay.formats.base import Format, Rejection, json_body, short
from relay.formats.message_text import BUTTON, describe_event
from relay.formats.truncate import MARKUP_ESCAPES, truncate
from relay.model import Event, Registration

MOST_TITLE = 200
MOST_PARAGRAPH = 4_000
MOST_FALLBACK = 1_000

_ACCESS_ERRORS = ("PERMISSION_DENIED", "UNAUTHENTICATED")


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """`{"fallbackText", "cardsV2": [one]}`."""
    said = describe_event(event)
    reason = said.detail_within(MOST_PARAGRAPH, MARKUP_ESCAPES)
    widgets = [_paragraph(reason)] if reason else []
    if said.link:
        button = {"text": BUTTON, "onClick": {"openLink": {"url": said.link}}}
        widgets.append({"buttonList": {"buttons": [button]}})
    widgets.append(_paragraph(truncate(said.footnote, MOST_PARAGRAPH, MARKUP_ESCAPES)))
    card = {"header": {"title": truncate(said.headline, MOST_TITLE)}, "sections": [{"widgets": widgets}]}
    return {"fallbackText": truncate(said.summary, MOST_FALLBACK), "cardsV2": [{"cardId": event.id, "card": card}]}


def _paragraph(html: str) -> dict[str, object]:
    return {"textParagraph": {"text": html}}


def _rejection(answer: HttpResponse) -> Rejection | None:
    """By the `status` of Google's error envelope, which may come under a 2xx too."""
    error = json_body(answer).get("error")
    if not isinstance(error, dict):
        return None
    status = error.get("status")
    if status == "NOT_FOUND" and (answer.succeeded or answer.status == 404):
        return Rejection(
            "Google Chat says this space or its webhook was removed (NOT_FOUND): make a new webhook in the space's "
            "settings (Apps & integrations) and register its URL",
            disable=True,
        )
    if status in _ACCESS_ERRORS and (answer.succeeded or answer.status in (401, 403)):
        return Rejection(
            f"Google Chat does not accept this webhook ({status}): copy its whole URL again, key and token included, "
            "or ask an admin to allow webhooks in the space, then enable this endpoint",
            disable=True,
        )
    if status == "INVALID_ARGUMENT" and (answer.succeeded or answer.status == 400):
        return Rejection(
            f"Google Chat did not take the relay's message ({status}): please report it, with this job's id"
        )
    if answer.succeeded:
        reason = f"Google Chat answered {answer.status} and did not take the message ({short(status)})"
        return Rejection(reason, retry=True, busy=status == "RESOURCE_EXHAUSTED")
    return None


def _matches_url(host: str, path: str) -> bool:
    return host == "chat.googleapis.com" and path.startswith("/v1/spaces/")


FORMAT = Format(body=body, matches_url=_matches_url, rejection=_rejection, rate_per_second=1)
