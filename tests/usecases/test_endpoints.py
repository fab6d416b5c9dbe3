"""Configured endpoints: the store follows the configuration."""

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import pytest
from sqlalchemy import update

from relay import registration
from relay.config import EndpointSection
from relay.delivery.enqueue import enqueue
from relay.endpoints import admin as standing
from relay.endpoints import spec
from relay.endpoints.admin import OLD_SECRET_GRACE
from relay.errors import Conflict, NotFound, ValidationFailed
from relay.model import DeliveryStatus, Endpoint, EventType, Secret
from relay.store.engine import schema
from relay.store.engine.database import Store, Tx
from relay.store.engine.paging import Page
from relay.store.tables import deliveries, endpoints, events, outbox, registrations, watches
from relay.store.tables.filters import DeliveryFilter
from tests.conftest import NOON
from tests.make import OPEN_RULES, claim_due, make_endpoint, make_event

OLD, NEW = ("whsec_" + letter * 32 for letter in "ab")


def configured(name: str = "ops", url: str = "https://example.com/ops", **fields: Any) -> EndpointSection:
    return EndpointSection.model_validate({"name": name, "url": url} | fields)


async def sync(store: Store, *wanted: EndpointSection, now: int = NOON) -> list[Endpoint]:
    """Applies the configuration. Returns all standing endpoints, by name."""
    for gone in await store.write(lambda tx: standing.sync_configured(tx, wanted, OPEN_RULES, now)):
        if not await store.write(lambda tx, gone=gone: standing.retire(tx, gone, now)):  # type: ignore[misc]
            await standing.delete(store, gone, now, configured=True)
    return sorted(await store.read(endpoints.all_standing), key=lambda one: str(one.name))


async def test_configured_endpoints_are_created_once(store: Store) -> None:
    """Each gets its secret or a generated one; the same configuration again changes nothing."""
    [a, b] = wanted = [configured("a", secret=OLD), configured("b", events=["job.started"], headers={"X-A": "b"})]
    made = await sync(store, a, b)
    assert [(one.name, one.source, one.enabled) for one in made] == [("a", "config", True), ("b", "config", True)]
    assert made[0].secrets == (Secret(OLD),)
    assert (made[1].events, made[1].headers) == ((EventType.STARTED,), {"X-A": "b"})
    assert await sync(store, *wanted) == made


async def test_a_changed_configuration_updates_the_endpoint(store: Store) -> None:
    """Id, health and a generated secret stay; the rest follows the configuration."""
    [made] = await sync(store, configured())
    [changed] = await sync(store, configured(url="https://new.example/", format="zapier", events=["job.failed"]))
    assert (changed.id, changed.secrets, changed.created_at) == (made.id, made.secrets, made.created_at)
    assert (changed.url, changed.host, changed.format) == ("https://new.example/", "new.example:443", "zapier")


async def test_what_is_not_delivered_follows_a_changed_format(store: Store) -> None:
    """A channel's webhook is gone and its endpoint gets that of another chat: what waits or failed fits there. What was
    delivered stays as it was, and so does everything if only the URL changes."""
    slack = await store.write(
        lambda tx: standing.create(tx, "sales", validated("https://hooks.slack.com/services/T0/B0/gone"), NOON)[0]
    )

    def end(tx: Tx) -> None:
        for number in range(3):
            enqueue(tx, events.add(tx, make_event(f"j{number}")), [(slack, None)], NOON, 0)

    await store.write(end)

    async def change(**fields: Any) -> list[set[str]]:
        """The keys of the bodies after a change, oldest first."""
        patch = standing.EndpointPatch(**fields)
        await store.write(lambda tx: standing.update(tx, standing.get(tx, slack.id), patch, OPEN_RULES, NOON))
        rows, _ = await store.read(lambda tx: deliveries.page(tx, Page(10), DeliveryFilter(endpoint_id=slack.id)))
        return [set(json.loads(row.body)) for row in sorted(rows, key=lambda row: row.job_id)]

    await store.write(lambda tx: set_status(tx, "j0", DeliveryStatus.DELIVERED))
    await store.write(lambda tx: set_status(tx, "j1", DeliveryStatus.FAILED))
    before = await change(url="https://hooks.slack.com/services/T0/B0/other")
    assert all("blocks" in keys for keys in before)
    after = await change(url="https://discord.com/api/webhooks/1/token")
    assert after[0] == before[0]
    assert all("embeds" in keys and "blocks" not in keys for keys in after[1:])


def validated(url: str) -> spec.ValidatedEndpoint:
    return spec.validate(spec.EndpointSpec(url, "auto", (EventType.COMPLETED,), None, {}), OPEN_RULES, "url")


def set_status(tx: Tx, job_id: str, status: DeliveryStatus) -> None:
    tx.execute(update(schema.deliveries).where(schema.deliveries.c.job_id == job_id), {"status": status.value})


async def test_a_changed_secret_in_the_configuration_is_rotated(store: Store) -> None:
    """Receivers with the old secret verify for another day; reading the configuration again keeps that."""
    await sync(store, configured(secret=OLD))
    for _ in range(2):
        [changed] = await sync(store, configured(secret=NEW))
        assert changed.secrets == (Secret(NEW), Secret(OLD, NOON + OLD_SECRET_GRACE))


async def test_an_endpoint_no_longer_configured_is_deleted(store: Store) -> None:
    """If nothing waits for it; its history and endpoints of the API stay."""
    [made] = await sync(store, configured())
    theirs = make_endpoint(name="theirs", url="https://theirs.example/")
    await store.write(lambda tx: endpoints.add(tx, theirs))
    await store.write(lambda tx: enqueue(tx, make_event(), [(made, None)], NOON, 0))
    await store.write(lambda tx: outbox.cancel_some(tx, made.id, NOON, "over", 10))
    assert await sync(store) == [theirs]
    assert await store.read(lambda tx: endpoints.get(tx, made.id)) is None
    assert await store.read(lambda tx: deliveries.count(tx, DeliveryFilter(endpoint_id=made.id))) == 1


async def test_an_endpoint_no_longer_configured_keeps_what_waits_for_it(store: Store) -> None:
    """It is held for a person to decide; the endpoint gets no further events of every job, and can be deleted."""
    [made] = await sync(store, configured())
    await store.write(lambda tx: enqueue(tx, make_event(), [(made, None)], NOON, 0))
    assert await sync(store) == []
    retired = await store.read(lambda tx: endpoints.get(tx, made.id))
    assert retired is not None
    assert (retired.enabled, retired.disabled_reason, retired.source) == (False, standing.RETIRED, "api")
    pending = DeliveryFilter(endpoint_id=made.id, status=DeliveryStatus.PENDING)
    assert await store.read(lambda tx: deliveries.count(tx, pending)) == 1
    assert await sync(store) == []
    await standing.delete(store, made.id, NOON)
    assert await store.read(lambda tx: deliveries.count(tx, pending)) == 0


async def test_an_endpoint_that_is_configured_again_sends_what_was_held(store: Store) -> None:
    """It has its id and its secret; one that was disabled before stays disabled."""
    [made] = await sync(store, configured(secret=OLD))
    await store.write(lambda tx: enqueue(tx, make_event(), [(made, None)], NOON, 0))
    await sync(store)
    await store.write(lambda tx: outbox.hold_for_disabled(tx, made.id, NOON, 10))
    [again] = await sync(store, configured(secret=OLD))
    assert (again.id, again.enabled, again.source, again.secrets) == (made.id, True, "config", made.secrets)
    assert [claim.delivery.endpoint_id for claim in await store.write(lambda tx: claim_due(tx, NOON, NOON + 1))] == [
        made.id
    ]
    await store.write(lambda tx: standing.disable(tx, again, NOON))
    await sync(store)
    [disabled] = await sync(store, configured(secret=OLD))
    assert not disabled.enabled


async def test_the_configuration_takes_over_an_endpoint_of_the_api_by_name(store: Store) -> None:
    """The configuration's values apply; the endpoint keeps its id and secret."""
    theirs = make_endpoint(name="ops", url="https://theirs.example/")
    await store.write(lambda tx: endpoints.add(tx, theirs))
    [taken] = await sync(store, configured())
    assert (taken.id, taken.source, taken.secrets) == (theirs.id, "config", theirs.secrets)
    assert taken.url == "https://example.com/ops"


@pytest.mark.parametrize("secret", [None, NEW])
async def test_an_endpoint_of_another_key_is_taken_over_without_its_secrets(store: Store, secret: str | None) -> None:
    """Whoever made it with a key of the scope subscribe can neither change it nor sign for it any more."""
    theirs = make_endpoint(name="ops", url="https://theirs.example/", owner="a team")
    await store.write(lambda tx: endpoints.add(tx, theirs))
    [taken] = await sync(store, configured(secret=secret))
    assert (taken.id, taken.owner) == (theirs.id, None)
    assert not {one.value for one in theirs.secrets} & {one.value for one in taken.secrets}
    assert secret is None or taken.secrets == (Secret(NEW),)


@pytest.mark.parametrize(
    ("fallback", "code", "words"),
    [
        ("bakcup", "unknown_fallback", 'did you mean "backup"'),
        ("own", "invalid_fallback", "is this endpoint itself"),
        ("read", "invalid_fallback", "is pulled"),
    ],
)
async def test_a_fallback_to_which_nothing_can_be_sent_is_refused(
    store: Store, fallback: str, code: str, words: str
) -> None:
    """As the endpoint is made and as it is changed; news of what finally failed would go nowhere."""
    own = make_endpoint(name="own", url="https://own.example/")
    for endpoint in (
        make_endpoint(name="backup", url="https://b.example/"),
        make_endpoint(name="read", url="pull:"),
        own,
    ):
        await store.write(lambda tx, new=endpoint: endpoints.add(tx, new))  # type: ignore[misc]
    patch = standing.EndpointPatch(fallback=fallback)
    with pytest.raises(ValidationFailed, match=words) as refused:
        await store.write(lambda tx: standing.update(tx, own, patch, OPEN_RULES, NOON))
    assert (refused.value.code, refused.value.field) == (code, "fallback")
    validated = spec.validate(spec.EndpointSpec("https://new.example/", fallback=fallback), OPEN_RULES)
    with pytest.raises(ValidationFailed, match=words):
        await store.write(lambda tx: standing.create(tx, "own", validated, NOON))
    kept = standing.EndpointPatch(fallback="backup")
    assert (await store.write(lambda tx: standing.update(tx, own, kept, OPEN_RULES, NOON))).fallback == "backup"


async def test_an_endpoint_that_is_a_fallback_is_renamed_with_those_that_name_it_and_not_deleted(store: Store) -> None:
    """Else what finally failed would go nowhere, and nobody would know."""
    backup = make_endpoint(name="backup", url="https://b.example/")
    first, second = (make_endpoint(name=name, url=f"https://{name}.example/", fallback="backup") for name in "ab")
    for endpoint in (backup, first, second):
        await store.write(lambda tx, new=endpoint: endpoints.add(tx, new))  # type: ignore[misc]
    renamed = standing.EndpointPatch(name="rescue")
    await store.write(lambda tx: standing.update(tx, backup, renamed, OPEN_RULES, NOON))
    assert await store.read(lambda tx: [standing.get(tx, one.id).fallback for one in (first, second)]) == ["rescue"] * 2
    with pytest.raises(Conflict, match="the fallback of a, b; give another") as refused:
        await standing.delete(store, backup.id, NOON)
    assert refused.value.code == "endpoint_is_fallback"
    await standing.delete(store, first.id, NOON)
    await store.write(lambda tx: standing.update(tx, second, standing.EndpointPatch(fallback=""), OPEN_RULES, NOON))
    await standing.delete(store, backup.id, NOON)
    assert [one.name for one in await store.read(endpoints.all_standing)] == ["b"]


async def test_a_blocked_url_in_the_configuration_changes_nothing(store: Store) -> None:
    """The error names the endpoint's key, and everything stays as it was."""
    before = await sync(store, configured("a"))
    with pytest.raises(ValidationFailed) as refused:
        await sync(store, configured("b"), configured("c", url="https://10.0.0.1/"))
    assert refused.value.field == "endpoints.c.url"
    assert sorted(await store.read(endpoints.all_standing), key=lambda one: str(one.name)) == before


async def test_pending_deliveries_move_to_the_new_host(store: Store) -> None:
    """They count among those of the new host, and the endpoint's health is reset."""
    failing = make_endpoint(failures=12, failing_since=NOON, paused_until=NOON + 1)
    await store.write(lambda tx: endpoints.add(tx, failing))
    await store.write(lambda tx: enqueue(tx, make_event(), [(failing, None)], NOON, 0))
    patch = standing.EndpointPatch(url="https://new.example/")
    changed = await store.write(lambda tx: standing.update(tx, failing, patch, OPEN_RULES, NOON))
    assert (changed.failures, changed.failing_since, changed.paused_until) == (0, None, None)
    [claim] = await store.write(lambda tx: claim_due(tx, NOON, NOON))
    assert claim.host == "new.example:443"


async def test_an_endpoint_with_many_registrations_is_deleted_in_batches(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No transaction ends more than one batch; at the end all are withdrawn, and their jobs are polled no longer."""
    monkeypatch.setattr(standing, "BATCH", 7)
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
        async def write(self, work: Callable[[Tx], bool], *, at_end: bool = False) -> bool:
            ended.append(await store.read(left))
            return await store.write(work, at_end=at_end)

    def left(tx: Tx) -> int:
        pending = deliveries.count(tx, DeliveryFilter(status=DeliveryStatus.PENDING))
        return pending + len(registrations.standing_at(tx, endpoint.id, 100))

    await standing.delete(cast(Store, Counted()), endpoint.id, NOON)
    ended.append(await store.read(left))
    assert (ended[0], ended[-1]) == (30, 0)
    assert all(before - after <= 7 for before, after in pairwise(ended))
    assert await store.read(lambda tx: watches.count_active(tx, "default", 100)) == 0
    with pytest.raises(NotFound):
        await standing.delete(store, endpoint.id, NOON)


async def test_a_rotated_secret_does_not_collide_with_another_endpoint(store: Store) -> None:
    """If URL and new secret identify another endpoint already, the rotated one is identified by its id only."""
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
