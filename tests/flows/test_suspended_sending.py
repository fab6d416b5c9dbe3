"""A store that was restored, or is a copy of another relay's, sends nothing until a person decides."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from relay.delivery import suspension
from relay.model import HOUR, MINUTE, SECOND, Actor, AuditAction, AuditEntry, DeliveryStatus, Via
from relay.sandbox.exec_server import ExecSettings
from relay.sandbox.receiver import Respond
from relay.service import Relay
from relay.store import Page
from relay.store.maintenance import backup
from relay.store.maintenance.restore import carry_over
from relay.store.tables import audit
from tests.flows.conftest import Start, World, world_on
from tests.make import SECRET

THREE_RETRIES = 6 * MINUTE
"""The schedule's first waits are 5 s, 30 s and 5 min."""
OPS = Actor(via=Via.API, key="ops", key_id="key_1", address="192.0.2.1")


@asynccontextmanager
async def restored(folder: Path) -> AsyncIterator[tuple[World, set[str]]]:
    """A started relay on a store restored from an hour ago, and the ids of three events that were delivered since.

    Two of them wait in the backup, and the backup watches the job of the third.
    """
    url = f"sqlite:///{folder}/relay.db"
    async with world_on(url, ExecSettings(seed=1)) as world:
        world.receiver.script(Respond(status=503), Respond(status=503))
        for lasts in (0, 0, 10 * MINUTE):
            await world.register(world.exec.add(lasts=lasts).id)
        backup.back_up(url, folder / "copy.db")
        await world.advance(HOUR)
        told = {one.headers["webhook-id"] for one in world.received()}
        assert len(told) == 3
        world.receiver.received.clear()
        await world.relay.stop()
        limits = {name: limit.minute for name, limit in world.relay.poller.rate_limits.items()}
        prepare = partial(carry_over, minute_limits=limits, now=world.clock())
        backup.restore(url, folder / "copy.db", folder / "aside.db", prepare)
        world.relay = await Relay.open(world.config(url), world.clock, seed=1)
        await world.relay.start()
        yield world, told


async def entries(world: World) -> list[AuditEntry]:
    """The audit log, oldest first."""
    rows, _ = await world.relay.store.read(lambda tx: audit.page(tx, Page(200)))
    return rows[::-1]


async def let_time_pass(world: World, ms: int) -> None:
    """Time passes in steps; what is due stays due, so `advance` would not end."""
    for _ in range(ms // MINUTE):
        world.clock.advance(MINUTE)
        await world.settle()


async def test_restored_relay_sends_nothing_before_it_is_resumed(tmp_path: Path) -> None:
    """Three retry intervals pass; readiness says what waits. Then exactly three, with the ids of the first time."""
    async with restored(tmp_path) as (world, told):
        await let_time_pass(world, THREE_RETRIES)
        assert world.received() == []
        [sending] = [check for check in (await world.relay.readiness()).checks if not check.ok]
        assert sending.name == "sending"
        assert "the store was restored from a backup of 20" in sending.text
        assert "3 deliveries wait." in sending.text
        await world.relay.sending.resume(OPS, world.clock())
        await world.settle()
        await world.receiver.wait_for(3)
        await let_time_pass(world, THREE_RETRIES)
        assert sorted(one.headers["webhook-id"] for one in world.received()) == sorted(told)
        assert (await world.relay.readiness()).ready
        assert [entry.action for entry in await entries(world)][-2:] == [
            AuditAction.STORE_RESTORED,
            AuditAction.SENDING_RESUMED,
        ]


async def test_discarded_deliveries_are_never_sent(tmp_path: Path) -> None:
    """They are cancelled with a reason, and the audit log says who did it; jobs registered since are notified."""
    async with restored(tmp_path) as (world, _):
        await let_time_pass(world, THREE_RETRIES)
        new = world.exec.add(lasts=0)
        await world.register(new.id, "/new")
        assert world.received() == []
        assert await world.relay.sending.discard(OPS, world.clock()) == 3
        await let_time_pass(world, THREE_RETRIES)
        await world.receiver.wait_for(1, path="/new")
        assert world.received("/callback") == []
        cancelled = [one for one in await world.deliveries() if one.status is DeliveryStatus.CANCELLED]
        assert {one.reason for one in cancelled} == {"discarded: the store was restored or cloned"}
        last = (await entries(world))[-1]
        assert (last.action, last.actor, last.detail) == (AuditAction.SENDING_DISCARDED, OPS, {"discarded": 3})


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize(
    ("before", "after", "suspends"),
    [
        ({"public_url": "https://relay.example.com"}, {"public_url": "https://staging.example.com"}, True),
        ({"public_url": "https://relay.example.com"}, {}, True),
        ({"instance": "production"}, {"instance": "staging"}, True),
        ({"instance": "production"}, {"instance": "production", "public_url": "https://relay.example.com"}, False),
        ({}, {"public_url": "https://relay.example.com"}, False),
    ],
)
async def test_a_store_of_another_relay_sends_nothing(
    start: Start, before: dict[str, str], after: dict[str, str], suspends: bool
) -> None:
    """Known by its public URL or its instance; a store that had neither belongs to the first that has one."""
    async with start(server=before) as world:
        await world.relay.start()
        world.receiver.script(Respond(status=503))
        await world.register(world.exec.add(lasts=0).id)
        await world.restart(server=after)
        await world.relay.start()
        await let_time_pass(world, THREE_RETRIES)
        assert (world.relay.sending.suspension is not None) is suspends
        assert len(world.received()) == (1 if suspends else 2)
        if suspends:
            assert world.relay.sending.suspension is not None
            assert "the store was last used" in world.relay.sending.suspension.reason
            await world.restart(server=after)  # known by now, and still suspended
            await world.relay.start()
            await world.relay.sending.resume(OPS, world.clock())
            await let_time_pass(world, THREE_RETRIES)
            assert len(world.received()) == 2


async def test_a_store_with_nothing_to_send_may_change_its_public_url(start: Start) -> None:
    """A typing error that is corrected suspends nothing; endpoints of the configuration belong to the new one."""
    async with start(server={"public_url": "https://relay.exmaple.com"}) as world:
        await world.relay.start()
        endpoint = {"name": "ops", "url": f"{world.receiver_url}/ops", "secret": SECRET}
        url = world.relay.config.storage.url
        await world.relay.stop()
        config = world.config(url, [endpoint], server={"public_url": "https://relay.example.com"})
        world.relay = await Relay.open(config, world.clock, seed=1)
        await world.relay.start()
        assert world.relay.sending.suspension is None


async def test_a_second_relay_follows_within_a_tick(start: Start) -> None:
    """What a command or another relay wrote into the store counts with the next tick."""
    async with start() as world:
        now = world.clock()
        await world.relay.store.write(lambda tx: suspension.suspend(tx, OPS, now, suspension.BY_HAND))
        await world.register(world.exec.add(lasts=0).id)
        world.clock.advance(5 * SECOND)
        await world.settle()
        assert world.relay.dispatcher.suspended
        assert world.received() == []
