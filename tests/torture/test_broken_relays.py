"""The verdict detects relays that are broken on purpose: each does one forbidden thing, and the verdict counts it."""

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import cycle
from typing import Any

import pytest
from sqlalchemy import delete
from standardwebhooks.webhooks import Webhook

from relay.egress import SendResult
from relay.egress.http_client import WebhookHttpClient
from relay.egress.result import HttpResponse as Answered
from relay.model import HOUR, MINUTE, Event, EventType
from relay.polling.request_budget import RateLimit
from relay.sandbox.receiver import Respond
from relay.store.engine.schema import registrations
from tests.make import SECRET
from tests.torture.days import Days, days
from tests.torture.verdict import Verdict

Post = Callable[[WebhookHttpClient, str, Mapping[str, str], bytes, int, int | None], Awaitable[tuple[SendResult, int]]]
POST: Post = WebhookHttpClient.post


async def lived(meddle: Callable[[Days], Awaitable[None]] | None = None) -> Verdict:
    """Some hours of a relay; the first attempts are refused, so that there are second ones."""
    async with days() as world:
        world.world.receiver.script(*[Respond(status=500)] * 6)
        if meddle:
            await meddle(world)
        await world.pass_by(45 * MINUTE)
        return await world.finish(HOUR)


def signed(headers: Mapping[str, str], id: str, body: bytes) -> dict[str, str]:
    """The headers of a valid signature with the secret."""
    at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    return {**headers, "webhook-id": id, "webhook-signature": Webhook(SECRET).sign(id, at, body.decode())}


def drops() -> Post:
    """Every third attempt counts as made, and was not."""
    turns = cycle([False, False, True])

    async def post(
        egress: WebhookHttpClient,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout: int,
        per_address: int | None,
    ) -> tuple[SendResult, int]:
        if next(turns):
            return Answered(204, {}, b""), 1
        return await POST(egress, url, headers, body, timeout, per_address)

    return post


async def gives_up(
    egress: WebhookHttpClient,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    timeout: int,
    per_address: int | None,
) -> tuple[SendResult, int]:
    """Any answer of a receiver counts as success."""
    await POST(egress, url, headers, body, timeout, per_address)
    return Answered(204, {}, b""), 1


async def twice(
    egress: WebhookHttpClient,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    timeout: int,
    per_address: int | None,
) -> tuple[SendResult, int]:
    """Each attempt is made twice."""
    await POST(egress, url, headers, body, timeout, per_address)
    return await POST(egress, url, headers, body, timeout, per_address)


async def other_id(
    egress: WebhookHttpClient,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    timeout: int,
    per_address: int | None,
) -> tuple[SendResult, int]:
    """Each attempt has its own id."""
    id = f"evt_{random.getrandbits(64):x}"
    return await POST(egress, url, signed(headers, id, body), body, timeout, per_address)


async def other_body(
    egress: WebhookHttpClient,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    timeout: int,
    per_address: int | None,
) -> tuple[SendResult, int]:
    """Each attempt has its own body."""
    body += b" " * random.randrange(1, 1_000)
    return await POST(egress, url, signed(headers, headers["webhook-id"], body), body, timeout, per_address)


@pytest.mark.parametrize(
    ("post", "name"),
    [
        (drops(), "lost"),
        (gives_up, "lost"),
        (twice, "duplicates"),
        (other_id, "changed"),
        (other_body, "changed"),
    ],
    ids=["drops", "gives_up", "twice", "other_id", "other_body"],
)
async def test_wrong_deliveries_are_counted(monkeypatch: pytest.MonkeyPatch, post: Post, name: str) -> None:
    """Only the receiver shows them: the relay itself believes that all went well."""
    monkeypatch.setattr(WebhookHttpClient, "post", post)
    verdict = await lived()
    assert getattr(verdict, name)
    assert not verdict.holds


async def test_an_overdraft_is_counted() -> None:
    """Exec shows it: the relay believes to have a larger budget."""

    async def meddle(world: Days) -> None:
        world.world.relay.poller.rate_limits["default"] = RateLimit(10_000, 10_000_000, 1.0)
        for _ in range(70):
            await world.world.prepare(world.world.exec.add(lasts=MINUTE).id, world.world.receiver_url + "/more")

    verdict = await lived(meddle)
    assert verdict.overdrafts
    assert not verdict.holds


async def test_a_lost_registration_is_counted() -> None:
    """It was answered with 201, and is no longer listed."""

    async def meddle(world: Days) -> None:
        await world.pass_by(HOUR)
        await world.world.relay.store.write(lambda tx: tx.execute(delete(registrations)))

    verdict = await lived(meddle)
    assert verdict.missing
    assert not verdict.holds


async def test_a_false_ending_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exec's record says otherwise."""
    from relay.polling import poll_recorder

    honest = poll_recorder.make_event

    def made(*arguments: Any, **named: Any) -> Event:
        return replace(honest(*arguments, **named), type=EventType.EXPIRED)

    monkeypatch.setattr(poll_recorder, "make_event", made)
    verdict = await lived()
    assert verdict.untrue
    assert not verdict.holds


async def test_a_correct_relay_passes() -> None:
    """The same hours with a relay that is not broken."""
    verdict = await lived()
    assert verdict.holds, verdict.text("an honest relay")
