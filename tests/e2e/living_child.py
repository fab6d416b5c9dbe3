"""A process that shows one job in a chat, to be killed at any moment: `python -m tests.e2e.living_child ARGUMENTS`."""

import asyncio
import sys
import time
from dataclasses import replace
from ipaddress import ip_network

from relay import formats
from relay.delivery.living_messages import LivingMessages
from relay.egress import EgressRules
from relay.egress.http_client import WebhookHttpClient
from relay.model import Delivery, DeliveryStatus, EventType, new_id
from relay.store import Store
from tests.make import make_endpoint
from tests.unit.formats.format_samples import CONTEXT, JOBS, event

TIMEOUT = 5_000
RULES = EgressRules(allow_http=True, allow_networks=(ip_network("127.0.0.0/8"),))


async def main(arguments: list[str], ahead: int) -> None:
    """Sends the job's start and its ending; the clock is `ahead` ms ahead, so that leases of dead ones are over."""

    store_url, chat_url, format, job_id = arguments

    def clock() -> int:
        return time.time_ns() // 1_000_000 + ahead

    store, egress = await Store.open(store_url), WebhookHttpClient(RULES)
    living = LivingMessages(store, lambda _: egress, clock, TIMEOUT)
    headers = {"authorization": "Bearer xoxb-secret-token"}
    endpoint = replace(make_endpoint(id="ep_1"), url=chat_url, format=format, headers=headers)
    for type in (EventType.STARTED, EventType.COMPLETED):
        made = replace(event(type, JOBS[type], context=CONTEXT), job_id=job_id)
        delivery = Delivery(
            id=new_id("dlv", clock()),
            event_id=made.id,
            event_type=type,
            workspace="default",
            job_id=job_id,
            endpoint_id=endpoint.id,
            registration_id=None,
            status=DeliveryStatus.PENDING,
            body=formats.render(format, made, None),
            attempts=0,
            attempts_in_run=0,
            created_at=clock(),
            next_attempt_at=clock(),
        )
        await living.send(endpoint, delivery)
    await egress.aclose()
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:5], int(sys.argv[5])))
