"""Mails that are the same mail: what a mail server or client folds, and what it threads."""

from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage

from relay import formats
from relay.formats import email
from relay.model import EventType
from tests.unit.formats.format_samples import CONTEXT, JOBS, event

SENDER, TO = "relay@acme.example", ("a@acme.example",)


def mail(type: EventType, endpoint_id: str = "ep_1", run: int = 0) -> bytes:
    made = event(type, JOBS[type], context=CONTEXT)
    return email.compose(formats.render("email", made, None), made.id, endpoint_id, run, SENDER, TO)


def parsed(raw: bytes) -> EmailMessage:
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def test_a_retry_is_the_same_mail_and_a_resend_another() -> None:
    """Byte by byte, Message-ID and Date included; a click on Resend, and a second endpoint, are new to every client."""
    first = mail(EventType.COMPLETED)
    assert mail(EventType.COMPLETED) == first
    ids = {
        parsed(raw)["message-id"]
        for raw in (first, mail(EventType.COMPLETED, run=1), mail(EventType.COMPLETED, "ep_2"))
    }
    assert len(ids) == 3
    assert all(id.endswith("@acme.example>") for id in ids)  # not the name of a container


def test_the_mails_of_a_job_are_one_thread() -> None:
    """They refer to one id that no mail has, so it holds without the first mail, and behind a service that sets ids."""
    start, ending = parsed(mail(EventType.STARTED)), parsed(mail(EventType.COMPLETED))
    assert start["references"] == ending["references"] == ending["in-reply-to"]
    assert ending["references"] not in (start["message-id"], ending["message-id"])
    made = event(EventType.STARTED, JOBS[EventType.STARTED], context=CONTEXT)
    other = formats.render("email", replace(made, job_id="other"), None)
    assert parsed(email.compose(other, made.id, "ep_1", 0, SENDER, TO))["references"] != start["references"]
