"""`teams`: a Microsoft Teams workflow ('When a Teams webhook request is received'), laid out as an Adaptive Card 1.4.

Exec's text is in TextRuns, which read no Markdown (a TextBlock does). A body may have about 28 KB.
"""

import re

from relay.egress import HttpResponse
from relay.formats.base import Format, Rejection, json_body
from relay.formats.message_text import OPEN_JOB, EventText, Tone, describe_event
from relay.formats.truncate import truncate
from relay.model import Event, Registration

MAX_HEADLINE = 300
MAX_REASON = 3_000
MAX_FACT = 500
MAX_FALLBACK = 1_000
_COLOURS = {Tone.GOOD: "good", Tone.BAD: "attention", Tone.NEUTRAL: "default"}
_NEW_URL = "make the workflow again in Teams and register its URL"
_TEAMS_STATUS = re.compile(r"returned HTTP error ([1-5][0-9]{2})\b")
_HOSTS = (
    *(".logic.azure.com", ".powerplatform.com"),
    *(".logic.azure.us", ".powerplatform.us", ".appsplatform.us"),  # US government
    *(".logic.azure.cn", ".powerplatform.partner.microsoftonline.cn"),  # China
)


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """`{"type": "message", "attachments": [one Adaptive Card]}`."""
    content = describe_event(event)
    open_scenario = {"selectAction": _open(content.link)} if content.link else {}
    headline = f"{content.mark} {content.headline}"
    style = {"size": "large", "weight": "bolder", "color": _COLOURS[content.tone]}
    lines = [_line(headline, MAX_HEADLINE, **style, **open_scenario)]
    if reason := content.detail_within(MAX_REASON):
        lines.append(_line(reason, MAX_REASON))
    lines += [
        _line(f"{fact.label}: {fact.text}", MAX_FACT, **({"selectAction": _open(fact.link)} if fact.link else {}))
        for fact in content.facts
    ]
    lines += _digest(content)
    if content.next_step:
        lines.append(_line(content.next_step, MAX_FACT))
    if content.page:
        lines.append(_line(OPEN_JOB, MAX_FACT, selectAction=_open(content.page)))
    lines.append(_line(content.footnote, MAX_FALLBACK, size="small", isSubtle=True))
    card: dict[str, object] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": f"{content.mark} {truncate(content.summary, MAX_FALLBACK)}",
        "body": lines,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
    return {"type": "message", "attachments": [attachment]}


def _digest(content: EventText) -> list[dict[str, object]]:
    digest_lines, remainder = content.first_lines()
    lines = [
        _line(
            f"{line.mark} {line.text}{line.note}", MAX_FACT, **({"selectAction": _open(line.link)} if line.link else {})
        )
        for line in digest_lines
    ]
    return lines + ([_line(remainder, MAX_FACT)] if remainder else [])


def _open(url: str) -> dict[str, str]:
    """What makes a TextRun a link."""
    return {"type": "Action.OpenUrl", "url": url}


def _line(text: str, limit: int, **style: object) -> dict[str, object]:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": truncate(text, limit), **style}]}


def _rejection(response: HttpResponse) -> Rejection | None:
    """By the error codes of Azure's workflow service, and by the text of a 2xx with which Teams refuses a message.

    A workflow that is switched off may be switched on again, so that is retried.
    """
    error = json_body(response).get("error")
    code, message = (error.get("code"), str(error.get("message"))) if isinstance(error, dict) else (None, "")
    if code == "WorkflowNotFound" or (code == "WorkflowTriggerIsNotEnabled" and "'Deleted'" in message):
        return Rejection(f"Microsoft says this workflow was deleted ({code}): {_NEW_URL}", disable=True)
    if code == "DirectApiAuthorizationRequired":
        return Rejection(
            f"Microsoft says this URL lacks its signature ({code}): copy the whole URL from the workflow again, and "
            "let anyone trigger it",
            disable=True,
        )
    return _delivery_failed(response) if response.succeeded else None


def _delivery_failed(response: HttpResponse) -> Rejection | None:
    """By the status in a text such as `... Microsoft Teams endpoint returned HTTP error 429 with ...`."""
    text = response.body[:2_000].decode(errors="replace")
    if (match := _TEAMS_STATUS.search(text)) is None:
        failed = "Webhook message delivery failed" in text
        return Rejection("Teams did not take the message, and gave no reason", retry=True) if failed else None
    status = int(match[1])
    if status in (401, 403, 404, 410):
        return Rejection(f"Teams says the channel or its webhook is gone (HTTP {status}): {_NEW_URL}", disable=True)
    if 400 <= status < 500 and status not in (408, 409, 412, 429):
        return Rejection(f"Teams did not take the relay's message ({status}): please report it, with this job's id")
    return Rejection(f"Teams did not take the message for now (HTTP {status})", retry=True, busy=status == 429)


def _matches_url(host: str, path: str) -> bool:
    return host.endswith(_HOSTS)


FORMAT = Format(body=body, matches_url=_matches_url, rejection=_rejection)
