"""Invalid requests are refused with the field and what to write instead; nothing is stored, no value is repeated."""

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.web.core.request_parsing import MAX_BODY
from tests.web.conftest import Api, assert_refused, shared

REGISTRATIONS = "/v1/registrations"
URL = "https://example.com/callback"
CANARY = "hunter2"

pytestmark = shared


async def refused(api: Api, status: int, code: str, field: str | None, **request: Any) -> str:
    """POSTs a registration that must be refused. Returns the message."""
    before = (await api.stored(), api.relay.woken)
    answer = await api.http.post(REGISTRATIONS, **request)
    message = assert_refused(answer, status, code, field)
    assert CANARY not in answer.text
    assert (await api.stored(), api.relay.woken) == before
    return message


def nested(depth: int) -> Any:
    """An object in an object, so many deep."""
    return {"a": nested(depth - 1)} if depth > 1 else {}


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "empty"),
        (b"   ", "empty"),
        (b"{", "EOF while parsing an object at line 1, column 1"),
        (b'{"job_id": "j1",}', "trailing comma at line 1, column 17"),
        (b'{\n"job_id": hunter2}', "line 2, column 11"),
        (b"{'job_id': 'j1'}", "column 2"),
        (b'{"job_id": "j1"} hunter2', "column 18"),
        (b'\xef\xbb\xbf\xef\xbb\xbf{"job_id": "j1"}', "line 1"),
        (b'\xff\xfe{"job_id": "j1"}', "not UTF-8"),
        (b'{"job_id": "j1", "metadata": ' + b'{"a":' * 100 + b"1" + b"}" * 101, "nested too deep"),
        (b'{"job_id": "j1", "job_id": "hunter2"}', "twice"),
        (b'{"job_id": "j1", "metadata": {"a": 1, "a": 2}}', "twice"),
        (b'{"job_id": "j1", "metadata": {"a": NaN}}', "NaN"),
        (b'{"job_id": "j1", "metadata": {"a": -Infinity}}', "-Infinity"),
        (b'{"job_id": "j1", "metadata": {"a": 1e999}}', "too large"),
        (b'{"job_id": "j1", "metadata": {"a": 1' + b"0" * 5_000 + b"}}", "too large"),
        (b'{"job_id": "j1", "metadata": {"a": "\\ud800"}}', "surrogate"),
        (b'{"job_id": "j1", "metadata": {"\\udfff": 1}}', "surrogate"),
        ('{"job_id": "j\u00f6"}'.encode("latin-1"), "UTF-8"),
        ('{"job_id": "j1"}'.encode("utf-16"), "UTF-8"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deep"),
        (b'{"a":' * 40_000, "nested too deep"),
    ],
)
async def test_malformed_json_is_refused(shared_api: Api, raw: bytes, says: str) -> None:
    """Malformed JSON gets 400, with line and column if known."""
    assert says in await refused(shared_api, 400, "invalid_json", None, content=raw)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ([], "invalid_field", None),
        ("hunter2", "invalid_field", None),
        (None, "invalid_field", None),
        ({}, "missing_field", "job_id"),
        ({"job_id": None}, "invalid_job_id", "job_id"),
        ({"job_id": 12}, "invalid_job_id", "job_id"),
        ({"job_id": ["j1"]}, "invalid_job_id", "job_id"),
        ({"job_id": ""}, "invalid_job_id", "job_id"),
        ({"job_id": "a" * 129}, "invalid_job_id", "job_id"),
        ({"job_id": "a" * 100_000}, "invalid_job_id", "job_id"),
        ({"job_id": "../hunter2"}, "invalid_job_id", "job_id"),
        ({"job_id": "j1%2F.."}, "invalid_job_id", "job_id"),
        ({"job_id": "j1?x=1"}, "invalid_job_id", "job_id"),
        ({"job_id": "j1\n"}, "invalid_job_id", "job_id"),
        ({"job_id": "j\u0000"}, "invalid_job_id", "job_id"),
        ({"job_id": "jöb"}, "invalid_job_id", "job_id"),
        ({"job_id": "\u0661\u0662"}, "invalid_job_id", "job_id"),
        ({"job_id": "j1", "workspace": "hunter2"}, "unknown_workspace", "workspace"),
        ({"job_id": "j1", "workspace": ""}, "invalid_field", "workspace"),
        ({"job_id": "j1", "callback_url": URL, "endpoint": "ops"}, "two_endpoints", "endpoint"),
        ({"job_id": "j1", "endpoint": "hunter2"}, "unknown_endpoint", "endpoint"),
        ({"job_id": "j1", "endpoint": "ep_\u0000"}, "invalid_field", "endpoint"),
        ({"job_id": "j1", "secret": "hunter2"}, "missing_field", "callback_url"),
        ({"job_id": "j1", "headers": {"a": "hunter2"}}, "missing_field", "callback_url"),
        ({"job_id": "j1", "format": "slack"}, "missing_field", "callback_url"),
        ({"job_id": "j1", "callback_url": URL, "secret": "hunter2"}, "invalid_secret", "secret"),
        ({"job_id": "j1", "callback_url": URL, "secret": "whsec_hunter2"}, "invalid_secret", "secret"),
        ({"job_id": "j1", "callback_url": URL, "format": "hunter2"}, "unknown_format", "format"),
        ({"job_id": "j1", "callback_url": URL, "format": None}, "invalid_field", "format"),
        ({"job_id": "j1", "callback_url": URL, "events": []}, "invalid_events", "events"),
        ({"job_id": "j1", "callback_url": URL, "events": "job.failed"}, "invalid_events", "events"),
        ({"job_id": "j1", "callback_url": URL, "events": ["job.failed", "hunter2"]}, "invalid_events", "events[1]"),
        ({"job_id": "j1", "callback_url": URL, "events": [True]}, "invalid_events", "events[0]"),
        ({"job_id": "j1", "callback_url": URL, "events": ["job.failed"] * 21}, "invalid_events", "events"),
        ({"job_id": "j1", "callback_url": URL, "headers": ["a"]}, "invalid_headers", "headers"),
        ({"job_id": "j1", "callback_url": URL, "headers": {"a": 1}}, "invalid_headers", "headers.a"),
        ({"job_id": "j1", "callback_url": URL, "headers": {"a b": "hunter2"}}, "invalid_headers", "headers"),
        ({"job_id": "j1", "callback_url": URL, "headers": {"a": "x\r\nhunter2: y"}}, "invalid_headers", "headers"),
        ({"job_id": "j1", "callback_url": URL, "headers": {"Host": "hunter2"}}, "invalid_headers", "headers"),
        ({"job_id": "j1", "callback_url": URL, "headers": {"Webhook-Id": "x"}}, "invalid_headers", "headers"),
        (
            {"job_id": "j1", "callback_url": URL, "headers": {f"a{n}": "x" for n in range(21)}},
            "invalid_headers",
            "headers",
        ),
        ({"job_id": "j1", "metadata": "hunter2"}, "invalid_metadata", "metadata"),
        ({"job_id": "j1", "metadata": [1]}, "invalid_metadata", "metadata"),
        ({"job_id": "j1", "metadata": {"a": "x" * 16_400}}, "invalid_metadata", "metadata"),
        ({"job_id": "j1", "metadata": nested(11)}, "invalid_metadata", "metadata"),
        ({"job_id": "j1", "metadata": nested(98)}, "invalid_metadata", "metadata"),
        ({"job_id": "j1", "jobid": "hunter2"}, "unknown_field", "jobid"),
        ({"job_id": "j1", "": "hunter2"}, "unknown_field", None),
        ({"job_id": "j1", "ü\n": "hunter2"}, "unknown_field", "??"),
        ({"job_id": "j1", "x" * 5_000: "hunter2"}, "unknown_field", "x" * 100),
    ],
)
async def test_malformed_registrations_are_refused(shared_api: Api, body: Any, code: str, field: str | None) -> None:
    """Each wrong field is refused by its name and a code of its own."""
    await refused(shared_api, 400, code, field, content=json.dumps(body))


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "invalid_url"),
        ("hunter2", "invalid_url"),
        ("https://", "invalid_url"),
        ("https:///hunter2", "invalid_url"),
        ("https://?hunter2", "invalid_url"),
        ("https://user:hunter2@example.com/", "invalid_url"),
        ("https://example.com:0/", "invalid_url"),
        ("https://example.com:65536/", "invalid_url"),
        ("https://example.com:hunter2/", "invalid_url"),
        ("https://example.com:-1/", "invalid_url"),
        ("http://example.com/hunter2", "https_required"),
        ("ftp://example.com/hunter2", "invalid_url"),
        ("file:///etc/hunter2", "invalid_url"),
        ("javascript:hunter2", "invalid_url"),
        ("//example.com/hunter2", "invalid_url"),
        ("https://example.com/a b", "invalid_url"),
        ("https://example.com/\r\nhunter2", "invalid_url"),
        ("https://example.com/\u0000", "invalid_url"),
        ("https://127.0.0.1/hunter2", "blocked_address"),
        ("https://localhost/hunter2", "blocked_address"),
        ("https://169.254.169.254/hunter2", "blocked_address"),
        ("https://[::1]/", "blocked_address"),
        ("https://2130706433/", "invalid_url"),
        ("https://example.com/" + "a" * 2_048, "invalid_url"),
        (["https://example.com/"], "invalid_url"),
        (5, "invalid_url"),
    ],
)
async def test_malformed_callback_urls_are_refused(shared_api: Api, url: Any, code: str) -> None:
    """A URL that can't or may not be called is refused at registration, and not shown."""
    await refused(shared_api, 400, code, "callback_url", json={"job_id": "j1", "callback_url": url})


async def test_an_unknown_field_names_the_right_one(shared_api: Api) -> None:
    """A slip of the pen is answered with the name that was meant."""
    message = await refused(shared_api, 400, "unknown_field", "callbackUrl", json={"job_id": "j1", "callbackUrl": URL})
    assert message == 'callbackUrl is not known here; did you mean "callback_url"?'


async def test_a_missing_field_is_described(shared_api: Api) -> None:
    """What is missing is described."""
    message = await refused(shared_api, 400, "missing_field", "job_id", json={"callback_url": URL})
    assert message == "job_id is missing; it is Exec's id of the job: 1 to 128 letters, digits, - or _"


@pytest.mark.parametrize("depth", [1, 10])
async def test_metadata_up_to_its_limits_is_accepted(shared_api: Api, depth: int) -> None:
    """Ten deep and 16 KiB, unchanged."""
    metadata = nested(depth) | {"b": "ü" * 7_900, "n": 10**300, "f": 0.1}
    made = await shared_api.register(f"depth{depth}", metadata=metadata)
    found = await shared_api.http.get(f"{REGISTRATIONS}/{made['id']}")
    assert json.loads(found.content)["metadata"] == metadata


# --- bodies ----------------------------------------------------------------------------------------------------


async def chunks(total: int) -> AsyncIterator[bytes]:
    """So many bytes, in pieces."""
    for _ in range(total // 1_024):
        yield b" " * 1_024


async def test_a_long_body_is_refused(shared_api: Api) -> None:
    """Over 256 KiB is 413, whether it says so or comes in chunks; the line is closed on the rest."""
    before = await shared_api.stored()
    said = await shared_api.http.post(REGISTRATIONS, content=b" " * (MAX_BODY + 1))
    chunked = await shared_api.http.post(REGISTRATIONS, content=chunks(MAX_BODY + 1_024))
    lied = await shared_api.http.post(REGISTRATIONS, content=b"{}", headers={"content-length": str(MAX_BODY + 1)})
    for answer in (said, chunked, lied):
        assert_refused(answer, 413, "body_too_large")
        assert answer.headers["connection"] == "close"
    assert await shared_api.stored() == before
    just = b'{"job_id": "j1"}'
    answer = await shared_api.http.post(REGISTRATIONS, content=just + b" " * (MAX_BODY - len(just)))
    assert answer.is_success


@pytest.mark.parametrize(
    "said", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"]
)
async def test_another_content_type_is_refused(shared_api: Api, said: str) -> None:
    """Another content-type, or another charset, is 415."""
    await refused(
        shared_api, 415, "unsupported_media_type", None, content=b'{"job_id": "j1"}', headers={"content-type": said}
    )


@pytest.mark.parametrize(
    "said", ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"']
)
async def test_json_content_types_are_accepted(shared_api: Api, said: str) -> None:
    """JSON is taken with its charset and without."""
    answer = await shared_api.http.post(REGISTRATIONS, content=b'{"job_id": "j1"}', headers={"content-type": said})
    assert answer.is_success


async def test_a_missing_content_type_counts_as_json(shared_api: Api) -> None:
    """A missing content-type counts as JSON."""
    assert (await shared_api.http.post(REGISTRATIONS, content=b'{"job_id": "j1"}')).is_success


async def test_a_compressed_body_is_refused(shared_api: Api) -> None:
    """The relay decompresses nothing; `identity` says that there is nothing to decompress."""
    for encoding, status in (("gzip", 415), ("br", 415), ("identity", 201)):
        headers = {"content-type": "application/json", "content-encoding": encoding}
        answer = await shared_api.http.post(REGISTRATIONS, content=b'{"job_id": "j-encoded"}', headers=headers)
        assert answer.status_code == status


@shared
@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "identity, gzip", "GZIP"])
async def test_a_compressed_body_gets_415(shared_api: Api, encoding: str) -> None:
    """The relay decompresses nothing."""
    before = await shared_api.stored()
    body = gzip.compress(b'{"job_id": "j1"}')
    code, field = "unsupported_content_encoding", "content-encoding"
    headers = {"content-encoding": encoding, "content-type": "application/json"}
    answer = await shared_api.http.post("/v1/registrations", content=body, headers=headers)
    assert "compressed" in assert_refused(answer, 415, code, field)
    assert await shared_api.stored() == before


async def test_a_byte_order_mark_is_ignored(api: Api) -> None:
    """Editors and .NET write one before JSON in UTF-8."""
    content = b"\xef\xbb\xbf" + b'{"job_id": "j1"}'
    answer = await api.http.post("/v1/registrations", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 201
