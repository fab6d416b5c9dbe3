"""`rocketchat`: an incoming webhook, with the layout of `mattermost` in Rocket.Chat's own Markdown.

Without `ts` and `author_name`, which some of its versions show as a wrong date. It has no escape for square brackets,
so a word joiner after each one keeps a text from being a link.
"""

from relay.egress import HttpResponse
from relay.formats.base import Format, Rejection, json_body, short
from relay.formats.inert_text import WORD_JOINER, without_user_mentions
from relay.formats.markdown import digest_markdown, markdown_job_link
from relay.formats.mattermost import (
    COLOURS,
    MAX_DIGEST,
    MAX_FIELD,
    MAX_TEXT,
    MAX_TITLE,
    detail_beside_summary,
    fact_fields,
)
from relay.formats.message_text import EventText, describe_event
from relay.formats.truncate import truncate
from relay.model import Event, Registration

_ESCAPES = str.maketrans({char: f"\\{char}" for char in "*_~`#"} | {char: f"{char}{WORD_JOINER}" for char in "[]<>|\\"})


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """`{"text", "attachments": [one]}`."""
    content = describe_event(event)
    footnote, page = _escape(content.footnote, MAX_FIELD), markdown_job_link(content)
    detail = _escape(detail_beside_summary(content) or "", MAX_TEXT)
    attachment: dict[str, object] = {
        "color": COLOURS[content.tone],
        "text": "\n".join(filter(None, (detail, *_digest(content), content.next_step, page, footnote))),
        "fields": fact_fields(content, _escape, lambda url: url),
        "fallback": _escape(content.summary, MAX_TEXT),
    }
    if content.link:
        attachment |= {"title": _escape(content.name or "Open the scenario", MAX_TITLE), "title_link": content.link}
    return {"text": f"{content.mark} {_escape(content.summary, MAX_TEXT)}", "attachments": [attachment]}


def _digest(content: EventText) -> list[str]:
    return digest_markdown(content, lambda text: _escape(text, MAX_TEXT), MAX_DIGEST)


def _escape(text: str, limit: int) -> str:
    return truncate(without_user_mentions(text), limit, _ESCAPES)


def _rejection(answer: HttpResponse) -> Rejection | None:
    """By `success: false`, which comes under a 200 too."""
    answer_body = json_body(answer)
    if answer_body.get("success") is not False or answer.status >= 500:
        return None
    error = short(answer_body.get("error"))
    if answer.succeeded:
        return Rejection(f"Rocket.Chat answered {answer.status} and did not take the message ({error})", retry=True)
    if error in ("invalid-integration-id-or-token-provided", "Invalid integration id or token provided."):
        text = "Rocket.Chat does not know this webhook: make a new incoming integration and register its URL"
        return Rejection(f"{text} ({error})", disable=True)
    return None


def _matches_url(host: str, path: str) -> bool:
    return (host.startswith("rocketchat.") or host.endswith(".rocket.chat")) and path.startswith("/hooks/")


FORMAT = Format(body=body, matches_url=_matches_url, rejection=_rejection, rate_per_second=5)
