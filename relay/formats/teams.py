"""`teams`: a Microsoft Teams workflow ('When a Teams webhook request is received'), laid out as an Adaptive Card 1.4.

Exec's words stand in TextRuns, which take no Markdown (a TextBlock would). A body may have about 28 KB.
"""

from relay.egress.result import HttpResponse
from relay.formats.base import Format, PermanentError, json_body
from relay.formats.message_text import BUTTON, Tone, describe_event
from relay.formats.truncate import truncate
from relay.model import Event, Registration

MOST_HEADLINE = 300
MOST_REASON = 3_000
MOST_FALLBACK = 1_000
_COLOURS = {Tone.GOOD: "good", Tone.BAD: "attention", Tone.NEUTRAL: "default"}
_NEW_URL = "make the workflow anew in Teams and register its URL"


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """`{"type": "message", "attachments": [one Adaptive Card]}`."""
    said = describe_event(event)
    lines = [_line(said.headline, MOST_HEADLINE, size="large", weight="bolder", color=_COLOURS[said.tone])]
    if reason := said.detail_within(MOST_REASON):
        lines.append(_line(reason, MOST_REASON))
    lines.append(_line(said.footnote, MOST_FALLBACK, size="small", isSubtle=True))
    card: dict[str, object] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": truncate(said.summary, MOST_FALLBACK),
        "body": lines,
    }
    if said.link:
        card["actions"] = [{"type": "Action.OpenUrl", "title": BUTTON, "url": said.link}]
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
    return {"type": "message", "attachments": [attachment]}


def _line(text: str, most: int, **style: object) -> dict[str, object]:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": truncate(text, most), **style}]}


def _permanent(answer: HttpResponse) -> PermanentError | None:
    """By the codes of Azure's workflow service. A workflow that is only switched off may come back: that is retried."""
    error = json_body(answer).get("error")
    code, told = (error.get("code"), str(error.get("message"))) if isinstance(error, dict) else (None, "")
    if code == "WorkflowNotFound" or (code == "WorkflowTriggerIsNotEnabled" and "'Deleted'" in told):
        return PermanentError(f"Microsoft says this workflow was deleted ({code}): {_NEW_URL}", True)
    if code == "DirectApiAuthorizationRequired":
        return PermanentError(
            f"Microsoft says this URL lacks its signature ({code}): copy the whole URL from the workflow again, and "
            "let anyone trigger it",
            True,
        )
    return None


def _recognises(host: str, path: str) -> bool:
    return host.endswith((".logic.azure.com", ".powerplatform.com"))


FORMAT = Format(body=body, matches_url=_recognises, permanent_error=_permanent)
