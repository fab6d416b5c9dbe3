"""Short texts of requests, settings and answers: times, waits, cursors, ids, secrets, durations, addresses."""

import contextlib
from collections.abc import Callable

from relay.backoff import retry_after
from relay.config import parsers
from relay.egress import EgressRules, blocked_reason
from relay.errors import RequestError
from relay.model import DAY, from_rfc3339, to_rfc3339
from relay.model.duration_history import DurationHistory
from relay.signing.standard_webhooks import check_secret
from relay.store.engine import paging
from relay.web.core import path_params, request_parsing
from relay.web.core.idempotency import KEY
from relay.web.schemas.queries import DeliveriesQuery, JobsQuery
from tests.fuzz.target import Target, text_of

SETTINGS = (
    *(parsers.duration, parsers.share, parsers.boolean, parsers.name, parsers.host, parsers.url, parsers.base_url),
    *(parsers.store_url, parsers.network, parsers.format_name, parsers.exec_key, parsers.signing_secret),
    *(parsers.api_key, parsers.key_hash, parsers.integer_between(1, 10), parsers.duration_between("1s", "1h")),
)


def times(data: bytes) -> None:
    text = text_of(data)
    wait = retry_after(text, 1_709_294_400_000, DAY)
    assert wait is None or 0 <= wait <= DAY
    if (at := from_rfc3339(text)) is not None:
        assert from_rfc3339(to_rfc3339(at)) == at
    request_parsing.validated(DeliveriesQuery, {"since": text, "until": text})


def pages(data: bytes) -> None:
    text = text_of(data)
    KEY.fullmatch(text)
    with contextlib.suppress(RequestError):
        request_parsing.validated(JobsQuery, {"limit": text[:20], "cursor": text})
    place = paging.decode(text)
    assert paging.decode(paging.encode(*place)) == place


def names(data: bytes) -> None:
    text = text_of(data)
    blocked_reason(text, EgressRules())
    readers: tuple[Callable[[], str], ...] = (
        lambda: path_params.parse_id(text, "endpoint"),
        lambda: path_params.job_id(text),
    )
    for read in readers:
        with contextlib.suppress(RequestError):
            assert read().isascii()
    check_secret(text)


def settings(data: bytes) -> None:
    text = text_of(data)
    for read in SETTINGS:
        with contextlib.suppress(ValueError):
            read(text)


def durations(data: bytes) -> None:
    DurationHistory.from_json(text_of(data)).to_json()


TIMES = Target(
    "times",
    times,
    (RequestError,),
    (b"2024-03-01T10:00:00.123456789+23:59", b"Fri, 01 Mar 2024 10:00:30 GMT", b"7.5", b"9" * 400, b"-1", b"1e5"),
    longest=1_024,
)
PAGES = Target(
    "pages", pages, (RequestError,), (b"MTcwOTI5NDQwMDAwMDpyZWdfMDE", b"=" * 50, b"50", "٤".encode()), longest=1_024
)
NAMES = Target(
    "names",
    names,
    (RequestError,),
    (b"ep_01HQWY5CG0", b"whsec_" + b"A" * 32, b"fe80::1%eth0", b"::ffff:127.0.0.1", b"j1\n", b"0x7f.1"),
    longest=1_024,
)
SETTINGS_TARGET = Target(
    "settings", settings, (), (b"1h30m", b"80%", b"true", b"10.0.0.0/8", b"sqlite:///a", b"9" * 5_000, b"1s" * 500)
)
LEARNED = Target(
    "learned",
    durations,
    (ValueError,),
    (
        b'{"completed": [[1, 2.5]], "unfinished": [7], "queue_times": [1]}',
        b"[]",
        b"{}",
        b"null",
        b'{"a": NaN}',
        DurationHistory().to_json().encode(),
    ),
)
