"""The text of events, and the sanitizing of other people's text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.formats.durations import duration
from relay.formats.inert_text import link, sanitize
from relay.formats.message_text import describe_event
from relay.model import EventType
from tests.unit.formats.format_samples import COMPLETED, FAILED, JOBS, QUEUED, event


@pytest.mark.parametrize(
    ("type", "summary", "footnote"),
    [
        (EventType.COMPLETED, "Scenario ready: Discovery Call with IT Director", "Took 40 s · Job j1o2b3i4d5x6"),
        (
            EventType.FAILED,
            "Scenario failed: Unable to generate scenario from the provided prompt (GENERATION_ERROR)",
            "After 25 s · Job j1o2b3i4d5x6",
        ),
        (EventType.CANCELLED, "Scenario cancelled (job j1o2b3i4d5x6)", "Job j1o2b3i4d5x6"),
        (EventType.STARTED, "Scenario started (job j1o2b3i4d5x6)", "Job j1o2b3i4d5x6"),
        (EventType.NOT_FOUND, "Scenario job not found (job j1o2b3i4d5x6)", "Job j1o2b3i4d5x6"),
        (EventType.EXPIRED, "Scenario not finished in time (job j1o2b3i4d5x6)", "Job j1o2b3i4d5x6"),
    ],
)
def test_the_summary_of_every_event(type: EventType, summary: str, footnote: str) -> None:
    """The summary alone gives the news in one line; the footnote says how long it took, and which job."""
    said = describe_event(event(type, JOBS[type]))
    assert (said.summary, said.footnote) == (summary, footnote)


def test_missing_fields_leave_whole_sentences() -> None:
    """A scenario without name or link, a failure without reason, and no button."""
    ready = describe_event(event(EventType.COMPLETED, COMPLETED | {"scenario": None, "duration_seconds": None}))
    assert (ready.summary, ready.link, ready.footnote) == ("Scenario ready", None, "Job j1o2b3i4d5x6")
    failed = describe_event(event(EventType.FAILED, FAILED | {"error": None}))
    assert (failed.summary, failed.code) == ("Scenario failed: Exec gave no reason", None)
    coded = describe_event(
        event(EventType.FAILED, FAILED | {"error": {"code": "CONTENT_POLICY_VIOLATION", "message": " "}})
    )
    assert coded.summary == "Scenario failed: Exec gave no reason (CONTENT_POLICY_VIOLATION)"


def test_a_failed_job_with_a_name_has_it_in_the_headline() -> None:
    """If Exec names the scenario."""
    said = describe_event(event(EventType.FAILED, FAILED | {"scenario": {"name": "Discovery Call"}}))
    assert said.headline == "Scenario failed: Discovery Call"
    assert said.summary.startswith("Scenario failed: Discovery Call – Unable to generate")


def test_only_a_finished_scenario_is_linked() -> None:
    """No button for a scenario that does not exist."""
    for type in set(EventType) - {EventType.COMPLETED}:
        assert describe_event(event(type, QUEUED | {"scenario": COMPLETED["scenario"]})).link is None


def test_the_workspace_is_named_unless_it_is_default() -> None:
    """Any workspace except `default` is named."""
    assert describe_event(event(EventType.COMPLETED, COMPLETED, "acme")).footnote.endswith(" · Workspace acme")


def test_a_long_reason_is_cut_but_not_its_code() -> None:
    """The code stays whole after a cut reason, because people search for it."""
    said = describe_event(
        event(EventType.FAILED, FAILED | {"error": {"code": "GENERATION_ERROR", "message": "long " * 2_000}})
    )
    reason = said.detail_within(200)
    assert reason is not None
    assert reason.endswith("… (GENERATION_ERROR)")
    assert len(reason) <= 200


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (40, "40 s"),
        (0, "under 1 s"),
        (0.4, "under 1 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (145, "2 min 25 s"),
        (3_599.7, "1 h"),
        (3_900, "1 h 5 min"),
        (7_199, "2 h"),
        (93_780, "26 h 3 min"),
        (None, None),
        (-1, None),
        (True, None),
        ("40", None),
        (float("nan"), None),
        (float("inf"), None),
        (10**400, None),
    ],
)
def test_durations_have_at_most_two_units(seconds: object, said: str | None) -> None:
    """Seconds below an hour, minutes above; a value that is no duration is left out."""
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://acme.app.exec.com/scenarios/x?y=1#z", "https://acme.app.exec.com/scenarios/x?y=1#z"),
        ("HTTP://localhost:8080/x", "HTTP://localhost:8080/x"),
        ("https://a.example/gespräch/%20x", "https://a.example/gespr%C3%A4ch/%20x"),
        ("https://a.example/" + "x" * 2_030, "https://a.example/" + "x" * 2_030),
        ("https://a.example/" + "x" * 2_031, None),
        ("https://a.example/" + "é" * 1_000, None),
        ("javascript:alert(1)", None),
        ("data:text/html,x", None),
        ("//a.example/x", None),
        ("/scenarios/x", None),
        ("https://", None),
        ("https:///x", None),
        ("https://a.example:99999/", None),
        ("https://a.example:0/", None),
        ("https://[::1", None),
        ("https://a.example/a b", None),
        ("https://a.example/\n", None),
        ("https://a.example/\x00", None),
        ("https://a.example/|text>", None),
        ("https://ä.example/", None),
        ("https://a.example/\ud800", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_only_http_and_https_urls_are_links(url: object, expected: str | None) -> None:
    """Anything else gives no button."""
    assert link(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "https://acme.app.exec.com@evil.example/",
        "https://acme.app.exec.com:443@evil.example/scenarios/x",
        "https://@evil.example/",
        "https://user:password@acme.app.exec.com/",
        "HTTPS://acme.app.exec.com%2F@evil.example/",
    ],
)
def test_a_link_with_a_user_name_is_no_link(url: str) -> None:
    """People read the name before the @ as the host."""
    assert link(url) is None


def test_a_link_may_have_an_at_sign_in_its_path() -> None:
    """Only before the host it is one of a user name."""
    assert link("https://acme.app.exec.com/@team?by=a@b") == "https://acme.app.exec.com/@team?by=a@b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Q&A with <IT>", "Q&A with <IT>"),
        ("  two\r\n\tlines\u2028and more ", "two lines and more"),
        ("a\x00b\x1b[31mc\x7f", "ab[31mc"),
        ("שיחת \u202eהיכרות\u2069", "שיחת היכרות"),
        ("👩‍💻 🇮🇱", "👩‍💻 🇮🇱"),
        ("half\ud83d", "half\ufffd"),
        ("<!here>", "<\u2060!here>"),
        ("<\x00!channel>", "<\u2060!channel>"),
        ("<@U123> <#C123>", "<\u2060@U123> <\u2060#C123>"),
        ("<users/all>", "<\u2060users/all>"),
        ("@everyone and @Here", "@\u2060everyone and @\u2060Here"),
        ("me@example.com", "me@example.com"),
        ("jane@channel4.com, all@here.example.", "jane@channel4.com, all@here.example."),
        ("jane+@channel.example", "jane+@channel.example"),
        ("x@everyone", "x@\u2060everyone"),
        ("hi.@channel.now +@here.x me@all.", "hi.@\u2060channel.now +@\u2060here.x me@\u2060all."),
        ("see https://evil.example", "see https:\u2060//evil.example"),
        ("", None),
        (" \n ", None),
        ("\x00", None),
        (None, None),
        (["x"], None),
        (5, None),
    ],
)
def test_text_is_sanitized_to_one_harmless_line(text: object, expected: str | None) -> None:
    """Line breaks, control characters and bidi overrides are removed, mentions and links are defused, letters stay."""
    assert sanitize(text) == expected


@pytest.mark.parametrize("type", EventType)
def test_what_a_start_says_stays_true(type: EventType) -> None:
    """Its message may outlive the job if an edit never comes. So it says when the job started, and not that it runs."""
    said = describe_event(event(type, JOBS[type]))
    if type is EventType.STARTED:
        assert said.detail == "Started at 10:05 UTC; this usually takes about 5 minutes."
    assert not any(word in f"{said.headline} {said.detail}".lower() for word in ("progress", "running", "generating"))


@given(st.text(st.characters() | st.sampled_from("<!@#:/\n\x00\u202e&*_`")))
def test_sanitizing_leaves_no_mention_or_link(text: str) -> None:
    """For any text: one line, and sanitizing it again changes nothing."""
    line = sanitize(text) or ""
    assert "\n" not in line
    assert not any(alive in line for alive in ("<!", "<@", "<#", "@everyone", "@here", "@channel", "://", "\u202e"))
    assert (sanitize(line) or "") == line
