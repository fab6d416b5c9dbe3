"""Signing: what the relay sends is accepted by verifiers that were not written here."""

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
    """Whether the `standardwebhooks` package takes it for genuine."""
    try:
        Webhook(secret).verify(body, headers, json_parse=False)
    except WebhookVerificationError:
        return False
    return True


def now() -> int:
    return time.time_ns() // 1_000_000


@given(st.binary(min_size=24, max_size=64), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_secret_and_body_verify_with_the_public_package(random_bytes: bytes, text: str) -> None:
    """Whatever the secret and the body, the public verifier accepts the pair, and refuses it once changed."""
    secret, body = standard_webhooks.new_secret(random_bytes), text.encode()
    headers = standard_webhooks.headers("evt_1", body, [Secret(secret)], now())
    assert accepts(secret, body, headers)
    assert not accepts(secret, body + b" ", headers)
    assert not accepts(secret, body, headers | {"webhook-id": "evt_2"})


def test_svix_verifies_it_too() -> None:
    """Svix's own package accepts the same headers, and refuses them with another body."""
    webhooks: Any = pytest.importorskip("svix.webhooks")
    headers = standard_webhooks.headers("evt_1", BODY, [Secret(NEW)], now())
    webhooks.Webhook(NEW).verify(BODY, headers)
    with pytest.raises(webhooks.WebhookVerificationError):
        webhooks.Webhook(NEW).verify(BODY + b" ", headers)


def test_the_specification_s_own_example() -> None:
    """The signature is the very one that the Standard Webhooks libraries hold as their example."""
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


def test_while_a_secret_rotates_both_sign_the_new_one_first() -> None:
    """During a rotation holders of either secret verify; afterwards only the new one signs."""
    at = now()
    secrets = [Secret(OLD, until=at + DAY), Secret(NEW)]
    during = standard_webhooks.headers("evt_1", BODY, secrets, at)
    assert accepts(OLD, BODY, during)
    assert accepts(NEW, BODY, during)
    new_alone = standard_webhooks.headers("evt_1", BODY, [Secret(NEW)], at)["webhook-signature"]
    assert during["webhook-signature"].split(" ")[0] == new_alone
    after = standard_webhooks.headers("evt_1", BODY, secrets, at + DAY)
    assert len(after["webhook-signature"].split(" ")) == 1


def test_nothing_leaves_unsigned() -> None:
    """With no valid secret there are no headers, rather than headers without a signature."""
    with pytest.raises(ValueError, match="no secret is valid"):
        standard_webhooks.headers("evt_1", BODY, [Secret(OLD, until=5)], 5)


@pytest.mark.parametrize("length", [0, 23, 65])
def test_too_little_or_too_much_randomness_is_refused(length: int) -> None:
    """A secret is made of 24 to 64 bytes, no fewer and no more."""
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
def test_what_is_no_secret_is_refused_without_being_repeated(text: str) -> None:
    """The error tells how to make a secret and never shows the one that came."""
    with pytest.raises(ValidationFailed) as refused:
        standard_webhooks.check_secret(text)
    assert refused.value.code == "invalid_secret"
    assert refused.value.field == "secret"
    assert "openssl rand -base64 32" in refused.value.message
    if len(text) > len(standard_webhooks.PREFIX):
        assert text not in str(refused.value)
        assert refused.value.__cause__ is None


@given(st.binary(min_size=24, max_size=64))
def test_what_is_made_here_passes_the_check(random_bytes: bytes) -> None:
    """Every secret made here is one that the check lets in."""
    standard_webhooks.check_secret(standard_webhooks.new_secret(random_bytes))
