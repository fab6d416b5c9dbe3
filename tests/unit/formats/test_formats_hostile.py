"""Any content of Exec's job gives a body that every receiver accepts, and that pings nobody."""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block

from relay import formats
from relay.formats import flat
from relay.formats.truncate import utf16_length
from relay.model import EventType
from tests.unit.formats.format_samples import COMPLETED, FAILED, JOBS, REGISTRATION, event

HOSTILE = [
    "x" * 10_000,
    "word " * 2_000,
    "👩‍💻" * 2_000,
    "&<>" * 4_000,
    "\\\"'" * 4_000,
    "*_~`|[]()#" * 500,
    "שלום \u202eעולם",
    "<!here> <!channel|x> <@U123> <#C1|x> <users/all> <at>x</at> <@here> @everyone @channel @here",
    "[click](javascript:alert(1)) <https://evil.example|click> https://evil.example",
    "two\nlines\r\n\x00\x07\x1b[31m",
    "javascript:alert(1)",
    "<mailto:x@evil.example|Support> <tel:+1|call> mailto:x@evil.example",
    "https://acme.app.exec.com@evil.example/",
    "\ud83d",
    " ",
    "",
]

texts = st.sampled_from(HOSTILE) | st.text(st.characters() | st.sampled_from("<>&!@\n*_`\\"))
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
values = texts | anything
links = values | st.sampled_from(["https://a.example/é", "https://a.example/" + "x" * 2_100, "ftp://a.example/"])
jobs = st.fixed_dictionaries(
    {"id": texts},
    optional={
        "status": values,
        "scenario": values | st.fixed_dictionaries({}, optional={"id": values, "name": values, "url": links}),
        "error": values | st.fixed_dictionaries({}, optional={"code": values, "message": values}),
        "created_at": values,
        "started_at": values,
        "completed_at": texts | st.none(),
        "duration_seconds": values,
        "extra": values,
    },
)


def strings(value: Any) -> Iterator[str]:
    """Every string inside a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for inner in value if isinstance(value, list) else value.values():
            yield from strings(inner)


def is_link(url: str) -> bool:
    plain = url.isascii() and "@" not in url.split("/")[2]  # else a word joiner was added, or the host is another one
    return plain and url.lower().startswith(("http://", "https://")) and len(url) <= 2_048


def check_slack(body: Any) -> None:
    assert body["text"]
    assert utf16_length(body["text"]) <= 3_000
    assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", body["text"])
    assert 1 < len(body["blocks"]) <= 50
    for sent, block in zip(body["blocks"], Block.parse_all(body["blocks"]), strict=True):
        block.validate_json()
        assert block.to_dict() == sent
        for text in [sent.get("text"), *(e for e in sent.get("elements", []) if e["type"] == "plain_text")]:
            assert text is None or (text["type"] == "plain_text" and 0 < utf16_length(text["text"]) <= 3_000)
    assert utf16_length(body["blocks"][0]["text"]["text"]) <= 150
    for button in (e for block in body["blocks"] if block["type"] == "actions" for e in block["elements"]):
        assert is_link(button["url"])


def check_slack_workflow(body: Any) -> None:
    assert list(body) == list(flat.flat_fields(event(EventType.COMPLETED, COMPLETED), None))
    assert all(isinstance(value, str) and utf16_length(value) <= 3_000 for value in body.values())
    assert body["duration_seconds"] not in ("nan", "inf", "-inf")
    assert not body["scenario_url"] or is_link(body["scenario_url"])


def check_zapier(body: Any) -> None:
    assert list(flat.flat_fields(event(EventType.COMPLETED, COMPLETED), None)) == list(body)[:18]
    assert all(key.startswith("metadata_") for key in list(body)[18:])
    assert not any(isinstance(value, (list, dict)) for value in body.values())
    assert body["scenario_url"] is None or is_link(body["scenario_url"])


def check_discord(body: Any) -> None:
    assert body["allowed_mentions"] == {"parse": []}
    [embed] = body["embeds"]
    title, description, footer = embed["title"], embed.get("description", "x"), embed["footer"]["text"]
    assert 0 < utf16_length(title) <= 256
    assert 0 < utf16_length(description) <= 4_096
    assert utf16_length(title + description + footer) <= 6_000
    assert not any(re.search(r"[*_~`|\[\]<>#]", re.sub(r"\\[^0-9A-Za-z\s]", "", text)) for text in (title, description))
    assert "url" not in embed or is_link(embed["url"])


def check_teams(body: Any) -> None:
    assert len(json.dumps(body, ensure_ascii=False).encode()) < 28_000
    [attachment] = body["attachments"]
    card = attachment["content"]
    assert all(line["type"] == "RichTextBlock" and line["inlines"][0]["text"] for line in card["body"])
    assert all(is_link(action["url"]) for action in card.get("actions", []))


def check_google_chat(body: Any) -> None:
    assert len(json.dumps(body, ensure_ascii=False).encode()) < 32_000
    [card] = body["cardsV2"]
    [section] = card["card"]["sections"]
    for widget in section["widgets"]:
        if "buttonList" in widget:
            assert is_link(widget["buttonList"]["buttons"][0]["onClick"]["openLink"]["url"])
        else:
            assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", widget["textParagraph"]["text"])


def check_standard(body: Any) -> None:
    assert list(body) == ["type", "timestamp", "data"]
    assert list(body["data"]) == ["job", "registration", "workspace", "replaces"]


CHECKS: dict[str, Callable[[Any], None]] = {
    "standard": check_standard,
    "slack": check_slack,
    "slack_workflow": check_slack_workflow,
    "zapier": check_zapier,
    "discord": check_discord,
    "teams": check_teams,
    "google_chat": check_google_chat,
}
CHATS = ("slack", "slack_workflow", "discord", "teams", "google_chat")


def check(format: str, body: bytes) -> None:
    """Raises unless `body` is JSON that the format's receiver can take, without any live mention in a chat."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    parsed = json.loads(body.decode(), parse_constant=refuse)
    CHECKS[format](parsed)
    if format in CHATS:
        alive = re.compile(
            r"<[!@#]|<(mailto|tel):|<users/|<at>|@(everyone|here|channel)|[\x00-\x1f\u202a-\u202e]", re.IGNORECASE
        )
        assert not [text for text in strings(parsed) if alive.search(text)]


@pytest.mark.parametrize("format", formats.FORMATS)
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_within_the_limits(format: str, text: str) -> None:
    """Each hostile text as name, link, reason and code at once gives a body that the receiver accepts."""
    scenario = {"id": text, "name": text, "url": text}
    job = COMPLETED | {"status": text, "scenario": scenario, "error": {"code": text, "message": text}}
    for type in EventType:
        check(format, formats.render(format, event(type, job, "R&D <!here> *x*"), REGISTRATION))


@pytest.mark.parametrize("format", formats.FORMATS)
@given(job=jobs, type=st.sampled_from(EventType), metadata=st.dictionaries(st.text(), anything, max_size=3))
@example(job={"id": "\ud83d", "x\ud83d": math.inf}, type=EventType.FAILED, metadata={"\ud83d": math.nan})
@example(job={"id": "x", "duration_seconds": math.nan}, type=EventType.FAILED, metadata={"x": math.inf})
def test_any_job_gives_a_body_within_the_limits(
    format: str, job: dict[str, Any], type: EventType, metadata: dict[str, Any]
) -> None:
    """Rendering never fails and never breaks a receiver's rules, for any job and metadata."""
    check(format, formats.render(format, event(type, job), replace(REGISTRATION, metadata=metadata)))


@given(job=jobs)
def test_the_standard_body_has_the_job_unchanged(job: dict[str, Any]) -> None:
    """Every field, known or not, unless JSON can't represent it."""
    sent = json.loads(formats.render("standard", event(EventType.COMPLETED, job), None))["data"]["job"]
    try:
        expected = json.loads(json.dumps(job, ensure_ascii=False, allow_nan=False).encode())
    except ValueError:
        return
    assert sent == expected
    assert list(sent) == list(job)


@pytest.mark.parametrize("format", formats.FORMATS)
def test_an_event_without_a_job_names_its_id(format: str) -> None:
    """A job that the relay never saw is named by its id."""
    for type in (EventType.NOT_FOUND, EventType.EXPIRED):
        body = formats.render(format, event(type, JOBS[EventType.NOT_FOUND]), None)
        check(format, body)
        assert b"j1o2b3i4d5x6" in body


@pytest.mark.parametrize("format", ["slack", "discord", "teams", "google_chat"])
@pytest.mark.parametrize("url", ["javascript:alert(1)", "", None, "/scenarios/x", "https://"])
def test_without_a_link_there_is_no_button(format: str, url: str | None) -> None:
    """A link that can't be opened gives no button."""
    job = COMPLETED | {"scenario": {"id": "s1", "name": "Discovery Call", "url": url}}
    body = formats.render(format, event(EventType.COMPLETED, job), None)
    assert b"Discovery Call" in body
    assert not any(word in body for word in (b"Open scenario", b'"url"', b"javascript"))
    failed = formats.render(format, event(EventType.FAILED, FAILED), None)
    assert b"Open scenario" not in failed
