"""`teams`: a Microsoft Teams workflow ('When a Teams webhook request is received'), laid out as an Adaptive Card 1.4.

Exec's words stand in TextRuns, which take no Markdown (a TextBlock would). A body may have about 28 KB.
"""

from relay.formats.cutting import fit
from relay.formats.format import Format, Permanent, answered_object
from relay.formats.wording import BUTTON, Tone, words
from relay.model import Event, Registration
from relay.outcome import Answer

MOST_HEADLINE = 300
MOST_REASON = 3_000
MOST_FALLBACK = 1_000
_COLOURS = {Tone.GOOD: "good", Tone.BAD: "attention", Tone.QUIET: "default"}
_NEW_URL = "make the workflow anew in Teams and register its URL"


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """`{"type": "message", "attachments": [one Adaptive Card]}`."""
    said = words(event)
    lines = [_line(said.headline, MOST_HEADLINE, size="large", weight="bolder", color=_COLOURS[said.tone])]
    if reason := said.detail_within(MOST_REASON):
        lines.append(_line(reason, MOST_REASON))
    lines.append(_line(said.footnote, MOST_FALLBACK, size="small", isSubtle=True))
    card: dict[str, object] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": fit(said.summary, MOST_FALLBACK),
        "body": lines,
    }
    if said.link:
        card["actions"] = [{"type": "Action.OpenUrl", "title": BUTTON, "url": said.link}]
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
    return {"type": "message", "attachments": [attachment]}


def _line(text: str, most: int, **style: object) -> dict[str, object]:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": fit(text, most), **style}]}


def _permanent(answer: Answer) -> Permanent | None:
    """By the codes of Azure's workflow service. A workflow that is only switched off may come back: that is retried."""
    error = answered_object(answer).get("error")
    code, told = (error.get("code"), str(error.get("message"))) if isinstance(error, dict) else (None, "")
    if code == "WorkflowNotFound" or (code == "WorkflowTriggerIsNotEnabled" and "'Deleted'" in told):
        return Permanent(f"Microsoft says this workflow was deleted ({code}): {_NEW_URL}", True)
    if code == "DirectApiAuthorizationRequired":
        return Permanent(
            f"Microsoft says this URL lacks its signature ({code}): copy the whole URL from the workflow again, and "
            "let anyone trigger it",
            True,
        )
    return None


def _recognises(host: str, path: str) -> bool:
    return host.endswith((".logic.azure.com", ".powerplatform.com"))


FORMAT = Format(body=body, recognises=_recognises, permanent=_permanent)
