"""The Python client: create and register jobs, wait for them, follow the events.

    from relay.client import Relay

    relay = Relay("http://127.0.0.1:8080", key="relay_...")
    job = relay.create(user_email="jane@acme.com", prompt="A discovery call with a skeptical IT director")
    print(relay.wait(job.job_id).scenario_url)

`AsyncRelay` has the same methods for asyncio. Both read RELAY_URL and RELAY_API_KEY if they are given nothing. A long
wait is sliced into requests of 25 seconds; a relay that restarts meanwhile is asked again.
"""

from relay.client.async_client import AsyncRelay
from relay.client.errors import ApiError, ClientError, CursorGone, Unreachable, WaitTimeout
from relay.client.results import CreatedJob, Event, Job, Registration
from relay.client.stored_events import verify
from relay.client.sync_client import Relay
from relay.verify import Unverified

__all__ = [
    "ApiError",
    "AsyncRelay",
    "ClientError",
    "CreatedJob",
    "CursorGone",
    "Event",
    "Job",
    "Registration",
    "Relay",
    "Unreachable",
    "Unverified",
    "WaitTimeout",
    "verify",
]
