"""`email`: a mail in plain text and HTML, for `smtp://USER:PASSWORD@HOST/?from=...&to=...`.

The rendered body is the content as JSON; `compose` makes the mail of it when it is sent. The same content, endpoint and
run give the same bytes, Message-ID and Date included: a mail server or client that gets a repeat can fold it. All mails
of a job refer to one message id that never was sent, so that clients thread them though SES replaces Message-ID.
"""

import hashlib
import html
import json
from email import policy
from email.header import Header
from email.message import EmailMessage
from email.utils import formatdate

from relay.egress import HttpResponse
from relay.formats.base import Format, Rejection, short
from relay.formats.message_text import OPEN_JOB, EventText, Fact, Tone, describe_event
from relay.formats.truncate import truncate
from relay.model import SECOND, Event, Registration

MAX_SUBJECT = 150
MAX_REASON = 3_000
MAX_FACT = 500
MAX_LINES = 200
"""Jobs of a digest: a mail has room for many."""
_COLOURS = {Tone.GOOD: "#1a7f4b", Tone.BAD: "#b3123f", Tone.NEUTRAL: "#5f6368"}
_BOUNDARY = "=-=relay=-="


def body(event: Event, registration: Registration | None) -> dict[str, object]:
    """`{"subject", "text", "html", "date", "thread"}`; `date` in seconds since 1970."""
    content = describe_event(event)
    thread_parts = [event.workspace, event.job_id, *([event.id] if event.context.test else [])]
    return {
        "subject": truncate(f"{content.mark} {content.summary}", MAX_SUBJECT),
        "text": _text(content),
        "html": _html(content),
        "date": event.created_at // SECOND,
        "thread": hashlib.sha256("\n".join(thread_parts).encode()).hexdigest()[:32],
    }


def compose(
    rendered: bytes, event_id: str, endpoint_id: str, run: int, sender: str, recipients: tuple[str, ...]
) -> bytes:
    """The mail, with CRLF. `run` counts the times that somebody sent the delivery again: each is a mail of its own."""
    content = json.loads(rendered)
    domain = sender.rpartition("@")[2]
    message = EmailMessage(policy=policy.SMTP)
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Date"] = formatdate(content["date"])
    message["Message-ID"] = f"<{event_id}.{endpoint_id}.{run}@{domain}>"
    message["References"] = message["In-Reply-To"] = f"<{content['thread']}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(content["text"], cte="base64")
    message.add_alternative(content["html"], subtype="html", cte="base64")
    message.set_boundary(_BOUNDARY)
    # EmailMessage loses blanks if it folds a subject that is not ASCII.
    subject = Header(content["subject"], "utf-8", header_name="Subject").encode(linesep="\r\n")
    return f"Subject: {subject}\r\n".encode() + message.as_bytes()


def _text(content: EventText) -> str:
    links = [f"{content.name or 'The scenario'}: {content.link}" if content.link else None]
    links.append(f"{OPEN_JOB}: {content.page}" if content.page else None)
    facts = [f"{fact.label}: {fact.link or truncate(fact.text, MAX_FACT)}" for fact in content.facts]
    shown, remainder = content.first_lines(MAX_LINES)
    lines = [f"{line.mark} {line.text}{line.note}{f': {line.link}' if line.link else ''}" for line in shown]
    blocks = [content.headline, content.detail_within(MAX_REASON), "\n".join(facts)]
    blocks += ["\n".join([*lines, *([remainder] if remainder else [])]), content.next_step]
    blocks += ["\n".join(filter(None, links)), content.footnote]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _html(content: EventText) -> str:
    """One table with inline styles, which mail clients draw alike."""
    rows = []
    if content.link:
        rows.append(_row(_link(content.name or "Open the scenario", content.link), "font-size:16px;font-weight:bold"))
    if reason := content.detail_within(MAX_REASON):
        rows.append(_row(html.escape(reason)))
    rows += [_row(f"<b>{html.escape(fact.label)}:</b> {_fact(fact)}") for fact in content.facts]
    lines, remainder = content.first_lines(MAX_LINES)
    for line in lines:
        text = _link(line.text, line.link) if line.link else html.escape(line.text)
        rows.append(_row(f"{line.mark} {text}{html.escape(line.note)}"))
    if remainder:
        rows.append(_row(html.escape(remainder)))
    if content.next_step:
        rows.append(_row(html.escape(content.next_step)))
    if content.page:
        rows.append(_row(_link(OPEN_JOB, content.page)))
    rows.append(_row(html.escape(content.footnote), "color:#5f6368;font-size:12px"))
    style = f"font-size:18px;font-weight:bold;color:{_COLOURS[content.tone]}"
    heading = _row(html.escape(f"{content.mark} {content.title if content.link else content.headline}"), style)
    table = '<table role="presentation" cellpadding="0" cellspacing="0" style="font-family:sans-serif;font-size:14px">'
    return f"<html><body>{table}{heading}{''.join(rows)}</table></body></html>\n"


def _row(content: str, style: str = "") -> str:
    return f'<tr><td style="padding:4px 0;{style}">{content}</td></tr>'


def _fact(fact: Fact) -> str:
    text = truncate(fact.text, MAX_FACT)
    return _link(text, fact.link) if fact.link else html.escape(text)


def _link(text: str, url: str) -> str:
    return f'<a href="{html.escape(url)}">{html.escape(text)}</a>'


def _rejection(answer: HttpResponse) -> Rejection | None:
    """By SMTP's reply codes: 4xx passes, 5xx does not."""
    if answer.status < 500 or answer.headers:
        return None
    reply = short(answer.body.decode(errors="replace"))
    if answer.status in (530, 534, 535):
        text = f"the mail server does not accept the login ({answer.status}): check user and password in the URL"
        return Rejection(f"{text}, then enable this endpoint", disable=True)
    if answer.status in (502, 503, 504):
        return Rejection(f"the mail server answered {answer.status}: {reply}", retry=True)
    return Rejection(f"the mail server refused the mail ({answer.status}: {reply}): check the addresses in the URL")


FORMAT = Format(body=body, rejection=_rejection, rate_per_second=5)
