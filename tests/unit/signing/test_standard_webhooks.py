"""Signing: independent libraries verify the relay's signatures."""

import base64
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from relay.errors import ValidationFailed
from relay.model import DAY, SECOND, Secret
from relay.signing import standard_webhooks

BODY = '{"type":"job.completed","data":{"name":"Gespräch 🎭"}}'.encode()
OLD = standard_webhooks.new_secret(b"o" * 32)
NEW = standard_webhooks.new_secret(b"n" * 32)


def accepts(secret: str, body: bytes, headers: dict[str, str]) -> bool:
    """Whether the `standardwebhooks` package verifies it."""
    try:
        Webhook(secret).verify(body, headers, json_parse=False)
    except WebhookVerificationError:
        return False
    return True


def now() -> int:
    return time.time_ns() // 1_000_000


@given(st.binary(min_size=24, max_size=64), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_secret_and_body_verify_with_standardwebhooks(random_bytes: bytes, text: str) -> None:
    """And no changed body does."""
    secret, body = standard_webhooks.new_secret(random_bytes), text.encode()
    headers = standard_webhooks.headers("evt_1", body, [Secret(secret)], now())
    assert accepts(secret, body, headers)
    assert not accepts(secret, body + b" ", headers)
    assert not accepts(secret, body, headers | {"webhook-id": "evt_2"})


def test_signatures_verify_with_svix() -> None:
    """Svix's own package accepts the same headers, and refuses them with another body."""
    webhooks: Any = pytest.importorskip("svix.webhooks")
    headers = standard_webhooks.headers("evt_1", BODY, [Secret(NEW)], now())
    webhooks.Webhook(NEW).verify(BODY, headers)
    with pytest.raises(webhooks.WebhookVerificationError):
        webhooks.Webhook(NEW).verify(BODY + b" ", headers)


def test_the_example_of_the_specification() -> None:
    """The signature equals the example of the Standard Webhooks libraries."""
    headers = standard_webhooks.headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        b'{"test": 2432232314}',
        [Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
        1_614_265_330 * SECOND + 999,
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_during_a_rotation_both_secrets_sign() -> None:
    """The new one first; afterwards only the new one signs."""
    at = now()
    secrets = [Secret(OLD, until=at + DAY), Secret(NEW)]
    during = standard_webhooks.headers("evt_1", BODY, secrets, at)
    assert accepts(OLD, BODY, during)
    assert accepts(NEW, BODY, during)
    new_alone = standard_webhooks.headers("evt_1", BODY, [Secret(NEW)], at)["webhook-signature"]
    assert during["webhook-signature"].split(" ")[0] == new_alone
    after = standard_webhooks.headers("evt_1", BODY, secrets, at + DAY)
    assert len(after["webhook-signature"].split(" ")) == 1


def test_without_a_valid_secret_nothing_is_signed() -> None:
    """An error is raised instead of headers without a signature."""
    with pytest.raises(ValueError, match="no secret is valid"):
        standard_webhooks.headers("evt_1", BODY, [Secret(OLD, until=5)], 5)


@pytest.mark.parametrize("length", [0, 23, 65])
def test_a_secret_of_the_wrong_length_is_not_made(length: int) -> None:
    """A secret is made of 24 to 64 bytes."""
    with pytest.raises(ValueError, match=f"not {length}"):
        standard_webhooks.new_secret(bytes(length))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        "whsec_",
        "WHSEC_" + NEW[6:],
        NEW[6:],
        NEW.rstrip("="),
        NEW + "=",
        NEW + "\n",
        " " + NEW,
        standard_webhooks.PREFIX + NEW,
        standard_webhooks.PREFIX + base64.b64encode(bytes(23)).decode(),
        standard_webhooks.PREFIX + base64.b64encode(bytes(65)).decode(),
        standard_webhooks.PREFIX + base64.urlsafe_b64encode(b"\xfb\xff\xfe" * 8).decode(),
        standard_webhooks.PREFIX + "é" * 32,
        standard_webhooks.PREFIX + "😀" * 32,
    ],
)
def test_invalid_secrets_are_refused_without_repeating_them(text: str) -> None:
    """The error says how to make a secret."""
    with pytest.raises(ValidationFailed) as refused:
        standard_webhooks.check_secret(text)
    assert refused.value.code == "invalid_secret"
    assert refused.value.field == "secret"
    assert "openssl rand -base64 32" in refused.value.message
    if len(text) > len(standard_webhooks.PREFIX):
        assert text not in str(refused.value)
        assert refused.value.__cause__ is None


@given(st.binary(min_size=24, max_size=64))
def test_generated_secrets_are_valid(random_bytes: bytes) -> None:
    """Every generated secret passes the check."""
    standard_webhooks.check_secret(standard_webhooks.new_secret(random_bytes))
