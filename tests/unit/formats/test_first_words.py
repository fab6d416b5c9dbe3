"""The first words that people see of a message, on a phone and in a channel, say what it is: good news, a failure, a
sample.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from relay import formats
from relay.model import EventType
from tests.unit.formats.format_samples import CONTEXT, JOBS, event

SAMPLE = replace(CONTEXT, test=True, tested_by="anna")


def slack_words(body: Any) -> tuple[str, str]:
    return body["text"], body["blocks"][0]["elements"][0]["elements"][0]["text"]


FIRST_WORDS: Mapping[str, Callable[[Any], tuple[str, ...]]] = {
    "slack": slack_words,
    "slack_app": lambda body: slack_words(body["message"]),
    "slack_workflow": lambda body: (body["summary"],),
    "discord": lambda body: (body["embeds"][0]["title"],),
    "teams": lambda body: (
        body["attachments"][0]["content"]["body"][0]["inlines"][0]["text"],
        body["attachments"][0]["content"]["fallbackText"],
    ),
    "google_chat": lambda body: (body["cardsV2"][0]["card"]["header"]["title"], body["fallbackText"]),
    "mattermost": lambda body: (body["text"],),
    "rocketchat": lambda body: (body["text"],),
    "ntfy": lambda body: (body["title"],),
    "telegram": lambda body: (body["text"],),
    "email": lambda body: (body["subject"], body["text"]),
}
"""What a phone's notification and the channel show first, by format."""


def words(format: str, type: EventType, **context: Any) -> tuple[str, ...]:
    made = event(type, JOBS[type], context=replace(CONTEXT, **context))
    return FIRST_WORDS[format](json.loads(formats.render(format, made, None)))


def test_every_format_for_people_is_here() -> None:
    """A new chat has to say where its first words are."""
    assert set(FIRST_WORDS) == {name for name in formats.FORMATS if formats.is_read_by_people(name)}


@pytest.mark.parametrize("format", FIRST_WORDS)
@pytest.mark.parametrize("type", EventType)
def test_a_sample_says_that_it_is_one(format: str, type: EventType) -> None:
    """Before anything else, and in the small print who sent it; a real message says no such thing."""
    for text in words(format, type, test=True, tested_by="anna"):
        assert text.lstrip("✅❌ℹ️ ").startswith("Test: ")
    sample = formats.render(format, event(type, JOBS[type], context=SAMPLE), None).decode()
    real = formats.render(format, event(type, JOBS[type], context=CONTEXT), None).decode()
    assert format == "slack_workflow" or "A sample, sent by anna to test this endpoint" in sample
    assert "Test: " not in real
    assert "A sample" not in real


@pytest.mark.parametrize("type", EventType)
def test_a_program_reads_that_it_is_a_sample(type: EventType) -> None:
    """As a field of its own: `test`."""
    made = event(type, JOBS[type], context=SAMPLE)
    assert json.loads(formats.render("standard", made, None))["data"]["test"] is True
    assert json.loads(formats.render("zapier", made, None))["test"] is True
    assert json.loads(formats.render("slack_workflow", made, None))["test"] == "true"


@pytest.mark.parametrize("format", sorted(set(FIRST_WORDS) - {"slack_workflow", "ntfy"}))
def test_success_and_failure_differ_at_a_glance(format: str) -> None:
    """By the mark before the first word, which needs no colour and no reading."""
    for text in words(format, EventType.COMPLETED):
        assert text.startswith("✅ ") or format == "email"
    for text in words(format, EventType.FAILED):
        assert text.startswith("❌ ") or format == "email"
    assert words(format, EventType.COMPLETED)[0].startswith("✅ ")
    assert words(format, EventType.FAILED)[0].startswith("❌ ")


def test_ntfy_shows_the_mark_as_a_tag() -> None:
    """Its apps draw the emoji of a tag before the title."""
    tags = {
        type: json.loads(formats.render("ntfy", event(type, JOBS[type]), None))["tags"]
        for type in (EventType.COMPLETED, EventType.FAILED)
    }
    assert tags == {EventType.COMPLETED: ["white_check_mark"], EventType.FAILED: ["x"]}


@pytest.mark.parametrize("format", sorted(set(FIRST_WORDS) - {"slack_workflow"}))
def test_a_start_says_how_long_it_usually_takes(format: str) -> None:
    """The learned duration of the workspace, or five minutes at first; never that it is in progress."""
    start = JOBS[EventType.STARTED]
    learned = formats.render(format, event(EventType.STARTED, start, context=CONTEXT), None).decode()
    assert "this usually takes about 6 minutes" in learned
    unknown = replace(CONTEXT, usual_seconds=None)
    assert "about 5 minutes" in formats.render(format, event(EventType.STARTED, start, context=unknown), None).decode()
    assert "in progress" not in learned
