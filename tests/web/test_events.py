"""Events over HTTP: what became of jobs, as a subscriber of any format is sent it."""

import json
from itertools import pairwise

import pytest

from relay import formats
from relay.formats import flat
from relay.model import FINAL_EVENTS, EventType
from tests.make import make_event
from tests.web.conftest import Api, assert_refused

EVENTS = "/v1/events"


async def test_an_event_has_the_body_that_was_sent(any_api: Api) -> None:
    """The standard body, byte for byte what a standing endpoint's delivery carries."""
    await any_api.make_endpoint()
    await any_api.post("/v1/registrations", {"job_id": "j1"}, 201)
    [delivery] = await any_api.deliver("j1")
    sent = json.loads((await any_api.get(f"/v1/deliveries/{delivery}"))["body"])
    [event] = (await any_api.get(EVENTS))["data"]
    assert event["body"] == sent
    assert {name: event[name] for name in ("type", "job_id", "workspace", "occurred_at", "created_at")} == {
        "type": "job.completed",
        "job_id": "j1",
        "workspace": "default",
        "occurred_at": "2024-03-01T12:00:00.000Z",
        "created_at": "2024-03-01T12:00:00.000Z",
    }


@pytest.mark.parametrize("format", formats.FORMATS)
async def test_each_format_shows_its_own_body(api: Api, format: str) -> None:
    """Samples have the body that an endpoint of that format gets."""
    mail = "smtp://mail.example.com/?from=relay@example.com&to=jane@example.com"
    await api.make_endpoint(format=format, url=mail if format == "email" else "https://example.com/ops")
    await api.post("/v1/registrations", {"job_id": "j1"}, 201)
    [delivery] = await api.deliver("j1")
    [event] = (await api.get(EVENTS, params={"format": format}))["data"]
    assert event["body"] == json.loads((await api.get(f"/v1/deliveries/{delivery}"))["body"])


async def test_the_flat_body_has_every_key(api: Api) -> None:
    """What Zapier maps is there, null where Exec gave nothing."""
    await api.register()
    await api.deliver()
    [event] = (await api.get(EVENTS, params={"format": "zapier"}))["data"]
    assert list(event["body"]) == list(flat.flat_fields(make_event(), None))
    assert event["body"]["registration_id"] is None


async def test_events_come_newest_first_in_pages(any_api: Api) -> None:
    """Every event once, however they are cut into pages."""
    for number in range(5):
        await any_api.register(f"j{number}")
        await any_api.deliver(f"j{number}")
        any_api.clock.advance(1)
    seen, cursor = [], None
    while True:
        page = await any_api.get(EVENTS, params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        seen += page["data"]
        if (cursor := page["next_cursor"]) is None:
            break
    assert [event["job_id"] for event in seen] == ["j4", "j3", "j2", "j1", "j0"]
    assert all(newer["created_at"] > older["created_at"] for newer, older in pairwise(seen))


async def test_events_are_found_by_kind_job_and_workspace(any_api: Api) -> None:
    """Each filter alone, and together."""
    for job_id, type in zip(("j0", "j1", "j2", "j3", "j4"), FINAL_EVENTS, strict=True):
        await any_api.register(job_id)
        await any_api.deliver(job_id, type)

    async def found(**params: str) -> list[str]:
        return [event["job_id"] for event in (await any_api.get(EVENTS, params=params))["data"]]

    assert await found(type="job.failed") == ["j1"]
    assert await found(job_id="j3") == ["j3"]
    assert await found(type="job.failed", job_id="j3") == []
    assert len(await found(workspace="default")) == len(FINAL_EVENTS)
    assert await found(type=EventType.STARTED.value) == []


@pytest.mark.parametrize(
    ("params", "code", "field"),
    [
        ({"format": "auto"}, "invalid_field", "format"),
        ({"format": "xml"}, "invalid_field", "format"),
        ({"type": "job.done"}, "invalid_field", "type"),
        ({"workspace": "other"}, "unknown_workspace", "workspace"),
        ({"limit": "0"}, "invalid_limit", "limit"),
        ({"cursor": "x"}, "invalid_cursor", "cursor"),
        ({"since": "2026-03-01T10:00:00Z"}, "unknown_parameter", "since"),
    ],
)
async def test_a_wrong_query_is_refused(api: Api, params: dict[str, str], code: str, field: str) -> None:
    """With the field at fault."""
    assert_refused(await api.http.get(EVENTS, params=params), 400, code, field)
