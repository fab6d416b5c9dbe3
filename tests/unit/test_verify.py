"""Verifying: what was signed as the specification says is accepted, and nothing else."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from email.message import Message
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from relay.errors import ValidationFailed
from relay.model import SECOND, Secret
from relay.signing import standard_webhooks
from relay.signing.standard_webhooks import SignatureScheme
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


def test_a_signature_of_another_library_is_accepted() -> None:
    """A request signed by the `standardwebhooks` package, not by us, is verified and parsed."""
    at = datetime.fromtimestamp(NOW // SECOND, UTC)
    headers = {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(NOW // SECOND),
        "Webhook-Signature": Webhook(SECRET).sign("msg_1", at, BODY.decode()),
    }
    assert verify(headers, BODY, SECRET, now=NOW) == EVENT


def test_without_now_the_clock_is_read() -> None:
    """A request signed just now passes, one signed at an old `now` is stale."""
    assert verify(signed(at=time.time_ns() // 1_000_000), BODY.decode(), SECRET) == EVENT
    with pytest.raises(TimestampTooOld):
        verify(signed(), BODY, SECRET)


def test_one_of_several_secrets_and_signatures_is_enough() -> None:
    """While a secret rotates, on either side, a request is verified with the one that fits."""
    assert verify(signed(), BODY, [OTHER, SECRET], now=NOW) == EVENT
    both = standard_webhooks.headers("evt_1", BODY, [Secret(OTHER), Secret(SECRET, until=NOW + 1)], NOW)
    assert verify(both, BODY, SECRET, now=NOW) == EVENT
    strange = signed()
    strange["webhook-signature"] = f"v1a,AAAA é v2 {strange['webhook-signature']}"
    assert verify(strange, BODY, SECRET, now=NOW) == EVENT


def test_the_number_of_checked_signatures_is_limited() -> None:
    """Ten are polled, twice what the relay signs with; each costs the receiver time, a false one too."""
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
def test_a_timestamp_that_is_not_a_number_is_refused(timestamp: str) -> None:
    """Only plain digits name an instant."""
    with pytest.raises(MissingHeader, match="webhook-timestamp"):
        verify(signed() | {"webhook-timestamp": timestamp}, BODY, SECRET, now=NOW)


def test_the_window_is_five_minutes_either_way() -> None:
    """To the edge of the tolerance a request passes; beyond it is stale, or from the future."""
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
def test_any_changed_part_is_refused(changed: dict[str, str], body: bytes, secrets: str | list[str]) -> None:
    """Another body, secret, id, timestamp or scheme fits no signature."""
    with pytest.raises(BadSignature):
        verify(signed() | changed, body, secrets, now=NOW)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"\xff", b"{", b"[" * 100_000])
def test_a_signed_body_that_is_not_an_object_is_its_own_error(body: bytes) -> None:
    """What is signed but no JSON object is an error of its own."""
    with pytest.raises(InvalidBody):
        verify(signed(body), body, SECRET, now=NOW)


def test_an_invalid_secret_is_the_caller_s_error() -> None:
    """A wrong secret in the caller's own hands is no forged request."""
    with pytest.raises(ValidationFailed, match="whsec_"):
        verify(signed(), BODY, "hunter2", now=NOW)


def test_a_private_key_is_refused_for_verification() -> None:
    """The error asks for the public key, and does not repeat the private one."""
    private = standard_webhooks.new_secret(b"p" * 32, SignatureScheme.ED25519)
    with pytest.raises(ValidationFailed, match="whpk_") as refused:
        verify(signed(secret=private), BODY, private, now=NOW)
    assert private not in str(refused.value)


def test_a_text_with_lone_surrogates_is_refused() -> None:
    """Half a surrogate pair was never among the bytes that came: the error says what to give instead."""
    with pytest.raises(BadSignature, match="bytes as they came"):
        verify(signed(), BODY.decode() + "\udcff", SECRET, now=NOW)


@pytest.mark.parametrize("body", [EVENT, [EVENT], 5])
def test_a_parsed_body_is_refused_with_a_hint(body: Any) -> None:
    """The mistake that is made most: what a framework parsed has lost its signature."""
    with pytest.raises(TypeError, match="before they are parsed"):
        verify(signed(), body, SECRET, now=NOW)


def test_a_request_without_a_body_is_unverified() -> None:
    """Anybody can send one; some clouds hand it over as None."""
    with pytest.raises(BadSignature, match="no body"):
        verify(signed(), None, SECRET, now=NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize("secrets", [None, b"whsec_x", [None], 5, [SECRET, b"x"]])
def test_a_secret_that_is_no_text_is_named(secrets: Any) -> None:
    """A variable that is not set is the caller's mistake, and the error says so."""
    with pytest.raises(ValidationFailed, match="is it configured"):
        verify(signed(), BODY, secrets, now=NOW)


def test_a_secret_read_from_a_file_may_end_with_a_line_break() -> None:
    """Blanks around it are left out."""
    assert verify(signed(), BODY, [f" {SECRET}\r\n"], now=NOW) == EVENT


def test_verify_is_imported_as_documented() -> None:
    """From `relay` and from `relay.verify` alike, whichever came first, and without what only the service needs."""
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
    """Headers of a class that is no Mapping, as Werkzeug's and Django's are."""

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = headers

    def items(self) -> list[tuple[str, str]]:
        return [(name.title(), value) for name, value in self._headers.items()]


def parsed_message(headers: dict[str, str]) -> Message:
    """As http.server and http.client have them."""
    message = Message()
    for name, value in headers.items():
        message[name.title()] = value
    return message


SHAPES: dict[str, Any] = {
    "a dict": dict,
    "CloudFront's lists of objects": lambda headers: {
        name: [{"key": name.title(), "value": value}] for name, value in headers.items()
    },
    "a list of objects": lambda headers: [{"name": name, "value": value} for name, value in headers.items()],
    "a message of email": lambda headers: parsed_message(headers),
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
def test_headers_are_read_as_frameworks_hand_them_over(shape: str) -> None:
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


def test_the_last_of_repeated_headers_counts() -> None:
    """Pairs with an empty repetition keep the value; of two values the later one is used."""
    pairs = [*signed().items(), ("webhook-id", "")]
    assert verify(pairs, BODY, SECRET, now=NOW) == EVENT
    with pytest.raises(BadSignature):
        verify([*signed().items(), ("Webhook-Id", "evt_2")], BODY, SECRET, now=NOW)


def test_a_memoryview_is_a_body() -> None:
    """Some servers pass the body as a memoryview."""
    assert verify(signed(), memoryview(BODY), SECRET, now=NOW) == EVENT


header = st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"])


@given(
    st.dictionaries(header, st.text() | st.from_regex(r"v1,[A-Za-z0-9+/]{43}=|[0-9]{1,12}", fullmatch=True), min_size=1)
)
@example({"webhook-id": "\udcff"})  # what some servers make of a byte that is no UTF-8
@example({"webhook-signature": "v1,\udcff"})
def test_any_headers_raise_only_unverified(headers: dict[str, str]) -> None:
    """Whatever one or more of the headers hold instead, the answer is Unverified."""
    with pytest.raises(Unverified):
        verify(signed() | headers, BODY, SECRET, now=NOW)
