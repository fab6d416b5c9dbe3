"""The retry policy and endpoint health as tables of decisions."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.delivery.endpoint_health import BREAKER_OPENS_AT, circuit_is_open, health_warning, update_health
from relay.delivery.retry_policy import (
    ADDRESS_PAUSE,
    BLOCKED_NAME_ATTEMPTS,
    DEFAULT_PAUSE,
    MAX_ERROR,
    AttemptDecision,
    classify_attempt,
)
from relay.egress import HttpResponse, RequestFailed, SendResult
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


def decide(
    outcome: SendResult, tries: int = 1, format: str = "standard", jitter: float = 0.0, template: str | None = None
) -> AttemptDecision:
    return classify_attempt(outcome, format, tries, SCHEDULE, NOW, jitter, template)


def response(status: int, body: bytes = b"", **headers: str) -> HttpResponse:
    return HttpResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    """Every 2xx means that the receiver has the notification."""
    assert decide(response(status)).status is DeliveryStatus.DELIVERED


@pytest.mark.parametrize(
    "outcome",
    [
        response(400),
        response(404),
        response(500),
        response(503),
        response(302, location="https://elsewhere.example/secret/path"),
        RequestFailed("timeout", "no answer within 15 s"),
        RequestFailed("connection", "refused"),
    ],
)
def test_failed_attempts_follow_the_retry_schedule(outcome: SendResult) -> None:
    """Each failed attempt is followed by the next delay of the schedule; after the last one the delivery has failed."""
    due = [(decide(outcome, tries).next_attempt_at or NOW) - NOW for tries in (1, 2, 3)]
    assert due == [5_000, 30_000, 300_000]
    last = decide(outcome, len(SCHEDULE))
    assert (last.status, last.next_attempt_at) == (DeliveryStatus.FAILED, None)
    assert "4 attempts" in (last.error or "")


def test_a_redirect_names_the_host_but_not_the_path() -> None:
    """The error shows the host of the Location, not its path, which may be secret."""
    text = decide(response(307, location="https://elsewhere.example/secret/path")).error or ""
    assert "elsewhere.example" in text
    assert "secret" not in text


def test_410_fails_the_delivery_and_disables_the_endpoint() -> None:
    """410 fails the delivery for good and disables the endpoint."""
    decision = decide(response(410))
    assert decision.status is DeliveryStatus.FAILED
    assert "unsubscribed" in (decision.disable or "")


def test_header_webhook_delivery_disables_or_aborts() -> None:
    """`webhook-delivery: disable` disables the endpoint, `abort-message` fails this delivery only."""
    assert decide(response(500, webhook_delivery="disable")).disable
    disabled = decide(response(200, webhook_delivery="disable"))
    assert (disabled.status, bool(disabled.disable)) == (DeliveryStatus.DELIVERED, True)
    assert not update_health(ENDPOINT, disabled, NOW, 5 * DAY, 0.0).enabled
    aborted = decide(response(500, webhook_delivery=" Abort-Message "))
    assert (aborted.status, aborted.disable) == (DeliveryStatus.FAILED, None)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_retry_after_pauses_the_endpoint(status: int) -> None:
    """The longer of schedule and Retry-After, given in seconds or as a date, at most 24 h."""
    asked = decide(response(status, retry_after="120"))
    assert (asked.next_attempt_at, asked.pause_until) == (NOW + 120_000, NOW + 120_000)
    dated = decide(response(status, retry_after="Fri, 01 Mar 2024 12:01:00 GMT"))
    assert dated.pause_until == NOW + 60_000
    assert decide(response(status, retry_after="999999999")).pause_until == NOW + DAY
    assert (decide(response(status, retry_after="1")).next_attempt_at or 0) - NOW == 5_000


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_status_without_retry_after_pauses_the_endpoint_briefly(status: int) -> None:
    """Without a usable Retry-After the endpoint pauses for a few seconds, and the schedule goes on."""
    for busy_response in (response(status), response(status, retry_after="soon")):
        decision = decide(busy_response, tries=2)
        assert (decision.pause_until, decision.next_attempt_at) == (NOW + DEFAULT_PAUSE, NOW + 30_000)
    assert decide(response(500, retry_after="60")).pause_until is None


def test_attempts_after_retry_after_are_spread() -> None:
    """After a Retry-After attempts spread over a fifth of it, never earlier, and over five minutes at most."""
    waits = [
        (decide(response(429, retry_after=after), jitter=jitter).next_attempt_at or 0) - NOW
        for after in ("600", "86400")
        for jitter in (0.0, 0.5, 0.999)
    ]
    assert waits == [600_000, 660_000, 719_880, DAY, DAY + 150_000, DAY + 299_700]


def test_a_success_in_flight_does_not_end_the_pause_of_a_429() -> None:
    """Another attempt's 429 asks for an hour; a 2xx that arrives after it does not shorten the pause."""
    paused = update_health(ENDPOINT, decide(response(429, retry_after="3600")), NOW, 5 * DAY, 0.0)
    after = update_health(paused, decide(response(200)), NOW + 5, 5 * DAY, 0.0)
    assert (after.paused_until, after.failures) == (NOW + HOUR, 0)


def test_warning_from_half_of_disable_after() -> None:
    """After half of disable_after with failures only, the warning says since when and until when; then that it is
    disabled."""
    endpoint, failed = update_health(ENDPOINT, decide(response(500)), NOW, 4 * DAY, 0.0), decide(response(500))
    early = update_health(endpoint, failed, NOW + 2 * DAY - 1, 4 * DAY, 0.0)
    assert health_warning(endpoint, early, NOW + 2 * DAY - 1, 4 * DAY) is None
    text = health_warning(early, early, NOW + 2 * DAY, 4 * DAY) or ""
    assert "since 2024-03-01T12:00:00.000Z" in text
    assert "disables it at 2024-03-05T12:00:00.000Z" in text
    gone = replace(early, disabled_at=NOW, disabled_reason="410")
    assert health_warning(early, gone, NOW, 4 * DAY) == "is disabled: 410"
    assert health_warning(gone, gone, NOW, 4 * DAY) is None


def test_a_429_does_not_count_against_health() -> None:
    """A receiver that asks to slow down is healthy."""
    assert not decide(response(429)).against_health
    assert decide(response(503)).against_health


def test_a_blocked_address_is_not_retried() -> None:
    """A blocked address fails the delivery at once."""
    decision = decide(RequestFailed("blocked", "10.0.0.1 is private"))
    assert (decision.status, decision.outcome) == (DeliveryStatus.FAILED, "blocked")


def test_a_blocked_host_name_is_retried_twice() -> None:
    """DNS may answer differently a moment later; three blocked attempts are enough."""
    blocked = RequestFailed("blocked", "the address is not dialled: :: is unspecified", may_change=True)
    decisions = [decide(blocked, tries) for tries in range(1, BLOCKED_NAME_ATTEMPTS + 1)]
    assert [decision.outcome for decision in decisions] == ["blocked"] * 3
    assert [(decision.next_attempt_at or NOW) - NOW for decision in decisions] == [5_000, 30_000, 0]
    assert decisions[-1].status is DeliveryStatus.FAILED


def test_a_2xx_with_a_broken_body_is_delivered_with_a_note() -> None:
    """The status has accepted the request: no retry, and the attempt says what is wrong with the body."""
    decision = decide(HttpResponse(200, {}, b"o", body_error="the connection was closed in the middle of the answer"))
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
def test_a_redirect_of_apps_script_is_delivered(status: int, location: str, delivered: bool) -> None:
    """Google's web apps run the script, then redirect to its output; any other redirect is a failed attempt."""
    decision = decide(response(status, location=location))
    assert (decision.status is DeliveryStatus.DELIVERED) is delivered


def test_a_rejection_with_status_200_is_not_delivered() -> None:
    """A passing problem is retried and does not count against the endpoint; a permanent one is final."""
    busy = (
        b"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId x"
    )
    decision = decide(response(200, busy), format="teams")
    assert (decision.status, decision.against_health) == (DeliveryStatus.PENDING, False)
    assert decision.pause_until == NOW + DEFAULT_PAUSE
    final = decide(response(200, b'{"ok":false,"error":"token_revoked"}'), format="slack")
    assert final.status is DeliveryStatus.FAILED
    assert "token_revoked" in (final.disable or "")


def test_rejected_if_of_a_template_makes_a_200_a_failure() -> None:
    """With `$rejected_if`, a 200 that says no is retried; without it, it is delivered."""
    template = '{"text": "x", "$rejected_if": {"ok": false}}'
    decision = decide(response(200, b'{"ok": false}'), format="template", template=template)
    assert decision.status is DeliveryStatus.PENDING
    assert decide(response(200, b'{"ok": true}'), format="template", template=template).outcome == "delivered"
    assert decide(response(200, b'{"ok": false}'), format="template", template='{"text": "x"}').outcome == "delivered"


@pytest.mark.parametrize("tries", [1, len(SCHEDULE)])
@pytest.mark.parametrize(
    "outcome",
    [
        response(302, location=f"http://{'a' * 30_000}/"),
        response(503, location="x" * 30_000),
        RequestFailed("connection", "x" * 30_000),
        RequestFailed("blocked", "x" * 30_000),
    ],
)
def test_errors_are_cut_to_500_characters(outcome: SendResult, tries: int) -> None:
    """A receiver's text of any length leaves an error of at most 500 characters."""
    assert len(decide(outcome, tries).error or "") <= MAX_ERROR


def test_permanent_errors_of_slack_disable_the_endpoint() -> None:
    """A removed webhook is not retried for three days."""
    decision = decide(response(404, b"no_service"), format="slack")
    assert decision.status is DeliveryStatus.FAILED
    assert "no_service" in (decision.disable or "")
    assert decide(response(404, b"no_service")).status is DeliveryStatus.PENDING


def test_the_service_s_own_error_comes_before_its_status() -> None:
    """Slack's archived channel answers 410, and the reason says archived, not unsubscribed."""
    decision = decide(response(410, b"channel_is_archived"), format="slack")
    assert "channel_is_archived" in (decision.disable or "")


def test_invalid_blocks_at_slack_fail_the_delivery_only() -> None:
    """invalid_blocks is the relay's fault: the delivery fails, the endpoint stays enabled."""
    decision = decide(response(400, b"invalid_blocks"), format="slack")
    assert (decision.status, decision.disable) == (DeliveryStatus.FAILED, None)


def test_an_endpoint_is_disabled_after_five_days_and_ten_failures() -> None:
    """Five days without a success and ten attempts: both are needed, and each attempt checks both."""
    endpoint, now, failed = ENDPOINT, NOW, decide(response(500))
    for _ in range(9):
        endpoint = update_health(endpoint, failed, now, 5 * DAY, 0.0)
        now += 14 * HOUR
    assert now - NOW > 5 * DAY
    assert endpoint.enabled
    endpoint = update_health(endpoint, failed, now, 5 * DAY, 0.0)
    assert "5 days" in (endpoint.disabled_reason or "")


def test_many_failures_in_a_short_time_do_not_disable() -> None:
    """An outage of an hour disables no endpoint, even if 500 deliveries fail in it."""
    endpoint = ENDPOINT
    for n in range(500):
        endpoint = update_health(endpoint, decide(response(500)), NOW + n * SECOND, 5 * DAY, 0.0)
    assert endpoint.enabled
    assert circuit_is_open(endpoint.failures)


def test_one_success_resets_endpoint_health() -> None:
    """A success ends the failure streak, closes the breaker and ends the pause."""
    failing = replace(ENDPOINT, failures=BREAKER_OPENS_AT, failing_since=NOW - DAY, paused_until=NOW + 1)
    healthy = update_health(failing, decide(response(204)), NOW, 5 * DAY, 0.0)
    assert (healthy.failures, healthy.failing_since, healthy.paused_until) == (0, None, None)


def test_the_first_success_proves_an_endpoint() -> None:
    """The first success is recorded once; failures before and after it change nothing."""
    assert not ENDPOINT.is_proven
    assert replace(ENDPOINT, kind=EndpointKind.STANDING).is_proven
    failed = update_health(ENDPOINT, decide(response(500)), NOW, 5 * DAY, 0.0)
    assert not failed.is_proven
    proven = update_health(failed, decide(response(200)), NOW + 1, 5 * DAY, 0.0)
    assert (proven.succeeded_at, proven.is_proven) == (NOW + 1, True)
    assert update_health(proven, decide(response(200)), NOW + 2, 5 * DAY, 0.0) is proven
    assert update_health(proven, decide(response(500)), NOW + 3, 5 * DAY, 0.0).is_proven


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
def test_every_result_ends_the_delivery_or_schedules_a_retry_not_early(
    outcome: SendResult, tries: int, format: str, jitter: float
) -> None:
    """Any result: pending exactly if a next attempt is planned, and never before the schedule's delay."""
    schedule = tuple(range(0, 11_000, 1_000))
    decision = classify_attempt(outcome, format, tries, schedule, NOW, jitter)
    assert (decision.status is DeliveryStatus.PENDING) == (decision.next_attempt_at is not None)
    if decision.next_attempt_at is not None:
        assert decision.next_attempt_at >= NOW + schedule[tries]
    if decision.status is DeliveryStatus.FAILED:
        assert decision.error


@pytest.mark.parametrize(
    ("format", "status", "body", "headers", "wait"),
    [
        ("slack_app", 200, b'{"ok":false,"error":"ratelimited"}', {"retry-after": "30"}, 30_000),
        ("slack_app", 200, b'{"ok":false,"error":"ratelimited"}', {}, DEFAULT_PAUSE),
        ("discord", 429, b'{"retry_after":0.4}', {"retry-after": "1"}, 1_000),
        ("discord", 429, b'{"retry_after":64.57,"global":true}', {}, 64_570),
        ("telegram", 429, b'{"ok":false,"error_code":429,"parameters":{"retry_after":9}}', {}, 9_000),
        ("standard", 429, b'{"retry_after":"soon"}', {}, DEFAULT_PAUSE),
        ("standard", 429, b'{"retry_after":Infinity}', {}, DEFAULT_PAUSE),
        ("discord", 429, b"<html>1015</html>", {}, ADDRESS_PAUSE),
        ("discord", 429, b'{"message":"blocked"}', {}, ADDRESS_PAUSE),
    ],
)
def test_the_wait_that_a_service_names(
    format: str, status: int, body: bytes, headers: dict[str, str], wait: int
) -> None:
    """In its header, or in its body; only a refusal of the whole machine pauses the other endpoints at the host."""
    decision = classify_attempt(HttpResponse(status, headers, body), format, 1, SCHEDULE, NOW, 0.0)
    assert decision.pause_until == NOW + wait
    assert decision.pause_host is (wait == ADDRESS_PAUSE)
    assert not decision.against_health
