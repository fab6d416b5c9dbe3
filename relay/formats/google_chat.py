"""`google_chat`: a space's webhook, laid out as one card (cardsV2).

A text paragraph reads HTML tags, so Exec's text is escaped there; titles and `fallbackText` are plain. One message
a second per space, 32,000 bytes each.
"""

import html
import json
from urllib.parse import parse_qsl, urlencode, urlsplit

from relay.egress import HttpResponse
from relay.formats.base import Format, Rejection, Target, json_body, short
from relay.formats.encode_json import encode_json
from relay.formats.message_text import OPEN_JOB, DigestLine, EventText, Fact, describe_event, digest_within
from relay.formats.ntfy import sequence_id
from relay.formats.truncate import MARKUP_ESCAPES, truncate
from relay.model import Event, Registration

MAX_TITLE = 200
MAX_PARAGRAPH = 4_000
MAX_FACT = 500
MAX_FALLBACK = 1_000

_REPLY = ("messageReplyOption", "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD")
_ACCESS_ERRORS = ("PERMISSION_DENIED", "UNAUTHENTICATED")


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """`{"fallbackText", "cardsV2": [one], "thread"}`."""
    content = describe_event(event)
    lines = [content.detail_within(MAX_PARAGRAPH, MARKUP_ESCAPES)]
    if content.link:
        lines.append(_link(truncate(content.name or "Open the scenario", MAX_TITLE, MARKUP_ESCAPES), content.link))
    lines += [f"<b>{_escaped(fact.label)}:</b> {_fact(fact)}" for fact in content.facts]
    lines.append(_digest(content))
    lines += [content.next_step, _link(OPEN_JOB, content.page) if content.page else None]
    widgets = [_paragraph(line) for line in lines if line]
    widgets.append(_paragraph(truncate(content.footnote, MAX_PARAGRAPH, MARKUP_ESCAPES)))
    title = f"{content.mark} {truncate(content.headline, MAX_TITLE)}"
    card = {"header": {"title": title}, "sections": [{"widgets": widgets}]}
    fallback = f"{content.mark} {truncate(content.summary, MAX_FALLBACK)}"
    thread = {"threadKey": sequence_id(event)}
    return {"fallbackText": fallback, "cardsV2": [{"cardId": event.id, "card": card}], "thread": thread}


def _target(url: str, body: bytes) -> Target:
    """With `threads=true` in the URL the events of a job share a thread; else the thread is left out.

    Google Chat opens a new thread for each message unless the URL says what to do with the key.
    """
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    fields = json.loads(body)
    if ("threads", "true") in query:
        query = [pair for pair in query if pair[0] not in ("threads", _REPLY[0])]
        url = parts._replace(query=urlencode([*query, _REPLY])).geturl()
    else:
        fields.pop("thread", None)
    return Target(url, encode_json(fields))


def _digest(content: EventText) -> str | None:
    """The lines of a digest in one paragraph, as many as fit; None without any."""

    def draw(line: DigestLine) -> str:
        text = _escaped(line.text)
        linked = _link(text, line.link) if line.link and len(line.link) <= MAX_TITLE else text
        return f"{line.mark} {linked}{_escaped(line.note)}"

    return "<br>".join(digest_within(content, draw, MAX_PARAGRAPH - MAX_TITLE, len)) or None


def _link(label: str, url: str) -> str:
    """A link in a text paragraph; `label` is escaped already."""
    return f'<a href="{html.escape(url)}">{label}</a>'


def _fact(fact: Fact) -> str:
    return _link(_escaped(fact.text), fact.link) if fact.link else _escaped(fact.text)


def _escaped(text: str) -> str:
    return truncate(text, MAX_FACT, MARKUP_ESCAPES)


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


FORMAT = Format(body=body, matches_url=_matches_url, rejection=_rejection, target=_target, rate_per_second=1)
