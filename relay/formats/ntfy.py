"""`ntfy`: a topic's URL, `https://ntfy.sh/TOPIC`, as a push notification with a link.

The body is ntfy's JSON, which goes to the server's root with the topic in it: titles in headers could hold ASCII only.
ntfy shows plain text, so nothing is escaped. A message of more than 4,096 bytes would become an attachment.
"""

import hashlib
import json
from urllib.parse import unquote, urlsplit

from relay.egress import HttpResponse
from relay.formats.base import Format, Rejection, Target, json_body, page_instead_of_answer
from relay.formats.encode_json import encode_json
from relay.formats.exchange import (
    SKIPPED_AS_THERE,
    SKIPPED_AS_UNEDITABLE,
    Exchange,
    Task,
    failed,
    json_call,
    shown,
)
from relay.formats.message_text import OPEN_JOB, EventText, Tone, describe_event
from relay.formats.truncate import truncate
from relay.model import Event, EventType, Registration

MAX_TITLE = 200
MAX_LINE = 250
MAX_DIGEST = 7
"""Lines of a digest, so that the longest ones fit too."""
MAX_MESSAGE = 1_300
"""UTF-16 units, so that any text is shorter than 4,096 bytes."""
_SHOWS_BOTH = "shows both"
"""The key in the cache of a server that can't replace a message."""
_TAGS = {Tone.GOOD: "white_check_mark", Tone.BAD: "x", Tone.NEUTRAL: "information_source"}


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """`{"title", "message", "tags", "priority", "click"?, "actions"?, "sequence_id"}`.

    A start has low priority and an ending normal, so that a phone rings once. `sequence_id` makes the ending replace
    the start on servers from 2.16 on.
    """
    content = describe_event(event)
    lines = [
        content.detail_within(MAX_LINE * 2),
        content.facts_line(),
        *_digest(content),
        content.next_step,
        content.footnote,
    ]
    message: dict[str, object] = {
        "title": truncate(content.headline, MAX_TITLE),
        "message": truncate("\n".join(truncate(line, MAX_LINE * 2) for line in lines if line), MAX_MESSAGE),
        "tags": [_TAGS[content.tone]],
        "priority": 2 if event.type is EventType.STARTED else 3,
        "sequence_id": sequence_id(event),
    }
    if url := content.link or content.page:
        message["click"] = url
    if content.page:
        message["actions"] = [{"action": "view", "label": OPEN_JOB, "url": content.page}]
    return message


def _digest(content: EventText) -> list[str]:
    digest_lines, remainder = content.first_lines(MAX_DIGEST)
    return [f"{line.mark} {line.text}{line.note}" for line in digest_lines] + ([remainder] if remainder else [])


def sequence_id(event: Event) -> str:
    """The same for all events of one job; a sample's is its own, so that it replaces no real message."""
    parts = [event.workspace, event.job_id, *([event.id] if event.context.test else [])]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _target(url: str, body: bytes) -> Target:
    parts = urlsplit(url)
    base_path, _, topic = parts.path.rstrip("/").rpartition("/")
    fields = {"topic": unquote(topic), **json.loads(body)}
    query = f"?{parts.query}" if parts.query else ""
    root = f"{parts.scheme}://{parts.netloc}{base_path}/{query}"
    return Target(root, encode_json(fields))


def exchange(task: Task) -> Exchange:
    """Publishes under the job's sequence id: a repeat, or the ending, replaces the message that is there.

    A server before 2.16 answers without the id, and shows each as a message of its own: from then on it gets no starts.
    In quiet hours the ending replaces the start without a sound.
    """
    living, target = task.message, _target(task.url, task.body)
    if not task.is_final and living.address:
        return SKIPPED_AS_THERE, living
    if not task.is_final and _SHOWS_BOTH in task.cache:
        return SKIPPED_AS_UNEDITABLE, None
    fields = json.loads(target.body)
    result = yield json_call("POST", target.url, fields if task.may_notify else fields | {"priority": 1})
    if not isinstance(result, HttpResponse) or not result.succeeded or _rejection(result) is not None:
        return (result, living) if living.address else failed(result, living)
    if json_body(result).get("sequence_id") != fields["sequence_id"]:
        task.cache[_SHOWS_BOTH] = "it answers without the sequence id"
    return result, shown(living, task.is_final, {"sequence_id": str(fields["sequence_id"])})


def _rejection(answer: HttpResponse) -> Rejection | None:
    """By ntfy's error codes: five digits that begin with the status."""
    if (page := page_instead_of_answer(answer)) is not None:
        return page
    code = json_body(answer).get("code")
    if not isinstance(code, int) or not 400 <= answer.status < 500 or answer.status == 429:
        return None
    if answer.status in (401, 403):
        text = f"ntfy does not let the relay publish to this topic ({code}): give the endpoint a header"
        return Rejection(f"{text} 'Authorization: Bearer TOKEN' of a user who may", disable=True)
    return Rejection(f"ntfy did not take the relay's message ({code}): check the topic in the URL")


def _matches_url(host: str, path: str) -> bool:
    return (host == "ntfy.sh" or host.startswith("ntfy.")) and path.strip("/").count("/") == 0 and len(path) > 1


FORMAT = Format(
    body=body,
    matches_url=_matches_url,
    rejection=_rejection,
    target=_target,
    exchange=exchange,
    address_key="sequence_id",
)
