"""Redaction: no stored response holds a secret that the relay sent."""

import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.delivery.redaction import MIN_SECRET, MIN_SECRET_PREFIX, redact
from relay.model import Secret
from tests.make import SECRET, make_endpoint

URL = "https://hooks.slack.com/services/T0AAAAAAA/B0BBBBBBB/s3cr3t-path?token=s3cr3t%2Bquery"
ENDPOINT = make_endpoint(
    url=URL, headers={"Authorization": "Bearer s3cr3t-header", "x": "1"}, secrets=(Secret(SECRET),)
)


@pytest.mark.parametrize(
    ("response", "redacted"),
    [
        (f"no such URL: {URL}", "no such URL: https://hooks.slack.com…"),
        ("Cannot POST /services/T0AAAAAAA/B0BBBBBBB/s3cr3t-path", "Cannot POST …"),
        (r'{"path": "\/services\/T0AAAAAAA\/B0BBBBBBB\/s3cr3t-path"}', '{"path": "…"}'),
        ("POST /SERVICES/T0AAAAAAA/B0BBBBBBB/S3CR3T-PATH", "POST …"),
        ("%2Fservices%2FT0AAAAAAA%2FB0BBBBBBB%2Fs3cr3t-path", "…"),
        ("authorization: Bearer%20s3cr3t-header", "authorization: …"),
        ("authorization: bearer+S3CR3T-header.", "authorization: …."),
        ("&#x2F;services&#x2F;T0AAAAAAA&#x2F;B0BBBBBBB&#x2F;s3cr3t-path", "…"),
        ("token s3cr3t+query is revoked", "token … is revoked"),
        ("you sent authorization: Bearer s3cr3t-header", "you sent authorization: …"),
        ("s3cr3t-header", "…"),
        (f"your secret is {SECRET}", "your secret is …"),
        (SECRET.removeprefix("whsec_"), "…"),
        ("no_service", "no_service"),
        ("1 x ok", "1 x ok"),
    ],
)
def test_secrets_in_a_response_are_redacted(response: str, redacted: str) -> None:
    """Path, query, header values and signing secrets become `…`, whole or in part; other words stay."""
    assert redact(response.encode(), ENDPOINT).decode() == redacted


@pytest.mark.parametrize(
    ("response", "redacted"),
    [
        ("see https://hooks.slack.com/services/T0AAAAAAA/B0BBB", "see https://hooks.slack.com/…/…/…"),
        ("authorization: Bearer s3cr3t-h", "authorization: …"),
        ("AUTHORIZATION: BEARER S3CR3T-H", "AUTHORIZATION: …"),
        ("your secret is " + SECRET[:20], "your secret is …"),
        ("a sentence that ends well", "a sentence that ends well"),
    ],
)
def test_a_cut_response_does_not_end_with_part_of_a_secret(response: str, redacted: str) -> None:
    """The end of a response that was cut may be the beginning of a secret."""
    assert redact(response.encode(), ENDPOINT, is_cut=True).decode() == redacted


tokens = st.text("abcXYZ019_-", min_size=MIN_SECRET, max_size=40)


@given(tokens, tokens, tokens, st.binary(max_size=30))
def test_no_token_survives_redaction(path: str, query: str, header: str, around: bytes) -> None:
    """Any tokens, with any bytes around them: none is left in the response."""
    url = f"https://example.com/{quote(path)}?key={query}"
    endpoint = make_endpoint(url=url, headers={"authorization": f"Bearer {header}"})
    response = around.join(text.encode() for text in ("", path, query, header, url, ""))
    redacted = redact(response, endpoint)
    assert not [token for token in (path, query, header) if token.encode() in redacted]


@given(tokens, st.integers(1, 39), st.binary(max_size=30))
def test_a_cut_leaves_at_most_three_characters_of_a_token(token: str, length: int, around: bytes) -> None:
    """Wherever a response is cut, at most three characters of a token are left."""
    endpoint = make_endpoint(url=f"https://example.com/{token}", headers={"x-token": token[::-1]})
    for secret in (token, token[::-1]):
        redacted = redact(around + secret[:length].encode(), endpoint, is_cut=True)
        assert (
            not redacted.endswith(secret[: min(length, len(secret))][:MIN_SECRET_PREFIX].encode())
            or length < MIN_SECRET_PREFIX
        )


def test_redaction_of_a_long_response_is_fast() -> None:
    """16 KiB that resemble the beginnings of secrets cost milliseconds."""
    endpoint = make_endpoint(
        url=f"https://example.com/{'a' * 2_000}", headers={f"x-{n}": "a" * 1_000 + str(n) for n in range(20)}
    )
    before = time.process_time()
    redact(b"a" * 16_384, endpoint, is_cut=True)
    assert time.process_time() - before < 2


def test_a_short_path_is_not_redacted() -> None:
    """The relay does not take an `a` for a secret."""
    assert redact(b"a cat", make_endpoint(url="https://example.com/a", headers={})) == b"a cat"
