"""Reloading the configuration while the relay runs."""

import logging
from typing import Any

import pytest
from sqlalchemy import text

from relay.config import Config
from relay.errors import ConfigError
from relay.model import MINUTE, SECOND
from relay.sandbox.exec_server import SANDBOX_KEY
from relay.store.tables import endpoints
from tests.flows.conftest import Start, World
from tests.make import SECRET

WRONG_KEY = "exec_live_" + "w" * 40
APPLIED, REFUSED = 'relay_config_reloads_total{outcome="applied"}', 'relay_config_reloads_total{outcome="refused"}'


def configured(world: World, **sections: Any) -> Config:
    """The configuration that the world runs with, changed."""
    return world.config(world.relay.config.storage.url, **world.sections | sections)


def standing(world: World, name: str) -> dict[str, str]:
    return {"name": name, "url": f"{world.receiver_url}/{name}", "secret": SECRET}


async def names(world: World) -> set[str | None]:
    found = await world.relay.store.read(endpoints.all_standing)
    return {endpoint.name for endpoint in found}


async def test_reloaded_endpoints_are_added_and_removed(start: Start) -> None:
    """A running job notifies the endpoints that exist when it ends."""
    async with start() as world:
        both = configured(world, endpoints=[standing(world, "a"), standing(world, "b")])
        await world.relay.reload(lambda: both)
        job = world.exec.add(lasts=30_000)
        await world.register(job.id, path="/own")
        other = configured(world, endpoints=[standing(world, "b"), standing(world, "c")])
        await world.relay.reload(lambda: other)
        assert await names(world) == {"b", "c"}
        await world.advance(MINUTE)
        assert sorted(one.path for one in world.received()) == ["/b", "/c", "/own"]
        assert f"{APPLIED} 2.0" in (await world.relay.render_metrics()).decode()


async def test_a_new_exec_key_is_used_at_once(start: Start) -> None:
    """A workspace whose key was refused polls again with the new key, without a restart."""
    async with start(exec={"api_key": WRONG_KEY}) as world:
        job = world.exec.add(lasts=1_000)
        world.clock.advance(5 * SECOND)
        await world.register(job.id)
        assert not (await world.relay.readiness()).ready
        good = configured(world, exec={"api_key": SANDBOX_KEY})
        await world.relay.reload(lambda: good)
        assert (await world.relay.readiness()).ready
        await world.settle()
        assert [one.event_type for one in world.received()] == ["job.completed"]


@pytest.mark.one_on_postgresql
@pytest.mark.parametrize("wrong", ["file", "endpoint", "store"])
async def test_an_invalid_configuration_changes_nothing(
    start: Start, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A file with a mistake, an endpoint that may not be called, a store that fails: nothing changes, and the log says
    why."""
    async with start() as world:
        before = configured(world, endpoints=[standing(world, "a")])
        await world.relay.reload(lambda: before)
        held, read_at = world.relay.config, metric(await world.relay.render_metrics(), "timestamp_seconds")
        world.clock.advance(MINUTE)
        blocked = {"name": "meta", "url": "https://169.254.169.254/latest"}
        faulty = configured(world, endpoints=[standing(world, "b"), blocked], exec={"api_key": WRONG_KEY})

        def read() -> Config:
            if wrong == "file":
                raise ConfigError("config.yaml:7: polling.intervall: unknown key")
            return faulty

        client = world.relay.clients["default"]
        if wrong == "store":
            await world.relay.store.aclose()
        caplog.set_level(logging.ERROR)
        await world.relay.reload(read)
        assert world.relay.config is held
        assert world.relay.clients["default"] is client
        expected = {"file": "config.yaml:7: polling.intervall", "endpoint": "endpoints.meta.url", "store": "store"}
        assert expected[wrong] in caplog.text
        assert WRONG_KEY not in caplog.text
        if wrong != "store":
            assert await names(world) == {"a"}
            metrics = await world.relay.render_metrics()
            assert f"{REFUSED} 1.0" in metrics.decode()
            assert metric(metrics, "timestamp_seconds") == read_at


async def test_a_configuration_is_applied_when_the_store_works_again(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """The store fails at the reload and on the next ticks: one line says so, and nothing is forgotten."""
    async with start() as world:
        new = configured(world, endpoints=[standing(world, "a")])
        await world.relay.store.write(lambda tx: tx.execute(text("ALTER TABLE endpoints RENAME TO away")))
        await world.relay.reload(lambda: new)
        for _ in range(3):
            await world.relay.tick()
        await world.relay.store.write(lambda tx: tx.execute(text("ALTER TABLE away RENAME TO endpoints")))
        await world.relay.tick()
        assert await names(world) == {"a"}
        assert caplog.text.count("not applied yet") == 1
        assert f"{APPLIED} 1.0" in (await world.relay.render_metrics()).decode()


def metric(metrics: bytes, name: str) -> str:
    [line] = [line for line in metrics.decode().splitlines() if name in line and not line.startswith("#")]
    return line.split()[1]


async def test_settings_that_need_a_restart_are_logged(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """The endpoints of the same file are applied all the same."""
    async with start() as world:
        new = configured(world, delivery={"per_host": 9}, endpoints=[standing(world, "a")])
        caplog.set_level(logging.INFO)
        await world.relay.reload(lambda: new)
        assert (
            "delivery.per_host was changed in the configuration, but takes effect only after a restart" in caplog.text
        )
        assert "1 endpoints, 0 API keys, 0 new Exec keys" in caplog.text
        assert world.relay.config.delivery.per_host == 4
        assert await names(world) == {"a"}
