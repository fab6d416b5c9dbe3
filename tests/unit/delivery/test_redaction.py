"""What receivers say back holds none of what they were sent in confidence."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.delivery.redaction import SHORTEST, redact
from relay.model import Secret
from tests.make import SECRET, make_endpoint

URL = "https://hooks.slack.com/services/T0AAAAAAA/B0BBBBBBB/s3cr3t-path?token=s3cr3t%2Bquery"
ENDPOINT = make_endpoint(
    url=URL, headers={"Authorization": "Bearer s3cr3t-header", "x": "1"}, secrets=(Secret(SECRET),)
)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (f"no such URL: {URL}", "no such URL: https://hooks.slack.com…"),
        ("Cannot POST /services/T0AAAAAAA/B0BBBBBBB/s3cr3t-path", "Cannot POST …"),
        (r'{"path": "\/services\/T0AAAAAAA\/B0BBBBBBB\/s3cr3t-path"}', r'{"path": "\/…\/…\/…\/…"}'),
        ("token s3cr3t+query is revoked", "token … is revoked"),
        ("you sent authorization: Bearer s3cr3t-header", "you sent authorization: …"),
        ("s3cr3t-header", "…"),
        (f"your secret is {SECRET}", "your secret is …"),
        (SECRET.removeprefix("whsec_"), "…"),
        ("no_service", "no_service"),
        ("1 x ok", "1 x ok"),
    ],
)
def test_what_was_sent_in_confidence_is_hidden(said: str, kept: str) -> None:
    """Path, query, header values and signing secrets become `…`, whole or in part; other words stay."""
    assert redact(said.encode(), ENDPOINT).decode() == kept


tokens = st.text("abcXYZ019_-", min_size=SHORTEST, max_size=40)


@given(tokens, tokens, tokens, st.binary(max_size=30))
def test_no_token_is_left(path: str, query: str, header: str, around: bytes) -> None:
    """Whatever the tokens are, and whatever stands around them, none is left in the answer."""
    url = f"https://example.com/{quote(path)}?key={query}"
    endpoint = make_endpoint(url=url, headers={"authorization": f"Bearer {header}"})
    said = around.join(text.encode() for text in ("", path, query, header, url, ""))
    left = redact(said, endpoint)
    assert not [token for token in (path, query, header) if token.encode() in left]


def test_a_short_path_is_a_word() -> None:
    """The relay does not take an `a` for a secret."""
    assert redact(b"a cat", make_endpoint(url="https://example.com/a", headers={})) == b"a cat"
