"""Receivers' answers, as `retry_policy.judge` reads them: status, headers, body."""

from relay import formats
from relay.delivery import retry_policy
from relay.egress import HttpResponse
from tests.fuzz.target import Target, text_of

SCHEDULE = (0, 5_000, 30_000)
NOW = 1_709_294_400_000


def parse(data: bytes) -> None:
    status = 100 + int.from_bytes(data[:2], "big") % 500
    header, _, body = data[2:].partition(b"\n")
    headers = {"retry-after": text_of(header), "webhook-delivery": text_of(header), "location": text_of(header)}
    for format in formats.FORMATS:
        verdict = retry_policy.classify_attempt(HttpResponse(status, headers, body), format, 1, SCHEDULE, NOW, 0.5)
        if verdict.status is None:
            assert verdict.outcome


TARGET = Target(
    "receiver_answers",
    parse,
    seeds=(
        b"\x01\x491\n",
        b"\x01\x49Fri, 01 Mar 2024 10:00:30 GMT\n",
        b"\x00\x64disable\nok",
        b"\x01\x2c\nno_service",
        b"\x01\x2cabort-message\nchannel_is_archived",
        b"\x01\x2c\n" + b'{"code": 10015, "message": "Unknown Webhook"}',
    ),
)
