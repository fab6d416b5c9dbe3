"""Sending over HTTP: suspended, resumed, and what waits discarded."""

from relay.model import Actor, AuditAction, Via
from relay.store import Page
from relay.store.tables import audit
from tests.web.conftest import Api, assert_refused


async def test_suspended_sending_is_shown_and_resumed(any_api: Api) -> None:
    """With the time, the reason, and the deliveries that wait; each change is in the audit log once."""
    await any_api.register()
    await any_api.deliver()
    idle = {"suspended": False, "since": None, "reason": None, "waiting": 0}
    assert await any_api.get("/v1/sending") == idle
    suspended = {"suspended": True, "since": "2024-03-01T12:00:00.000Z", "reason": "it was suspended by hand"}
    for _ in range(2):
        any_api.clock.advance(0)
        assert await any_api.post("/v1/sending/suspend") == suspended | {"waiting": 1}
    assert await any_api.get("/v1/sending") == suspended | {"waiting": 1}
    for _ in range(2):
        assert await any_api.post("/v1/sending/resume") == idle
    rows, _ = await any_api.relay.store.read(lambda tx: audit.page(tx, Page()))
    here = Actor(via=Via.API, address="127.0.0.1")
    assert {(row.action, row.actor) for row in rows} == {
        (AuditAction.SENDING_SUSPENDED, here),
        (AuditAction.SENDING_RESUMED, here),
    }
    assert len(rows) == 2


async def test_waiting_deliveries_are_discarded(any_api: Api) -> None:
    """They are cancelled, once; without a suspension nothing is."""
    await any_api.register()
    [id] = await any_api.deliver()
    assert_refused(await any_api.http.post("/v1/sending/discard"), 409, "sending_not_suspended")
    await any_api.post("/v1/sending/suspend")
    assert await any_api.post("/v1/sending/discard") == {"discarded": 1}
    shown = await any_api.get(f"/v1/deliveries/{id}")
    assert (shown["status"], shown["reason"]) == ("cancelled", "discarded: the store was restored or cloned")
    assert (await any_api.get("/v1/sending"))["suspended"] is False
    assert_refused(await any_api.http.post("/v1/sending/discard"), 409, "sending_not_suspended")
