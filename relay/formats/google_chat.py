"""`google_chat`: a space's webhook, laid out as one card (cardsV2).

A text paragraph reads HTML tags, so Exec's text is escaped there; titles and `fallbackText` are plain. One message
a second per space, 32,000 bytes each.
"""

from relay.egress import HttpResponse
from relay.formats.base import Format, Rejection, json_body, short
from relay.formats.message_text import BUTTON, describe_event
from relay.formats.truncate import MARKUP_ESCAPES, truncate
from relay.model import Event, Registration

MAX_TITLE = 200
MAX_PARAGRAPH = 4_000
MAX_FALLBACK = 1_000

_ACCESS_ERRORS = ("PERMISSION_DENIED", "UNAUTHENTICATED")


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """`{"fallbackText", "cardsV2": [one]}`."""
    text = describe_event(event)
    reason = text.detail_within(MAX_PARAGRAPH, MARKUP_ESCAPES)
    widgets = [_paragraph(reason)] if reason else []
    if text.link:
        button = {"text": BUTTON, "onClick": {"openLink": {"url": text.link}}}
        widgets.append({"buttonList": {"buttons": [button]}})
    widgets.append(_paragraph(truncate(text.footnote, MAX_PARAGRAPH, MARKUP_ESCAPES)))
    card = {"header": {"title": truncate(text.headline, MAX_TITLE)}, "sections": [{"widgets": widgets}]}
    return {"fallbackText": truncate(text.summary, MAX_FALLBACK), "cardsV2": [{"cardId": event.id, "card": card}]}


def _paragraph(html: str) -> dict[str, object]:
    return {"textParagraph": {"text": html}}


def _rejection(response: HttpResponse) -> Rejection | None:
    """By the `status` of Google's error envelope, which a 2xx may have too."""
    error = json_body(response).get("error")
    if not isinstance(error, dict):
        return None
    status = error.get("status")
    if status == "NOT_FOUND" and (response.succeeded or response.status == 404):
        return Rejection(
            "Google Chat says this space or its webhook was removed (NOT_FOUND): make a new webhook in the space's "
            "settings (Apps & integrations) and register its URL",
            disable=True,
        )
    if status in _ACCESS_ERRORS and (response.succeeded or response.status in (401, 403)):
        return Rejection(
            f"Google Chat does not accept this webhook ({status}): copy its whole URL again, key and token included, "
            "or ask an admin to allow webhooks in the space, then enable this endpoint",
            disable=True,
        )
    if status == "INVALID_ARGUMENT" and (response.succeeded or response.status == 400):
        return Rejection(
            f"Google Chat did not take the relay's message ({status}): please report it, with this job's id"
        )
    if response.succeeded:
        reason = f"Google Chat answered {response.status} and did not take the message ({short(status)})"
        return Rejection(reason, retry=True, busy=status == "RESOURCE_EXHAUSTED")
    return None


def _matches_url(host: str, path: str) -> bool:
    return host == "chat.googleapis.com" and path.startswith("/v1/spaces/")


FORMAT = Format(body=body, matches_url=_matches_url, rejection=_rejection, rate_per_second=1)
