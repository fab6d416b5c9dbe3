"""`telegram`: a bot's message, for `https://api.telegram.org/botTOKEN/sendMessage?chat_id=CHAT`.

Bold and links are `entities` with offsets in UTF-16 units, so that Telegram parses no markup in anybody's words, and a
text that is cut never breaks one. `message_thread_id` in the URL names a topic of a forum.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from relay.egress import HttpResponse
from relay.formats.base import Format, Rejection, Target, json_body, short
from relay.formats.encode_json import encode_json
from relay.formats.inert_text import without_user_mentions
from relay.formats.message_text import OPEN_JOB, describe_event
from relay.formats.truncate import truncate, utf16_length
from relay.model import Event, Registration

MAX_HEADLINE = 300
MAX_REASON = 1_500
MAX_LINE = 400
"""With a headline, a reason, five facts and a footnote a message stays below Telegram's 4,096."""
_RIGHTS = "let the bot post in the chat (as an admin, if it is a channel), then enable this endpoint"
_TOPIC = "check message_thread_id in the URL, or leave it out for the chat's general topic"
_CHAT_ERRORS = (
    ("chat not found", "check chat_id in the URL, and that the bot is in the chat"),
    ("chat_id is empty", "add chat_id=CHAT to the URL"),
    ("peer_id_invalid", "check chat_id in the URL, and that the bot is in the chat"),
    ("upgraded to a supergroup", "the chat has a new id: register the URL with it as chat_id"),
    ("message thread not found", _TOPIC),
    ("topic_deleted", _TOPIC),
    ("topic_closed", "open the topic again, then enable this endpoint, or register the URL of another topic"),
    ("rights", _RIGHTS),
    ("chat_write_forbidden", _RIGHTS),
)
"""Parts of descriptions that come with a 400 though the chat is at fault, and what to do."""


@dataclass(slots=True)
class _Text:
    """A text under construction, with its entities."""

    text: str = ""
    entities: list[dict[str, object]] = field(default_factory=list)

    def add(self, text: str, type: str | None = None, **attributes: object) -> None:
        self.add_url(without_user_mentions(text), type, **attributes)

    def add_url(self, text: str, type: str | None = None, **attributes: object) -> None:
        """Adds a text that is a link to itself: nothing in it is changed."""
        if type is not None:
            span = {"type": type, "offset": utf16_length(self.text), "length": utf16_length(text)}
            self.entities.append(span | attributes)
        self.text += text


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """`{"text", "entities", "link_preview_options"}`."""
    content = describe_event(event)
    message = _Text()
    message.add(f"{content.mark} ")
    if content.link:
        message.add(f"{content.title}: ", "bold")
        message.add(truncate(content.name or "Open the scenario", MAX_HEADLINE), "text_link", url=content.link)
    else:
        message.add(truncate(content.headline, MAX_HEADLINE), "bold")
    if reason := content.detail_within(MAX_REASON):
        message.add(f"\n{reason}")
    for fact in content.facts:
        message.add("\n")
        message.add(f"{fact.label}:", "bold")
        message.add(" ")
        if fact.link:
            message.add_url(truncate(fact.text, MAX_LINE), "text_link", url=fact.link)
        else:
            message.add(truncate(fact.text, MAX_LINE))
    digest_lines, remainder = content.first_lines()
    for line in digest_lines:
        message.add(f"\n{line.mark} ")
        message.add(line.text, *(("text_link",) if line.link else ()), **({"url": line.link} if line.link else {}))
        message.add(line.note)
    if remainder:
        message.add(f"\n{remainder}")
    if content.next_step:
        message.add(f"\n{content.next_step}")
    if content.page:
        message.add("\n")
        message.add(OPEN_JOB, "text_link", url=content.page)
    message.add("\n")
    message.add(truncate(content.footnote, MAX_LINE), "italic")
    return {"text": message.text, "entities": message.entities, "link_preview_options": {"is_disabled": True}}


def _target(url: str, body: bytes) -> Target:
    """The chat moves from the URL into the body."""
    parts = urlsplit(url)
    parameters = {name: values[0] for name, values in parse_qs(parts.query).items()}
    fields = {**parameters, **json.loads(body)}
    method_url = f"{parts.scheme}://{parts.netloc}{parts.path}"
    return Target(method_url, encode_json(fields))


def _rejection(answer: HttpResponse) -> Rejection | None:
    """By `ok: false` and its description."""
    answer_body = json_body(answer)
    if answer_body.get("ok") is not False:
        return None
    reason, code = short(answer_body.get("description")), answer_body.get("error_code")
    if answer.status == 429 or code == 429:
        return None if answer.status == 429 else Rejection(f"Telegram says: {reason}", retry=True, busy=True)
    if answer.status in (401, 403, 404):
        remedy = "check the bot's token, that the bot is in the chat and may post there, then enable this endpoint"
        return Rejection(f"Telegram says: {reason} ({answer.status}): {remedy}", disable=True)
    if answer.status == 400 and (advice := _advice(answer_body, reason)):
        return Rejection(f"Telegram says: {reason}: {advice}", disable=True)
    if answer.status == 400:
        return Rejection(f"Telegram did not take the relay's message ({reason}): please report it, with this job's id")
    return None


def _advice(answer_body: Mapping[str, Any], reason: str) -> str | None:
    """What to do about a 400 that is the chat's fault; None if the message is at fault."""
    parameters = answer_body.get("parameters")
    new_chat = parameters.get("migrate_to_chat_id") if isinstance(parameters, dict) else None
    if isinstance(new_chat, int):
        return f"register its URL with chat_id={new_chat}, the chat's new id"
    return next((advice for part, advice in _CHAT_ERRORS if part in reason.casefold()), None)


def _matches_url(host: str, path: str) -> bool:
    return host == "api.telegram.org" and path.startswith("/bot")


FORMAT = Format(body=body, matches_url=_matches_url, rejection=_rejection, target=_target, rate_per_second=1)
