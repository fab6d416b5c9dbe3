"""What an event says about its job in addition to Exec's answer: metadata, requester, prompt, usual duration, page."""

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

from relay.config import Config
from relay.model import SECOND, EventContext, EventType, Registration, Watch
from relay.polling.schedule.policy import PollPolicy
from relay.polling.transitions import Policy


def context_of(registrations: Sequence[Registration]) -> EventContext:
    """What a job's registrations, oldest first, say about it: all metadata, who asked first, and the prompt."""
    metadata = {key: value for registration in registrations for key, value in registration.metadata.items()}
    return EventContext(
        metadata=metadata,
        requested_by=next((item.requested_by for item in registrations if item.requested_by), None),
        prompt=next((item.prompt for item in registrations if item.prompt), None),
    )


def event_context(
    registrations: Sequence[Registration], watch: Watch, type: EventType, config: Config, policy: Policy
) -> EventContext:
    """The context of an event of this watch, whose job has these registrations."""
    median = policy.distribution.median if isinstance(policy, PollPolicy) else None
    return replace(
        context_of(registrations),
        usual_seconds=median if type is EventType.STARTED else None,
        tracked_seconds=config.polling.max_age / SECOND if type is EventType.EXPIRED else None,
        page=job_page(config.server.public_url, watch.workspace, watch.job_id),
        time_zone=config.server.time_zone,
    )


def job_page(public_url: str | None, workspace: str, job_id: str) -> str | None:
    """The URL of a job's page in the dashboard; None without a public URL."""
    return f"{public_url.rstrip('/')}/jobs/{quote(workspace, safe='')}/{job_id}" if public_url else None
