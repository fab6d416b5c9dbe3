"""`discord`: a channel's webhook, laid out as one embed.

Exec's text is escaped, because Discord reads Markdown in titles and descriptions; `allowed_mentions` prevents pings.
Limits: title 256, description 4,096, 6,000 in all.
"""

from relay.egress import HttpResponse
from relay.formats.base import Format, Rejection, json_body
from relay.formats.message_text import Tone, describe_event
from relay.formats.truncate import truncate
from relay.model import Event, Registration, to_rfc3339

MAX_TITLE = 256
MAX_DESCRIPTION = 4_096
_COLOURS = {Tone.GOOD: 0x2EB67D, Tone.BAD: 0xE01E5A, Tone.NEUTRAL: 0x9AA0A6}

_ESCAPES = str.maketrans({char: f"\\{char}" for char in "\\*_~`|[]<>#"})

_OTHER_LAYOUTS = ("/slack", "/slack/", "/github", "/github/")
"""Ends of a path at which Discord expects another service's body."""

_NEW_URL = "make a new webhook in the channel's settings (Integrations) and register its URL"


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """`{"embeds": [one], "allowed_mentions": {"parse": []}}`."""
    text = describe_event(event)
    embed: dict[str, object] = {"title": truncate(text.headline, MAX_TITLE, _ESCAPES), "color": _COLOURS[text.tone]}
    if text.link:
        embed["url"] = text.link
    if reason := text.detail_within(MAX_DESCRIPTION, _ESCAPES):
        embed["description"] = reason
    embed["footer"] = {"text": text.footnote}
    embed["timestamp"] = to_rfc3339(event.occurred_at)
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


_ENDPOINT_ERRORS = {
    10003: ("the channel of this webhook was deleted", _NEW_URL),
    10004: ("the server of this webhook is gone", _NEW_URL),
    10015: ("this webhook was removed", _NEW_URL),
    50027: ("this webhook's token is not valid", f"copy the whole URL again, or {_NEW_URL}"),
    50001: ("this webhook may not post here", _NEW_URL),
    50013: ("this webhook lacks the permission to post here", _NEW_URL),
    50083: ("the thread is archived", "unarchive it, then enable this endpoint, or register the URL of another thread"),
    160005: ("the thread is locked", "unlock it, then enable this endpoint, or register the URL of another thread"),
    220001: (
        "a webhook of a forum channel posts into a thread",
        "register the URL with ?thread_id=ID at its end, the id of the post that is to hold the messages",
    ),
    220002: ("the URL names a thread twice", "register it with one ?thread_id=ID at its end"),
    220003: (
        "webhooks make threads in forum channels only",
        "take thread_name out of the URL, or register the URL of a forum channel's webhook",
    ),
    220004: ("forum channels take no webhook services", "make a webhook in a text channel and register its URL"),
}
"""By Discord's JSON error code: what Discord says, and what to do. None of these errors passes by itself."""

_MESSAGE_ERRORS = frozenset({20009, 40005, 50006, 50035, 200000, 200001, 240000})
"""The message is empty, invalid, too large, or blocked for its content: only this message is at fault."""


def _rejection(response: HttpResponse) -> Rejection | None:
    code = json_body(response).get("code")
    if not isinstance(code, int) or not (response.succeeded or 400 <= response.status < 500):
        return None
    if code in _ENDPOINT_ERRORS:
        fault, remedy = _ENDPOINT_ERRORS[code]
        return Rejection(f"Discord says that {fault} ({code}): {remedy}", disable=True)
    if code in _MESSAGE_ERRORS:
        return Rejection(f"Discord did not take the relay's message ({code}): please report it, with this job's id")
    return None


def _matches_url(host: str, path: str) -> bool:
    is_discord = host in ("discord.com", "discordapp.com") or host.endswith((".discord.com", ".discordapp.com"))
    return is_discord and path.startswith("/api/") and "/webhooks/" in path and not path.endswith(_OTHER_LAYOUTS)


FORMAT = Format(body=body, matches_url=_matches_url, rejection=_rejection)
