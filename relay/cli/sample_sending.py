"""`relay check --send`: a sample to each standing endpoint, and what each answered."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

from sqlalchemy.exc import DBAPIError

from relay import formats
from relay.cli.findings import FAIL, OK, WARN, Finding
from relay.config import Config, EndpointSection
from relay.delivery import retry_policy
from relay.delivery.attempt import send
from relay.egress import EgressRules, HttpResponse
from relay.egress.http_client import WebhookHttpClient
from relay.egress.smtp_client import SmtpClient
from relay.endpoints import spec
from relay.errors import StoreError, ValidationFailed
from relay.formats.sample_event import marked_sample
from relay.model import DeliveryStatus, Endpoint, EndpointKind, EventType, new_id
from relay.process import system_clock
from relay.store import exists
from relay.store.engine import migrate
from relay.store.engine.database import connect
from relay.store.tables import endpoints

_BY = "relay check"
"""Who sends the sample, as its message says."""


async def send_samples(config: Config) -> AsyncIterator[Finding]:
    """Sends a sample to each endpoint of the configuration, and to each other standing endpoint of the store.

    A relay need not run. Nothing is stored, and nobody is retried.
    """
    stored = _stored(config)
    named = {entry.name for entry in config.endpoints}
    rules, outside_rules = config.security.egress_rules(), config.security.outside_egress_rules()
    targets = [_of_configuration(entry, stored.get(entry.name), rules) for entry in config.endpoints]
    targets += [endpoint for name, endpoint in sorted(stored.items()) if name not in named]
    proxy = config.delivery.proxy.get_secret_value() if config.delivery.proxy else None
    async with AsyncExitStack() as stack:
        clients: dict[bool, tuple[WebhookHttpClient, SmtpClient]] = {}
        for outside, allowed in ((False, rules), (True, outside_rules)):
            clients[outside] = WebhookHttpClient(allowed, proxy=proxy), SmtpClient(allowed)
            for client in clients[outside]:
                stack.push_async_callback(client.aclose)
        for target in targets:
            if isinstance(target, Finding):
                yield target
            elif not target.is_pulled:
                yield await _send(target, *clients[target.outside_only], config.delivery.timeout)


async def _send(endpoint: Endpoint, http: WebhookHttpClient, mail: SmtpClient, timeout: int) -> Finding:
    """Sends one sample, and says what was answered."""
    now = system_clock()
    event = marked_sample(EventType.COMPLETED, now, new_id("evt_test", now), _BY)
    body = formats.render(endpoint.format, event, None, endpoint.template)
    outcome, duration = await send(http, endpoint, event.id, body, timeout, now, mail=mail)
    decision = retry_policy.classify_attempt(
        outcome,
        endpoint.format,
        1,
        [0],
        now,
        0.0,
        endpoint.template,
    )
    subject = f"sample to endpoint {endpoint.name or endpoint.id}"
    status = f"answered {outcome.status}" if isinstance(outcome, HttpResponse) else "was accepted"
    if decision.status is DeliveryStatus.DELIVERED:
        disabled = "" if endpoint.enabled else f"; it is disabled: {endpoint.disabled_reason}"
        return Finding(OK if endpoint.enabled else WARN, subject, f"{status} in {duration} ms{disabled}")
    return Finding(FAIL, subject, f"{decision.error or decision.outcome}, after {duration} ms")


def _stored(config: Config) -> dict[str, Endpoint]:
    """The standing endpoints of the store, by name or id; none if it can't be read, which `relay check` reports."""
    url = config.storage.url
    try:
        if not exists(url):
            return {}
        with connect(url, config.security.cipher()) as tx:
            if migrate.needs_upgrade(tx):
                return {}
            return {endpoint.name or endpoint.id: endpoint for endpoint in endpoints.all_standing(tx)}
    except (DBAPIError, StoreError):
        return {}


def _of_configuration(entry: EndpointSection, stored: Endpoint | None, rules: EgressRules) -> Endpoint | Finding:
    """The endpoint as the configuration has it now, with the secret of the store, by which its receiver verifies."""
    try:
        validated = spec.validate(spec.of_section(entry), rules, "url")
    except ValidationFailed as error:
        return Finding(FAIL, f"sample to endpoint {entry.name}", error.message)
    now = system_clock()
    new = spec.new_endpoint(
        validated,
        kind=EndpointKind.STANDING,
        now=now,
        random_bytes=secrets.token_bytes(spec.RANDOM_BYTES),
        name=entry.name,
    )
    if stored is None:
        return new
    signing = new.secrets if entry.secret else stored.secrets
    return replace(new, secrets=signing, disabled_at=stored.disabled_at, disabled_reason=stored.disabled_reason)
