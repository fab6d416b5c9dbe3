"""Standing endpoints: what the configuration says, and what the store has of it."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import pytest

from relay import registration
from relay.config import EndpointSection
from relay.delivery.enqueue import enqueue
from relay.endpoints import admin as standing
from relay.endpoints import spec
from relay.endpoints.admin import OLD_SECRET_GRACE
from relay.errors import NotFound, ValidationFailed
from relay.model import DeliveryStatus, Endpoint, EventType, Secret
from relay.store.engine.database import Store, Tx
from relay.store.tables import deliveries, endpoints, registrations, watches
from tests.conftest import NOON
from tests.make import OPEN_RULES, claim_due, make_endpoint, make_event

OLD, NEW = ("whsec_" + letter * 32 for letter in "ab")


def configured(name: str = "ops", url: str = "https://example.com/ops", **fields: Any) -> EndpointSection:
    return EndpointSection.model_validate({"name": name, "url": url} | fields)


async def sync(store: Store, *wanted: EndpointSection, now: int = NOON) -> list[Endpoint]:
    """The endpoints after the configuration was read, by name."""
    for gone in await store.write(lambda tx: standing.sync_configured(tx, wanted, OPEN_RULES, now)):
        await standing.delete(store, gone, now, configured=True)
    return sorted(await store.read(endpoints.all_standing), key=lambda one: str(one.name))


async def test_what_is_configured_is_made(store: Store) -> None:
    """Each is made with its secret or one of its own; reading the same again changes nothing."""
    [a, b] = wanted = [configured("a", secret=OLD), configured("b", events=["job.started"], headers={"X-A": "b"})]
    made = await sync(store, a, b)
    assert [(one.name, one.source, one.enabled) for one in made] == [("a", "config", True), ("b", "config", True)]
    assert made[0].secrets == (Secret(OLD),)
    assert (made[1].events, made[1].headers) == ((EventType.STARTED,), {"X-A": "b"})
    assert await sync(store, *wanted) == made


async def test_what_is_configured_otherwise_is_changed(store: Store) -> None:
    """Id, health and a secret that was made here stay; the rest is as the configuration has it."""
    [made] = await sync(store, configured())
    [changed] = await sync(store, configured(url="https://new.example/", format="zapier", events=["job.failed"]))
    assert (changed.id, changed.secrets, changed.created_at) == (made.id, made.secrets, made.created_at)
    assert (changed.url, changed.host, changed.format) == ("https://new.example/", "new.example:443", "zapier")


async def test_a_secret_configured_anew_is_rotated(store: Store) -> None:
    """Receivers that still have the old secret verify for a day more; reading it again keeps that."""
    await sync(store, configured(secret=OLD))
    for _ in range(2):
        [changed] = await sync(store, configured(secret=NEW))
        assert changed.secrets == (Secret(NEW), Secret(OLD, NOON + OLD_SECRET_GRACE))


async def test_what_is_configured_no_longer_goes(store: Store) -> None:
    """Its pending deliveries are cancelled; what the API made stays."""
    [made] = await sync(store, configured())
    theirs = make_endpoint(name="theirs", url="https://theirs.example/")
    await store.write(lambda tx: endpoints.add(tx, theirs))
    await store.write(lambda tx: enqueue(tx, make_event(), [(made, None)], NOON, 0))
    assert await sync(store) == [theirs]
    which = deliveries.DeliveryFilter(status=DeliveryStatus.CANCELLED)
    assert await store.read(lambda tx: deliveries.count(tx, which)) == 1


async def test_a_name_that_the_api_gave_is_taken_over(store: Store) -> None:
    """The configuration's word holds; the endpoint keeps its id and secret."""
    theirs = make_endpoint(name="ops", url="https://theirs.example/")
    await store.write(lambda tx: endpoints.add(tx, theirs))
    [taken] = await sync(store, configured())
    assert (taken.id, taken.source, taken.secrets) == (theirs.id, "config", theirs.secrets)
    assert taken.url == "https://example.com/ops"


async def test_a_url_that_is_refused_changes_nothing(store: Store) -> None:
    """The refusal names the endpoint's key, and all stays as it was."""
    before = await sync(store, configured("a"))
    with pytest.raises(ValidationFailed) as refused:
        await sync(store, configured("b"), configured("c", url="https://10.0.0.1/"))
    assert refused.value.field == "endpoints.c.url"
    assert sorted(await store.read(endpoints.all_standing), key=lambda one: str(one.name)) == before


async def test_pending_deliveries_follow_the_url(store: Store) -> None:
    """What waits for an endpoint counts among those of its new host, and its health starts anew."""
    sick = make_endpoint(failures=12, failing_since=NOON, paused_until=NOON + 1)
    await store.write(lambda tx: endpoints.add(tx, sick))
    await store.write(lambda tx: enqueue(tx, make_event(), [(sick, None)], NOON, 0))
    wish = standing.EndpointPatch(url="https://new.example/")
    changed = await store.write(lambda tx: standing.update(tx, sick, wish, OPEN_RULES))
    assert (changed.failures, changed.failing_since, changed.paused_until) == (0, None, None)
    [claim] = await store.write(lambda tx: claim_due(tx, NOON, NOON))
    assert claim.host == "new.example:443"


async def test_an_endpoint_with_many_registrations_goes_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """No transaction ends more than a part of them; at the end all are withdrawn, and no job of theirs is polled."""
    monkeypatch.setattr(standing, "PART", 7)
    callback = spec.EndpointSpec("https://example.com/one")
    asked = [
        (
            registration.validate(
                registration.RegistrationSpec(job_id=f"j{n}", callback=callback), OPEN_RULES, ["default"]
            ),
            NOON,
        )
        for n in range(20)
    ]
    made = await store.write(lambda tx: registration.register_batch(tx, asked))
    endpoint = registration.raise_if_refused(made[0]).endpoint
    assert endpoint is not None
    for number in range(10):
        event = make_event(f"j{number}", EventType.STARTED)
        await store.write(lambda tx, event=event: enqueue(tx, event, [(endpoint, None)], NOON, 0))  # type: ignore[misc]
    ended: list[int] = []

    class Counted:
        async def write(self, work: Callable[[Tx], bool]) -> bool:
            ended.append(await store.read(left))
            return await store.write(work)

    def left(tx: Tx) -> int:
        pending = deliveries.count(tx, deliveries.DeliveryFilter(status=DeliveryStatus.PENDING))
        return pending + len(registrations.standing_at(tx, endpoint.id, 100))

    await standing.delete(cast(Store, Counted()), endpoint.id, NOON)
    ended.append(await store.read(left))
    assert (ended[0], ended[-1]) == (30, 0)
    assert all(before - after <= 7 for before, after in pairwise(ended))
    assert await store.read(lambda tx: watches.count_active(tx, "default", 100)) == 0
    with pytest.raises(NotFound):
        await standing.delete(store, endpoint.id, NOON)


async def test_a_rotated_secret_does_not_take_another_s_place(store: Store) -> None:
    """Where the URL with the new secret means another endpoint already, the rotated one is meant by its id only."""
    rules = OPEN_RULES

    async def registered(secret: str) -> Endpoint:
        callback = spec.EndpointSpec("https://example.com/", secret=secret)
        checked = registration.validate(
            registration.RegistrationSpec(job_id="j1", callback=callback), rules, ["default"]
        )
        made = (await store.write(lambda tx: registration.register(tx, checked, NOON))).endpoint
        assert made is not None
        return made

    first, second = await registered(OLD), await registered(NEW)
    await store.write(lambda tx: standing.rotate(tx, first, NEW, NOON, ()))
    assert (await registered(NEW)).id == second.id
    assert (await registered(OLD)).id not in (first.id, second.id)
