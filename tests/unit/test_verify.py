"""Verification: requests signed by the specification are accepted, and no others."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from relay.errors import ValidationFailed
from relay.model import SECOND, Secret
from relay.signing import SignatureScheme, standard_webhooks
from relay.verify import (
    TOLERANCE,
    BadSignature,
    InvalidBody,
    MissingHeader,
    TimestampTooNew,
    TimestampTooOld,
    Unverified,
    verify,
)

SECRET = standard_webhooks.new_secret(b"s" * 32)
OTHER = standard_webhooks.new_secret(b"o" * 32)
NOW = 1_709_287_245_000
EVENT = {"type": "job.completed", "data": {"job": {"id": "j1o2b3i4d5x6"}}}
BODY = json.dumps(EVENT).encode()


def signed(body: bytes = BODY, secret: str = SECRET, at: int = NOW) -> dict[str, str]:
    return standard_webhooks.headers("evt_1", body, [Secret(secret)], at)


def test_requests_signed_by_another_library_are_accepted() -> None:
    """The `standardwebhooks` package signs, and the relay's function verifies and parses."""
    at = datetime.fromtimestamp(NOW // SECOND, UTC)
    headers = {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(NOW // SECOND),
        "Webhook-Signature": Webhook(SECRET).sign("msg_1", at, BODY.decode()),
    }
    assert verify(headers, BODY, SECRET, now=NOW) == EVENT


def test_without_now_the_clock_is_read() -> None:
    """A request signed just now passes, one signed at an old `now` is too old."""
    assert verify(signed(at=time.time_ns() // 1_000_000), BODY.decode(), SECRET) == EVENT
    with pytest.raises(TimestampTooOld):
        verify(signed(), BODY, SECRET)


def test_one_match_of_several_secrets_and_signatures_is_enough() -> None:
    """During a rotation, on either side."""
    assert verify(signed(), BODY, [OTHER, SECRET], now=NOW) == EVENT
    both = standard_webhooks.headers("evt_1", BODY, [Secret(OTHER), Secret(SECRET, until=NOW + 1)], NOW)
    assert verify(both, BODY, SECRET, now=NOW) == EVENT
    strange = signed()
    strange["webhook-signature"] = f"v1a,AAAA é v2 {strange['webhook-signature']}"
    assert verify(strange, BODY, SECRET, now=NOW) == EVENT


def test_at_most_ten_signatures_are_checked() -> None:
    """Twice what the relay sends: each costs the receiver time, even a false one."""
    headers = signed()
    for strange, fits in ((9, True), (10, False)):
        many = headers | {"webhook-signature": "v1,AAAA " * strange + headers["webhook-signature"]}
        if fits:
            assert verify(many, BODY, SECRET, now=NOW) == EVENT
        else:
            with pytest.raises(BadSignature):
                verify(many, BODY, SECRET, now=NOW)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_named(missing: str) -> None:
    """The error says which header is missing, or empty."""
    for headers in ({k: v for k, v in signed().items() if k != missing}, signed() | {missing: ""}):
        with pytest.raises(MissingHeader, match=missing):
            verify(headers, BODY, SECRET, now=NOW)


@pytest.mark.parametrize("timestamp", ["soon", "1.5", "-1", "١٧٠٩٢٨٧٢٤٥", "1_709_287_245", " 1709287245", "9" * 40])
def test_a_timestamp_that_is_no_number_is_refused(timestamp: str) -> None:
    """Only plain digits are a timestamp."""
    with pytest.raises(MissingHeader, match="webhook-timestamp"):
        verify(signed() | {"webhook-timestamp": timestamp}, BODY, SECRET, now=NOW)


def test_timestamps_may_differ_by_five_minutes() -> None:
    """Up to the tolerance a request passes; beyond it is too old or too new."""
    assert verify(signed(), BODY, SECRET, now=NOW + TOLERANCE) == EVENT
    assert verify(signed(), BODY, SECRET, now=NOW - TOLERANCE) == EVENT
    with pytest.raises(TimestampTooOld, match="301 s ago"):
        verify(signed(), BODY, SECRET, now=NOW + TOLERANCE + SECOND)
    with pytest.raises(TimestampTooNew, match="301 s in the future"):
        verify(signed(), BODY, SECRET, now=NOW - TOLERANCE - SECOND)
    assert verify(signed(), BODY, SECRET, tolerance=TOLERANCE + SECOND, now=NOW + TOLERANCE + SECOND) == EVENT


@pytest.mark.parametrize(
    ("changed", "body", "secrets"),
    [
        ({}, BODY + b" ", SECRET),
        ({}, BODY, OTHER),
        ({}, BODY, []),
        ({"webhook-id": "evt_2"}, BODY, SECRET),
        ({"webhook-timestamp": str(NOW // SECOND + 1)}, BODY, SECRET),
        ({"webhook-signature": signed()["webhook-signature"].removeprefix("v1,")}, BODY, SECRET),
        ({"webhook-signature": signed()["webhook-signature"].replace("v1,", "v1a,")}, BODY, SECRET),
        ({"webhook-signature": "v1,"}, BODY, SECRET),
    ],
)
def test_a_changed_request_is_refused(changed: dict[str, str], body: bytes, secrets: str | list[str]) -> None:
    """Another body, secret, id, timestamp or scheme matches no signature."""
    with pytest.raises(BadSignature):
        verify(signed() | changed, body, secrets, now=NOW)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"\xff", b"{", b"[" * 100_000])
def test_a_body_that_is_no_object_has_its_own_error(body: bytes) -> None:
    """A signed body that is no JSON object."""
    with pytest.raises(InvalidBody):
        verify(signed(body), body, SECRET, now=NOW)


def test_an_invalid_secret_is_the_callers_mistake() -> None:
    """It is no forged request."""
    with pytest.raises(ValidationFailed, match="whsec_"):
        verify(signed(), BODY, "hunter2", now=NOW)


def test_verifying_with_a_private_key_is_refused() -> None:
    """The error asks for the public key, and does not repeat the private one."""
    private = standard_webhooks.new_secret(b"p" * 32, SignatureScheme.ED25519)
    with pytest.raises(ValidationFailed, match="whpk_") as refused:
        verify(signed(secret=private), BODY, private, now=NOW)
    assert private not in str(refused.value)


def test_a_body_with_half_a_surrogate_pair_is_refused() -> None:
    """It can't be the received bytes; the error says what to give instead."""
    with pytest.raises(BadSignature, match="bytes as they came"):
        verify(signed(), BODY.decode() + "\udcff", SECRET, now=NOW)


@pytest.mark.parametrize("body", [EVENT, None])
def test_a_parsed_body_is_refused_with_the_reason(body: Any) -> None:
    """The most common mistake: a body that a framework parsed has lost its signature."""
    with pytest.raises(TypeError, match="before they are parsed"):
        verify(signed(), body, SECRET, now=NOW)


def test_import_from_relay_and_relay_verify() -> None:
    """In any order, and without the modules that only the service needs."""
    code = """if True:
        import sys
        from relay.verify import TimestampTooOld
        from relay import Unverified, verify
        import relay.verify
        assert issubclass(TimestampTooOld, Unverified) and verify is sys.modules["relay.verify"].verify is relay.verify
        assert not {"pydantic", "sqlalchemy", "starlette"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)


class LikeFlask:
    """Headers of a class that is no Mapping, like Werkzeug's and Django's."""

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = headers

    def items(self) -> list[tuple[str, str]]:
        return [(name.title(), value) for name, value in self._headers.items()]


SHAPES: dict[str, Any] = {
    "a dict": dict,
    "a generator of pairs": lambda headers: ((name, value) for name, value in headers.items()),
    "pairs": lambda headers: list(headers.items()),
    "lists of two": lambda headers: [[name, value] for name, value in headers.items()],
    "bytes of ASGI": lambda headers: [(name.encode(), value.encode()) for name, value in headers.items()],
    "a dict of bytes": lambda headers: {name.encode(): value.encode() for name, value in headers.items()},
    "multiValueHeaders": lambda headers: {name.upper(): [value] for name, value in headers.items()},
    "tuples of values": lambda headers: {name: (value,) for name, value in headers.items()},
    "WSGI's environ": lambda headers: (
        {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
        | {"wsgi.version": (1, 0), "wsgi.input": object(), "CONTENT_LENGTH": 3}
    ),
    "a number as timestamp": lambda headers: headers | {"webhook-timestamp": int(headers["webhook-timestamp"])},
    "a framework's class": LikeFlask,
    "with others that are None": lambda headers: headers | {"x-a": None, "x-b": [], "x-c": 1.5},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_headers_of_all_frameworks_are_read(shape: str) -> None:
    """Each shape verifies, and the same shape with a changed id does not."""
    assert verify(SHAPES[shape](signed()), BODY, SECRET, now=NOW) == EVENT
    with pytest.raises(BadSignature):
        verify(SHAPES[shape](signed() | {"webhook-id": "evt_2"}), BODY, SECRET, now=NOW)


class Broken:
    """A class whose reading fails in a way of its own."""

    def items(self) -> Any:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "headers",
    [
        *(
            None,
            1,
            "",
            "webhook-id",
            b"webhook-id",
            [],
            {},
            (),
            [1],
            [()],
            [("a",)],
            [("a", "b", "c")],
            object(),
            Broken(),
        ),
        *({"webhook-id": None}, {None: None}, {"webhook-id": []}, {"webhook-id": [[]]}, {"webhook-id": {}}),
        *({name: [] for name in signed()}, {name: object() for name in signed()}, {name: [None] for name in signed()}),
    ],
)
def test_headers_of_any_other_shape_are_unverified(headers: Any) -> None:
    """A receiver that catches Unverified catches everything that a request can cause."""
    with pytest.raises(Unverified):
        verify(headers, BODY, SECRET, now=NOW)


def test_the_last_of_several_equal_names_counts_as_for_a_dict() -> None:
    """Of two values the later one counts; an empty repetition is ignored."""
    pairs = [*signed().items(), ("webhook-id", "")]
    assert verify(pairs, BODY, SECRET, now=NOW) == EVENT
    with pytest.raises(BadSignature):
        verify([*signed().items(), ("Webhook-Id", "evt_2")], BODY, SECRET, now=NOW)


def test_a_memoryview_is_a_body() -> None:
    """As some servers hand it over."""
    assert verify(signed(), memoryview(BODY), SECRET, now=NOW) == EVENT


header = st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"])


@given(
    st.dictionaries(header, st.text() | st.from_regex(r"v1,[A-Za-z0-9+/]{43}=|[0-9]{1,12}", fullmatch=True), min_size=1)
)
@example({"webhook-id": "\udcff"})  # what some servers make of a byte that is no UTF-8
@example({"webhook-signature": "v1,\udcff"})
def test_any_headers_raise_unverified_only(headers: dict[str, str]) -> None:
    """Whatever the headers contain."""
    with pytest.raises(Unverified):
        verify(signed() | headers, BODY, SECRET, now=NOW)
