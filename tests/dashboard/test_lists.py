"""The lists of jobs and deliveries without a browser: filters, groups, paging, and resending a selection."""

import re
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import update

from relay.model import DeliveryStatus, from_rfc3339
from relay.store.engine.schema import deliveries as delivery_rows
from relay.store.tables import deliveries
from relay.web.dashboard.list_filters import parse_time
from tests.conftest import Clock
from tests.web.conftest import Api, open_api

ENDPOINTS = [{"name": f"receiver-{number}", "url": f"https://r{number}.example/"} for number in range(3)]
HTML = {"accept": "text/html"}


@pytest.fixture
async def open_relay(sqlite_url: str, clock: Clock) -> AsyncIterator[Api]:
    """A relay without keys, whose three endpoints get every job."""
    async with open_api(sqlite_url, clock, endpoints=ENDPOINTS) as opened:
        await opened.relay.reload(lambda: opened.relay.config)
        yield opened


async def ended(api: Api, job_id: str, failed_at: int | None = None) -> list[str]:
    """A job with three deliveries, of which the one to this receiver failed with 503. Their ids."""
    await api.post("/v1/registrations", {"job_id": job_id, "metadata": {"customer": f"c-{job_id}"}}, 201)
    ids = await api.deliver(job_id)
    for number, id in enumerate(sorted(ids, key=lambda id: id)):
        failed = number == failed_at
        values = {"status": "failed" if failed else "delivered", "status_code": 503 if failed else 200, "attempts": 1}
        query = update(delivery_rows).where(delivery_rows.c.id == id)
        await api.relay.store.write(
            lambda tx, query=query, values=values: tx.execute(  # type: ignore[misc]
                query.values(**values, ended_at=api.clock(), next_attempt_at=None)
            )
        )
    api.clock.advance(1_000)
    return ids


async def text_of(api: Api, path: str, **query: str) -> str:
    answer = await api.http.get(path, params=query or None, headers=HTML)
    assert answer.status_code == 200, answer.text
    return answer.text


def rows_of(text: str) -> int:
    """Rows of the table of events."""
    return text.count("<tr>") - 1


async def test_one_event_is_one_row_with_its_endpoints(open_relay: Api) -> None:
    """On the list and on the overview; a filter shows what matches, and how many others there are."""
    ids = await ended(open_relay, "j1", failed_at=1)
    for path in ("/deliveries", "/"):
        text = await text_of(open_relay, path)
        assert text.count(">job.completed</a>") == 1, path
        assert all(f'href="/deliveries/{id}"' in text for id in ids)
    text = await text_of(open_relay, "/deliveries", status="failed")
    assert rows_of(text) == 1
    assert sum(f'href="/deliveries/{id}"' in text for id in ids) == 1
    assert "2 other deliveries" in text


async def test_filters_stay_on_older_pages_and_lead_back(open_relay: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event is on one page, the links keep the filters, and the first page is one link away."""
    for number in range(45):
        await ended(open_relay, f"j{number}")
    seen: list[str] = []
    path = "/deliveries?status=delivered&http_status=2xx"
    while True:
        text = await text_of(open_relay, path)
        seen += [f"j{number}" for number in range(45) if f'href="/jobs/default/j{number}"' in text]
        links = [part.split('"')[0] for part in text.split('rel="next" href="')[1:]]
        if not links:
            break
        path = links[0].replace("&amp;", "&")
        query = parse_qs(urlsplit(path).query)
        assert (query["status"], query["http_status"]) == (["delivered"], ["2xx"])
    assert sorted(seen) == sorted({f"j{number}" for number in range(45)})
    assert 'href="/deliveries?status=delivered&amp;http_status=2xx">Newest' in text
    assert "Clear filters" in text


@pytest.mark.parametrize(
    ("query", "jobs"),
    [
        ({"metadata": "customer=c-j1"}, {"j1"}),
        ({"http_status": "503"}, {"j2"}),
        ({"endpoint": "receiver-0"}, {"j1", "j2"}),
        ({"since": "2024-03-01T12:00:01Z"}, {"j2"}),
        ({"until": "2024-02-28"}, set()),
        ({"since": "2024-03-01", "until": "2024-03-01"}, {"j1", "j2"}),
        ({"event_type": "job.failed"}, set()),
    ],
)
async def test_filters_of_jobs_and_deliveries(open_relay: Api, query: dict[str, str], jobs: set[str]) -> None:
    """Both lists have them in the URL; each is shown with a link that removes it."""
    await ended(open_relay, "j1")
    await ended(open_relay, "j2", failed_at=0)
    for path in ("/jobs", "/deliveries"):
        answer = await open_relay.http.get(path, params=query, headers=HTML, follow_redirects=True)
        assert {job for job in ("j1", "j2") if f'href="/jobs/default/{job}"' in answer.text} == jobs, (path, query)
        assert "Remove the filter" in answer.text


async def test_a_day_in_a_form_becomes_absolute_times(open_relay: Api) -> None:
    """So that the link means the same to everybody; the end of the range is the end of the day."""
    answer = await open_relay.http.get("/jobs?since=2024-03-01&until=2024-03-01&state=active", headers=HTML)
    query = {name: value for name, [value] in parse_qs(urlsplit(answer.headers["location"]).query).items()}
    assert answer.status_code == 303
    assert query == {"state": "active", "since": "2024-03-01T00:00:00.000Z", "until": "2024-03-02T00:00:00.000Z"}
    answer = await open_relay.http.get(answer.headers["location"], headers=HTML)
    assert 'value="2024-03-02T00:00:00"' in answer.text


@pytest.mark.parametrize(
    ("text", "zone", "is_end", "meant"),
    [
        ("2026-03-01T10:00:00 02:00", "UTC", False, "2026-03-01T08:00:00Z"),
        ("2026-03-01T10:00:00+02:00", "UTC", False, "2026-03-01T08:00:00Z"),
        ("2026-03-01T10:00", "Asia/Tokyo", False, "2026-03-01T01:00:00Z"),
        ("2026-03-01", "Asia/Tokyo", False, "2026-02-28T15:00:00Z"),
        ("2026-03-01", "Asia/Tokyo", True, "2026-03-01T15:00:00Z"),
        ("2026-03-29", "Europe/Berlin", True, "2026-03-29T22:00:00Z"),
    ],
)
def test_times_of_filters(text: str, zone: str, is_end: bool, meant: str) -> None:
    """A lost + is read as one; days are days of the zone, their end included."""
    assert parse_time(text, ZoneInfo(zone), is_end=is_end) == from_rfc3339(meant)


@pytest.mark.parametrize(
    "text",
    [
        *("yesterday", "2026-13-01", "2026-03-01T25:00", "2026-03-01T10:00:00 2"),
        *("0001-01-01", "0001-01-01T00:00+23:59", "9999-12-31", "9999-12-31T23:59-23:59", "9999-12-31T23:59Z"),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize("is_end", [False, True])
def test_what_is_no_time(text: str, zone: str, is_end: bool) -> None:
    """It is refused, and so is a time that not every zone can write."""
    with pytest.raises(ValueError, match="."):
        parse_time(text, ZoneInfo(zone), is_end=is_end)


@pytest.mark.parametrize(
    "query",
    [
        "since=soon",
        "until=9999-12-31",
        "since=0001-01-01T00:00%2B23:59",
        "http_status=abc",
        "metadata=acme",
        "endpoint=nobody",
        "status=odd",
    ],
)
async def test_wrong_filters_are_explained(open_relay: Api, query: str) -> None:
    """A page says which, and what to write."""
    answer = await open_relay.http.get(f"/deliveries?{query}", headers=HTML)
    assert answer.status_code == 400
    assert query.split("=")[0] in answer.text or "endpoint" in answer.text


async def post(api: Api, **fields: str) -> httpx.Response:
    return await api.http.post("/deliveries/resend", data=fields)


async def statuses(api: Api, ids: list[str]) -> list[str]:
    rows = [await api.relay.store.read(lambda tx, id=id: deliveries.get(tx, id)) for id in ids]  # type: ignore[misc]
    return [row.status.value for row in rows if row is not None]


async def test_a_selection_is_resent(open_relay: Api) -> None:
    """The ticked deliveries and no others; an empty selection says so; the filters stay, but for the status."""
    first, second = await ended(open_relay, "j1", failed_at=0), await ended(open_relay, "j2", failed_at=0)
    answer = await post(open_relay, action="selected", status="failed", http_status="5xx")
    assert "notice=none-selected" in answer.headers["location"]
    answer = await post(open_relay, action="selected", http_status="5xx", status="failed", **{first[0]: "on"})
    assert answer.headers["location"] == "/deliveries?http_status=5xx&notice=selected-resent"
    assert (await statuses(open_relay, first)).count("pending") == 1
    assert "pending" not in await statuses(open_relay, second)


async def test_all_that_match_are_resent(open_relay: Api) -> None:
    """Those that match the filters of the list; without a status nothing is resent."""
    first, second = await ended(open_relay, "j1", failed_at=0), await ended(open_relay, "j2", failed_at=1)
    text = await text_of(open_relay, "/deliveries", status="failed", metadata="customer=c-j2")
    assert "1 failed delivery" in text
    assert (await post(open_relay, action="all", metadata="customer=c-j2")).status_code == 400
    answer = await post(open_relay, action="all", status="failed", metadata="customer=c-j2")
    assert "status=pending" in answer.headers["location"]
    assert (await statuses(open_relay, second)).count("pending") == 1
    assert DeliveryStatus.FAILED.value in await statuses(open_relay, first)


async def test_a_job_is_found_by_its_request_id(open_relay: Api) -> None:
    """And by a value of its metadata."""
    await ended(open_relay, "j1")
    await ended(open_relay, "j2")
    from relay.store.engine.schema import registrations

    named = update(registrations).where(registrations.c.job_id == "j2").values(request_id="order-4711")
    await open_relay.relay.store.write(lambda tx: tx.execute(named))
    for text, job in (("order-4711", "j2"), ("c-j1", "j1")):
        page = await text_of(open_relay, "/search", q=text)
        assert {one for one in ("j1", "j2") if f'href="/jobs/default/{one}"' in page} == {job}


KEY = "relay_key_0123456789abcdef"


@pytest.mark.parametrize("prefix", ["/relay", ""])
async def test_every_link_is_below_the_base_path(sqlite_url: str, clock: Clock, prefix: str) -> None:
    """For a proxy that keeps the path and for one that strips it: links, forms, files and redirects have it."""
    public = "https://tools.example.com/relay"
    keys = {"api_keys": [{"name": "all", "key": KEY}]}
    async with open_api(sqlite_url, clock, endpoints=ENDPOINTS, server={"public_url": public}, security=keys) as api:
        await api.relay.reload(lambda: api.relay.config)
        api.http.headers["authorization"] = f"Bearer {KEY}"
        await ended(api, "j1", failed_at=0)
        form = {"api_key": KEY, "csrf": "", "next": "/deliveries?status=failed"}
        origin = {"origin": "https://tools.example.com", "host": "tools.example.com"}
        login = await api.http.post(f"{prefix}/login", data=form, headers=origin)
        assert login.headers["location"] == "/relay/deliveries?status=failed"
        user = {**HTML, **origin, "cookie": login.headers["set-cookie"].split(";")[0]}
        seen, open_links = set[str](), ["/relay/", "/relay/deliveries?until=2024-03-01", "/relay/jobs?http_status=5xx"]
        while open_links:
            link = open_links.pop()
            path = prefix + link.removeprefix("/relay")
            answer = await api.http.get(path, headers=user)
            links = re.findall(r'(?:href|action|src|hx-get|hx-post|sse-connect)="([^"#]+)', answer.text)
            links += [answer.headers["location"]] if "location" in answer.headers else []
            assert [one for one in links if not one.startswith("/relay/")] == [], link
            for one in {one.replace("&amp;", "&").partition("#")[0] for one in links} - seen:
                seen.add(one)
                if not re.search(r"/(static|live|readyz|openapi|logout)|cursor=", one):
                    open_links.append(one)
        assert len(seen) > 30
