"""The checklist of the first minutes: what a new relay still needs until its first notification is delivered."""

from dataclasses import dataclass

from relay.model import DeliveryStatus
from relay.store import Tx
from relay.store.engine import paging
from relay.store.tables import deliveries, endpoints
from relay.store.tables.filters import DeliveryFilter


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the checklist."""

    title: str
    done: bool
    hint: str
    """What to do, as a sentence."""
    link: str = ""
    """Where to do it; "" if nothing is to be done on a page."""


def first_steps(tx: Tx, *, is_key_tried: bool, has_jobs: bool) -> list[Step]:
    """The steps, done and open; none once a notification was delivered."""
    delivered = DeliveryFilter(status=DeliveryStatus.DELIVERED)
    if deliveries.page(tx, paging.Page(1), delivered)[0]:
        return []
    return [
        Step("Exec API key works", is_key_tried, "The first poll tries it; relay check tries it now."),
        Step(
            "Endpoint added",
            bool(endpoints.page(tx, paging.Page(1))[0]),
            "Paste the URL of a Slack channel, a Zap or your own receiver.",
            "/endpoints/new",
        ),
        Step("Test event delivered", endpoints.any_tested(tx), "Send a test event from its page.", "/endpoints"),
        Step("Job registered", has_jobs, "Register a job, or create one at Exec.", "/register"),
        Step("First notification delivered", False, "It comes within seconds of the job's end."),
    ]
