"""`google_chat`: a space's webhook, laid out as one card (cardsV2).

A text paragraph reads HTML tags, so Exec's words are escaped there; titles and `fallbackText` are plain. One message
a second per space, 32,000 bytes each.
"""

from relay.egress.result import HttpResponse
from relay.formats.base import Format, PermanentError, json_body
from relay.formats.message_text import BUTTON, describe_event
from relay.formats.truncate import MARKUP_ESCAPES, truncate
from relay.model import Event, Registration

MOST_TITLE = 200
MOST_PARAGRAPH = 4_000
MOST_FALLBACK = 1_000


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


def _permanent(answer: HttpResponse) -> PermanentError | None:
    """By the `status` of Google's error envelope: a 404 where the space or its webhook is gone."""
    error = json_body(answer).get("error")
    if answer.status == 404 and isinstance(error, dict) and error.get("status") == "NOT_FOUND":
        return PermanentError(
            "Google Chat says this space or its webhook was removed (NOT_FOUND): make a new webhook in the space's "
            "settings (Apps & integrations) and register its URL",
            True,
        )
    return None


def _recognises(host: str, path: str) -> bool:
    return host == "chat.googleapis.com" and path.startswith("/v1/spaces/")


FORMAT = Format(body=body, matches_url=_recognises, permanent_error=_permanent, rate_per_second=1)
