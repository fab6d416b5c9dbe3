"""`discord`: a channel's webhook, laid out as one embed.

Exec's words are escaped, because Discord reads Markdown in titles and descriptions, and `allowed_mentions` lets
nobody be pinged. Limits: title 256, field 1,024, description 4,096, 6,000 in all.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qsl, urlencode, urlsplit

from relay.egress import HttpResponse, SendResult
from relay.formats.base import Format, Rejection, json_body, page_instead_of_answer
from relay.formats.exchange import (
    SKIPPED_AS_THERE,
    SKIPPED_AS_UNCERTAIN,
    Exchange,
    Task,
    failed,
    json_call,
    shown,
)
from relay.formats.markdown import digest_markdown, markdown_job_link
from relay.formats.message_text import EventText, Fact, Tone, describe_event
from relay.formats.truncate import truncate
from relay.model import Event, Registration, to_rfc3339

MAX_TITLE = 256
MAX_DESCRIPTION = 2_000
"""Discord takes 4,096, and 6,000 in the whole embed."""
MAX_FIELD = 500
_COLOURS = {Tone.GOOD: 0x2EB67D, Tone.BAD: 0xE01E5A, Tone.NEUTRAL: 0x9AA0A6}

_ESCAPES = str.maketrans({char: f"\\{char}" for char in "\\*_~`|[]<>#"})

_THREAD = "thread_id"
"""The parameter of a URL that names a thread or a forum's post."""
_UNEDITABLE = frozenset({10003, 10008, 50005, 50083, 160005})
"""Codes of an edit after which the ending is posted as a new message: the thread or the message was deleted, another
webhook posted it, its thread is archived (a new message opens it again) or locked. The post tells whether the endpoint
is at fault."""
_OLD_EDITS = 30046
"""The code of a 429 for too many edits of messages that are more than an hour old. It says no time to wait."""
_OTHER_LAYOUTS = ("/slack", "/slack/", "/github", "/github/")
"""Ends of a path at which Discord expects another service's body."""

_NEW_URL = "make a new webhook in the channel's settings (Integrations) and register its URL"


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """`{"content", "embeds": [one], "allowed_mentions": {"parse": []}}`.

    Every field is always there, so that an edit of the message leaves nothing of the earlier one.
    """
    content = describe_event(event)
    title = f"{content.mark} {truncate(content.headline, MAX_TITLE - 4, _ESCAPES)}"
    embed: dict[str, object] = {"title": title, "color": _COLOURS[content.tone]}
    if content.link:
        embed["url"] = content.link
    if description := _description(content):
        embed["description"] = description
    if content.facts:
        embed["fields"] = [_field(fact) for fact in content.facts]
    embed["footer"] = {"text": content.footnote}
    embed["timestamp"] = to_rfc3339(event.occurred_at)
    return {"content": "", "embeds": [embed], "allowed_mentions": {"parse": []}}


def _description(content: EventText) -> str:
    reason = content.detail_within(MAX_DESCRIPTION, _ESCAPES)
    lines = digest_markdown(content, lambda text: text.translate(_ESCAPES), MAX_DESCRIPTION)
    return "\n".join(filter(None, (reason, *lines, content.next_step, markdown_job_link(content))))


def _field(fact: Fact) -> dict[str, object]:
    is_linked = fact.link is not None and len(fact.link) < MAX_FIELD
    value = f"<{fact.link}>" if is_linked else truncate(fact.text, MAX_FIELD, _ESCAPES)
    return {"name": truncate(fact.label, 100, _ESCAPES), "value": value, "inline": True}


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


def exchange(task: Task) -> Exchange:
    """Posts the message, or edits it; then mentions nobody: Discord knows no users by e-mail address.

    A webhook can't be asked for its messages. If the answer to the start was lost, it is not sent again. A message is
    edited in the thread that it was posted to, whatever thread the endpoint's URL names by now.
    """
    living, rendered = task.message, json.loads(task.body)
    if task.may_be_there and not living.address and not task.is_final:
        return SKIPPED_AS_UNCERTAIN, living
    if living.address:
        if not task.is_final:
            return SKIPPED_AS_THERE, living
        result = yield json_call("PATCH", _edit_url(task.url, living.address), rendered)
        if not (isinstance(result, HttpResponse) and json_body(result).get("code") in _UNEDITABLE):
            return result, shown(living, True) if _succeeded(result) else living
    post_url, thread = _post_url(task.url)
    result = yield json_call("POST", post_url, rendered)
    id = json_body(result).get("id") if isinstance(result, HttpResponse) else None
    if not _succeeded(result) or not isinstance(id, str):
        return failed(result, replace(living, address={}))
    return result, shown(living, task.is_final, {"id": id} | ({_THREAD: thread} if thread else {}))


def _post_url(url: str) -> tuple[str, str]:
    """Where a message is posted, and in which thread; `wait` makes Discord answer with the message."""
    parts = urlsplit(url)
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True)) | {"wait": "true"}
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}?{urlencode(parameters)}", parameters.get(_THREAD, "")


def _edit_url(url: str, address: Mapping[str, str]) -> str:
    """Where the message at this address is edited."""
    parts = urlsplit(url)
    query = urlencode({name: value for name, value in address.items() if name == _THREAD})
    path = f"{parts.path.rstrip('/')}/messages/{address['id']}"
    return f"{parts.scheme}://{parts.netloc}{path}{f'?{query}' if query else ''}"


def _succeeded(result: SendResult) -> bool:
    return isinstance(result, HttpResponse) and result.succeeded and _rejection(result) is None


def _rejection(answer: HttpResponse) -> Rejection | None:
    """A 429 that says no time is not a webhook's limit: something in front of Discord refuses the address."""
    if answer.status == 429 and json_body(answer).get("code") == _OLD_EDITS:
        text = f"Discord takes few edits of messages that are more than an hour old ({_OLD_EDITS})"
        return Rejection(text, retry=True, busy=True)
    if answer.status == 429 and "retry-after" not in answer.headers and "retry_after" not in json_body(answer):
        text = "Discord refuses every request of this machine's address for a while (429 without a time to wait)"
        return Rejection(text, retry=True, busy=True, of_address=True)
    if (page := page_instead_of_answer(answer)) is not None:
        return page
    code = json_body(answer).get("code")
    if not isinstance(code, int) or not (answer.succeeded or 400 <= answer.status < 500):
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


FORMAT = Format(body=body, matches_url=_matches_url, rejection=_rejection, exchange=exchange, address_key="id")
