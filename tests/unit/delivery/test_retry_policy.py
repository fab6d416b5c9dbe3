"""The design's table 'Delivering', row by row, as pure decisions."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.delivery.endpoint_health import BREAKER_OPENS_AT, circuit_is_open, health_warning, update_health
from relay.delivery.retry_policy import (
    BLOCKED_NAME_ATTEMPTS,
    DEFAULT_PAUSE,
    MAX_ERROR,
    AttemptDecision,
    classify_attempt,
)
from relay.egress.result import HttpResponse, RequestFailed, SendResult
from relay.model import DAY, FINAL_EVENTS, HOUR, SECOND, DeliveryStatus, Endpoint, EndpointKind, Secret

NOW = 1_709_294_400_000
SCHEDULE = (0, 5_000, 30_000, 300_000)
ENDPOINT = Endpoint(
    id="ep_1",
    kind=EndpointKind.AD_HOC,
    name=None,
    url="https://example.com/x",
    host="example.com:443",
    format="standard",
    events=FINAL_EVENTS,
    secrets=(Secret("whsec_x"),),
    headers={},
    created_at=NOW,
)


def verdict(
    outcome: SendResult, tries: int = 1, format: str = "standard", jitter: float = 0.0, template: str | None = None
) -> AttemptDecision:
    return classify_attempt(outcome, format, tries, SCHEDULE, NOW, jitter, template)


def answer(status: int, body: bytes = b"", **headers: str) -> HttpResponse:
    return HttpResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    """Every 2xx says that the receiver has it."""
    assert verdict(answer(status)).status is DeliveryStatus.DELIVERED


@pytest.mark.parametrize(
    "outcome",
    [
        answer(400),
        answer(404),
        answer(500),
        answer(503),
        answer(302, location="https://elsewhere.example/secret/path"),
        RequestFailed("timeout", "no answer within 15 s"),
        RequestFailed("connection", "refused"),
    ],
)
def test_other_answers_are_tried_again_on_the_schedule(outcome: SendResult) -> None:
    """Each failed attempt waits for its place on the schedule; after the last the delivery failed."""
    due = [(verdict(outcome, tries).next_attempt_at or NOW) - NOW for tries in (1, 2, 3)]
    assert due == [5_000, 30_000, 300_000]
    last = verdict(outcome, len(SCHEDULE))
    assert (last.status, last.next_attempt_at) == (DeliveryStatus.FAILED, None)
    assert "4 attempts" in (last.error or "")


def test_a_redirect_tells_where_to_without_what_may_be_secret() -> None:
    """The Location is shown so far as it is no secret: not its path."""
    told = verdict(answer(307, location="https://elsewhere.example/secret/path")).error or ""
    assert "elsewhere.example" in told
    assert "secret" not in told


def test_gone_unsubscribes() -> None:
    """410 fails the delivery for good and disables the endpoint."""
    found = verdict(answer(410))
    assert found.status is DeliveryStatus.FAILED
    assert "unsubscribed" in (found.disable or "")


def test_the_receiver_can_ask_to_be_left_alone() -> None:
    """`webhook-delivery: disable` disables, `abort-message` gives up this one only."""
    assert verdict(answer(500, webhook_delivery="disable")).disable
    heard = verdict(answer(200, webhook_delivery="disable"))
    assert (heard.status, bool(heard.disable)) == (DeliveryStatus.DELIVERED, True)
    assert not update_health(ENDPOINT, heard, NOW, 5 * DAY, 0.0).enabled
    aborted = verdict(answer(500, webhook_delivery=" Abort-Message "))
    assert (aborted.status, aborted.disable) == (DeliveryStatus.FAILED, None)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_retry_after_is_waited_for_by_the_whole_endpoint(status: int) -> None:
    """The longer of schedule and Retry-After, seconds or date, 24 h at the most."""
    asked = verdict(answer(status, retry_after="120"))
    assert (asked.next_attempt_at, asked.pause_until) == (NOW + 120_000, NOW + 120_000)
    dated = verdict(answer(status, retry_after="Fri, 01 Mar 2024 12:01:00 GMT"))
    assert dated.pause_until == NOW + 60_000
    assert verdict(answer(status, retry_after="999999999")).pause_until == NOW + DAY
    assert (verdict(answer(status, retry_after="1")).next_attempt_at or 0) - NOW == 5_000


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_who_asks_to_wait_and_not_how_long_is_left_alone_for_a_moment(status: int) -> None:
    """No Retry-After, or none that means anything: the endpoint pauses for a few seconds, the schedule goes on."""
    for came in (answer(status), answer(status, retry_after="soon")):
        found = verdict(came, tries=2)
        assert (found.pause_until, found.next_attempt_at) == (NOW + DEFAULT_PAUSE, NOW + 30_000)
    assert verdict(answer(500, retry_after="60")).pause_until is None


def test_what_was_told_to_wait_together_does_not_come_back_together() -> None:
    """After a Retry-After attempts are spread over a fifth of it, never before it, and five minutes at the most."""
    waits = [
        (verdict(answer(429, retry_after=after), jitter=jitter).next_attempt_at or 0) - NOW
        for after in ("600", "86400")
        for jitter in (0.0, 0.5, 0.999)
    ]
    assert waits == [600_000, 660_000, 719_880, DAY, DAY + 150_000, DAY + 299_700]


def test_a_success_that_was_under_way_does_not_end_a_pause_that_was_asked_for() -> None:
    """Another attempt's 429 asked for an hour: a 2xx that comes in after it changes nothing about that."""
    paused = update_health(ENDPOINT, verdict(answer(429, retry_after="3600")), NOW, 5 * DAY, 0.0)
    after = update_health(paused, verdict(answer(200)), NOW + 5, 5 * DAY, 0.0)
    assert (after.paused_until, after.failures) == (NOW + HOUR, 0)


def test_the_operator_is_warned_at_half_time() -> None:
    """Nothing but failures for half of disable_after: when it began and when it will end; and when it has ended."""
    endpoint, failed = update_health(ENDPOINT, verdict(answer(500)), NOW, 4 * DAY, 0.0), verdict(answer(500))
    early = update_health(endpoint, failed, NOW + 2 * DAY - 1, 4 * DAY, 0.0)
    assert health_warning(endpoint, early, NOW + 2 * DAY - 1, 4 * DAY) is None
    told = health_warning(early, early, NOW + 2 * DAY, 4 * DAY) or ""
    assert "since 2024-03-01T12:00:00.000Z" in told
    assert "disabled at 2024-03-05T12:00:00.000Z" in told
    gone = replace(early, disabled_at=NOW, disabled_reason="410")
    assert health_warning(early, gone, NOW, 4 * DAY) == "is disabled: 410"
    assert health_warning(gone, gone, NOW, 4 * DAY) is None


def test_a_429_says_nothing_about_health() -> None:
    """A receiver that asks to slow down is not ill."""
    assert not verdict(answer(429)).against_health
    assert verdict(answer(503)).against_health


def test_what_the_guard_refuses_is_given_up() -> None:
    """A blocked address is not tried again."""
    found = verdict(RequestFailed("blocked", "10.0.0.1 is private"))
    assert (found.status, found.outcome) == (DeliveryStatus.FAILED, "blocked")


def test_a_blocked_name_is_tried_again_on_the_first_steps_only() -> None:
    """DNS may answer otherwise a moment later; three blocked attempts are enough."""
    blocked = RequestFailed("blocked", "the address is not dialled: :: is unspecified", may_change=True)
    decisions = [verdict(blocked, tries) for tries in range(1, BLOCKED_NAME_ATTEMPTS + 1)]
    assert [decision.outcome for decision in decisions] == ["blocked"] * 3
    assert [(decision.next_attempt_at or NOW) - NOW for decision in decisions] == [5_000, 30_000, 0]
    assert decisions[-1].status is DeliveryStatus.FAILED


def test_a_2xx_with_a_spoiled_body_is_delivered_and_says_so() -> None:
    """The head has accepted the request: nothing is sent again, and the attempt shows status and what is wrong."""
    decision = verdict(HttpResponse(200, {}, b"o", body_error="the connection was closed in the middle of the answer"))
    assert (decision.status, decision.outcome) == (DeliveryStatus.DELIVERED, "delivered")
    assert decision.error == "answered 200; its body: the connection was closed in the middle of the answer"


@pytest.mark.parametrize(
    ("status", "location", "delivered"),
    [
        (302, "https://script.googleusercontent.com/macros/echo?user_content_key=x&lib=y", True),
        (302, "https://script.googleusercontent.com.evil.example/macros/echo", False),
        (302, "https://user@script.googleusercontent.com/", False),
        (302, "http://script.googleusercontent.com/macros/echo", False),
        (302, "https://accounts.google.com/ServiceLogin", False),
        (302, "https://[", False),
        (307, "https://script.googleusercontent.com/macros/echo", False),
        (302, "", False),
    ],
)
def test_an_apps_scripts_redirect_is_a_success(status: int, location: str, delivered: bool) -> None:
    """Google's web apps run the script, then redirect to its output; any other redirect is a failed attempt."""
    decision = verdict(answer(status, location=location))
    assert (decision.status is DeliveryStatus.DELIVERED) is delivered


def test_a_service_that_says_no_under_200_is_not_delivered() -> None:
    """What passes by itself is retried and does not count against the endpoint; what does not is final."""
    busy = (
        b"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId x"
    )
    decision = verdict(answer(200, busy), format="teams")
    assert (decision.status, decision.against_health) == (DeliveryStatus.PENDING, False)
    assert decision.pause_until == NOW + DEFAULT_PAUSE
    final = verdict(answer(200, b'{"ok":false,"error":"token_revoked"}'), format="slack")
    assert final.status is DeliveryStatus.FAILED
    assert "token_revoked" in (final.disable or "")


def test_a_template_may_say_which_answers_mean_no() -> None:
    """With `$rejected_if`, a 200 that says no is tried again; without it, it is delivered."""
    template = '{"text": "x", "$rejected_if": {"ok": false}}'
    decision = verdict(answer(200, b'{"ok": false}'), format="template", template=template)
    assert decision.status is DeliveryStatus.PENDING
    assert verdict(answer(200, b'{"ok": true}'), format="template", template=template).outcome == "delivered"
    assert verdict(answer(200, b'{"ok": false}'), format="template", template='{"text": "x"}').outcome == "delivered"


@pytest.mark.parametrize("tries", [1, len(SCHEDULE)])
@pytest.mark.parametrize(
    "outcome",
    [
        answer(302, location=f"http://{'a' * 30_000}/"),
        answer(503, location="x" * 30_000),
        RequestFailed("connection", "x" * 30_000),
        RequestFailed("blocked", "x" * 30_000),
    ],
)
def test_a_receivers_words_are_cut(outcome: SendResult, tries: int) -> None:
    """However long a receiver's words are, an error stays within some hundred characters."""
    assert len(verdict(outcome, tries).error or "") <= MAX_ERROR


def test_slacks_own_permanent_errors_disable() -> None:
    """A removed webhook is not tried for three days."""
    found = verdict(answer(404, b"no_service"), format="slack")
    assert found.status is DeliveryStatus.FAILED
    assert "no_service" in (found.disable or "")
    assert verdict(answer(404, b"no_service")).status is DeliveryStatus.PENDING


def test_a_receivers_own_words_are_told_before_its_status() -> None:
    """Slack's archived channel answers 410, and the reason says archived, not unsubscribed."""
    found = verdict(answer(410, b"channel_is_archived"), format="slack")
    assert "channel_is_archived" in (found.disable or "")


def test_slack_refusing_our_blocks_does_not_disable() -> None:
    """invalid_blocks is our fault: given up, but the endpoint stays."""
    found = verdict(answer(400, b"invalid_blocks"), format="slack")
    assert (found.status, found.disable) == (DeliveryStatus.FAILED, None)


def test_an_endpoint_is_disabled_after_days_of_nothing_but_failures() -> None:
    """Five days without a success and ten attempts: both are needed, and it is measured at an attempt."""
    endpoint, now, failed = ENDPOINT, NOW, verdict(answer(500))
    for _ in range(9):
        endpoint = update_health(endpoint, failed, now, 5 * DAY, 0.0)
        now += 14 * HOUR
    assert now - NOW > 5 * DAY
    assert endpoint.enabled
    endpoint = update_health(endpoint, failed, now, 5 * DAY, 0.0)
    assert "5 days" in (endpoint.disabled_reason or "")


def test_many_failures_in_a_short_time_do_not_disable() -> None:
    """An outage of an hour, however many deliveries fail in it, disables nothing."""
    endpoint = ENDPOINT
    for n in range(500):
        endpoint = update_health(endpoint, verdict(answer(500)), NOW + n * SECOND, 5 * DAY, 0.0)
    assert endpoint.enabled
    assert circuit_is_open(endpoint.failures)


def test_one_success_heals() -> None:
    """A success forgets the streak, closes the breaker and ends the pause."""
    ill = replace(ENDPOINT, failures=BREAKER_OPENS_AT, failing_since=NOW - DAY, paused_until=NOW + 1)
    well = update_health(ill, verdict(answer(204)), NOW, 5 * DAY, 0.0)
    assert (well.failures, well.failing_since, well.paused_until) == (0, None, None)


def test_the_first_success_proves_an_endpoint() -> None:
    """It is remembered once; failures before and after it change nothing."""
    assert not ENDPOINT.is_proven
    assert replace(ENDPOINT, kind=EndpointKind.STANDING).is_proven
    failed = update_health(ENDPOINT, verdict(answer(500)), NOW, 5 * DAY, 0.0)
    assert not failed.is_proven
    proven = update_health(failed, verdict(answer(200)), NOW + 1, 5 * DAY, 0.0)
    assert (proven.succeeded_at, proven.is_proven) == (NOW + 1, True)
    assert update_health(proven, verdict(answer(200)), NOW + 2, 5 * DAY, 0.0) is proven
    assert update_health(proven, verdict(answer(500)), NOW + 3, 5 * DAY, 0.0).is_proven


OUTCOMES = st.one_of(
    st.builds(
        HttpResponse,
        st.integers(100, 599),
        st.dictionaries(st.sampled_from(["retry-after", "webhook-delivery", "location"]), st.text(max_size=30)),
        st.binary(max_size=50),
    ),
    st.builds(RequestFailed, st.sampled_from(["timeout", "connection", "tls", "protocol", "blocked"]), st.just("x")),
)


@given(OUTCOMES, st.integers(1, 11), st.sampled_from(["standard", "slack", "discord"]), st.floats(0, 0.999))
def test_every_outcome_ends_or_is_tried_again_later_and_never_early(
    outcome: SendResult, tries: int, format: str, jitter: float
) -> None:
    """Whatever comes: pending exactly where a next attempt is planned, not before its place on the schedule."""
    schedule = tuple(range(0, 11_000, 1_000))
    found = classify_attempt(outcome, format, tries, schedule, NOW, jitter)
    assert (found.status is DeliveryStatus.PENDING) == (found.next_attempt_at is not None)
    if found.next_attempt_at is not None:
        assert found.next_attempt_at >= NOW + schedule[tries]
    if found.status is DeliveryStatus.FAILED:
        assert found.error
