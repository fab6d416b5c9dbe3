"""Callback URLs: judged, masked, matched to a format."""

from relay import formats
from relay.egress import EgressRules, mask_url, validate_url
from relay.errors import ValidationFailed
from tests.fuzz.target import Target, text_of

RULES = EgressRules(allow_http=True)


def parse(data: bytes) -> None:
    url = text_of(data)
    formats.detect_format(url)
    assert mask_url(url).endswith("…")
    target = validate_url(url, RULES)
    assert target.url.isascii()
    assert target.scheme in ("http", "https")
    assert validate_url(target.url, RULES) == target


TARGET = Target(
    "callback_urls",
    parse,
    (ValidationFailed,),
    (
        b"https://example.com/a?b=c#d",
        b"http://[2606:4700::1111]:8080/",
        "https://bücher.example/ü".encode(),
        b"https://xn--bcher-kva.example:443/%zz",
        b"https://0x7f.1/",
        b"https://[::ffff:10.0.0.1%25eth0]/",
        b"https://user:pass@example.com",
    ),
    longest=4 * 1024,
)
