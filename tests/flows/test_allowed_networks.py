"""`security.allow_networks` opens the inside to the operator's endpoints, and to other keys only if that is set."""

from typing import Any

import pytest

from relay.endpoints.spec import EndpointSpec
from relay.model import SECOND, DeliveryStatus
from relay.sandbox.local_server import serve
from relay.web.app import create_app
from tests.flows.conftest import Start
from tests.loopback import http_client

KEYS = {
    "api_keys": [
        {"name": "ops", "key": "relay_ops_0123456789abcdefgh", "scopes": ["register", "read", "admin"]},
        {"name": "app", "key": "relay_app_0123456789abcdefgh", "scopes": ["register"]},
    ]
}
OPS, APP = ({"authorization": f"Bearer {key['key']}"} for key in KEYS["api_keys"])


@pytest.mark.parametrize("allowed_for", ["admin", "register"])
async def test_a_key_without_admin_reaches_no_allowed_network(start: Start, allowed_for: str) -> None:
    """Both registration and delivery refuse the address; a key with admin may use it."""
    security: dict[str, Any] = {"allow_networks": ["127.0.0.0/8"], "allow_networks_for": allowed_for, **KEYS}
    async with start(security={"allow_http": True, **security}) as world:
        job = world.exec.add(lasts=SECOND)
        world.clock.advance(5 * SECOND)
        async with serve(create_app(world.relay, owns_relay=False)) as url, http_client(base_url=url) as http:

            async def register(headers: dict[str, str], callback: str) -> int:
                body = {"job_id": job.id, "callback_url": callback}
                return (await http.post("/v1/registrations", json=body, headers=headers)).status_code

            assert await register(OPS, f"{world.receiver_url}/ops") == 201
            is_open = allowed_for == "register"
            assert await register(APP, f"{world.receiver_url}/app") == (201 if is_open else 400)
        # However its URL got into the store, and whatever its host resolves to then.
        await world.register(
            job.id, "/stored", callback=EndpointSpec(f"{world.receiver_url}/stored", outside_only=True)
        )
        await world.settle()
        assert len(world.received("/ops")) == 1
        assert len(world.received("/app")) == len(world.received("/stored")) == is_open
        reasons = [delivery.reason for delivery in await world.deliveries() if delivery.status is DeliveryStatus.FAILED]
        assert len(reasons) == (not is_open)
        assert all("security.allow_networks" in (reason or "") for reason in reasons)
