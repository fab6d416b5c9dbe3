"""Whatever receivers answer and whenever relays crash: each delivery ends with a reason, by legal steps, and every
attempt is the same."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, text

from relay.config import DeliverySection
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.enqueue import enqueue
from relay.egress import HttpResponse, RequestFailed, SendResult
from relay.endpoints import admin as standing
from relay.model import MINUTE, SECOND, Delivery, DeliveryStatus
from relay.store.engine.database import Store, Tx
from relay.store.engine.schema import metadata
from relay.store.tables import deliveries, endpoints, outbox
from relay.telemetry import Telemetry
from tests.conftest import Clock
from tests.make import NOON, make_endpoint, make_event, next_delivery_due

SCHEDULE = (0, 5 * SECOND, 30 * SECOND, 5 * MINUTE)
LEASE = 40 * SECOND
ROUNDS = 1_000

_WATCHED = """CREATE TABLE moves (delivery TEXT, before TEXT, after TEXT);
CREATE TRIGGER moved AFTER UPDATE OF status ON deliveries WHEN old.status <> new.status
BEGIN INSERT INTO moves VALUES (old.id, old.status, new.status); END"""


@dataclass(frozen=True)
class Dies:
    """The relay dies in the middle of the attempt: before the receiver has it, or after."""

    sent: bool
    restarts: bool
    """Another starts alone in the store and gives all leases back; else they have to run out."""


@dataclass(frozen=True)
class Late:
    """The answer comes when another relay has long taken the delivery over."""

    outcome: SendResult


Fate = SendResult | Dies | Late


@dataclass
class Post:
    """What the receiver got."""

    webhook_id: str
    body: bytes
    at: int
    fate: Fate
    settled: bool


@dataclass
class Script:
    """What is to happen: to attempts in the order they are made, then to all others; by hand between rounds."""

    fates: Sequence[Fate]
    rest: SendResult
    by_hand: Sequence[tuple[str, int]]
    events: int
    format: str
    disable_after: str


@dataclass
class Scripted:
    """The wire of all relays."""

    store: Store
    clock: Clock
    script: Script
    posts: list[Post] = field(default_factory=list)
    stuck: int = 0
    late: int = 0
    died: Dies | None = None
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    wrong: list[str] = field(default_factory=list)
    _made: int = 0

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: int, per_address: int | None = None
    ) -> tuple[SendResult, int]:
        await self._is_to_be_sent(headers["webhook-id"])
        fate = self.script.fates[self._made] if self._made < len(self.script.fates) else self.script.rest
        self._made += 1
        sent = Post(headers["webhook-id"], body, self.clock(), fate, settled=False)
        if isinstance(fate, Dies):
            self.died = fate
            if fate.sent:
                self.posts.append(sent)
            self.stuck += 1
            await asyncio.Event().wait()
        self.posts.append(sent)
        if isinstance(fate, Late):
            self.stuck, self.late = self.stuck + 1, self.late + 1
            await self.let_go.wait()
            self.stuck, self.late = self.stuck - 1, self.late - 1
            fate = fate.outcome
        sent.settled = True
        assert isinstance(fate, HttpResponse | RequestFailed)
        return fate, 3

    async def _is_to_be_sent(self, webhook_id: str) -> None:
        """What is sent is pending, and somebody's."""
        query = text("SELECT status, leased_by FROM deliveries WHERE event_id = :id")
        row = await self.store.read(lambda tx: tx.execute(query, {"id": webhook_id}).one_or_none())
        if row is None:
            self.wrong.append(f"{webhook_id} is no event's id")
        elif row.status != "pending" or row.leased_by is None:
            self.wrong.append(f"sent while {row.status}, held by {row.leased_by}")


class World:
    """Relays that share a store and an endpoint, one after the other or at once; nothing happens but by the script."""

    def __init__(self, store: Store, script: Script) -> None:
        self.store, self.script, self.clock = store, script, Clock()
        self.wire = Scripted(store, self.clock, script)
        self.endpoint = make_endpoint(format=script.format)
        self.ids: list[str] = []
        self.resends: Counter[str] = Counter()
        self.resent: Counter[str] = Counter()
        self.relays = 0
        self.relay = self.another()

    def another(self) -> Dispatcher:
        self.relays += 1
        rules = DeliverySection.model_validate(
            {"schedule": [f"{ms // SECOND}s" for ms in SCHEDULE], "disable_after": self.script.disable_after}
        )
        owner, rng = f"own_{self.relays}", random.Random(self.relays)
        return Dispatcher(self.store, self.wire, rules, self.clock, Telemetry(), owner, rng)

    async def play(self) -> None:
        await self.store.write(self._begin)
        by_hand, before = list(self.script.by_hand), None
        for _ in range(ROUNDS):
            due = await self.store.read(next_delivery_due)
            if due is None and not by_hand:
                return
            state = (due, len(self.wire.posts), len(by_hand))
            self.clock.at = max(self.clock.at + (SECOND if state == before else 0), due or 0)
            before = state
            await self._round()
            if by_hand:
                await self._by_hand(*by_hand.pop(0))
        raise AssertionError("it comes to no end")

    def _begin(self, tx: Tx) -> None:
        for table in metadata.sorted_tables:
            tx.execute(delete(table))
        tx.execute(text("DELETE FROM moves"))
        endpoints.add(tx, self.endpoint)
        for number in range(self.script.events):
            enqueue(tx, make_event(f"j{number}"), [(self.endpoint, None)], NOON, 0)
        self.ids = list(tx.execute(text("SELECT id FROM deliveries ORDER BY job_id")).scalars())

    async def _round(self) -> None:
        await self.relay.tick()
        await self._quiet()
        if self.wire.late and self.wire.died is None:
            self.relay = self.another()
            self.clock.advance(LEASE + 1)
            await self.relay.tick()
            await self._quiet()
            self.wire.let_go.set()
            await self._quiet()
            self.wire.let_go = asyncio.Event()
        if (died := self.wire.died) is not None:
            await self._all_die()
            self.relay = self.another()
            if died.restarts:
                await self.store.write(lambda tx: outbox.release(tx, self.clock()))

    async def _quiet(self) -> None:
        """Returns when all that was sent is written down, but for what is stuck."""
        until = time.monotonic() + 30
        while len(asyncio.all_tasks()) - 1 > self.wire.stuck:
            assert time.monotonic() < until, "it does not come to rest"
            await asyncio.sleep(0.0003)

    async def _all_die(self) -> None:
        dead = asyncio.all_tasks() - {asyncio.current_task()}
        for task in dead:
            task.cancel()
        await asyncio.gather(*dead, return_exceptions=True)
        self.wire.died, self.wire.stuck, self.wire.late = None, 0, 0

    async def _by_hand(self, what: str, which: int) -> None:
        id = self.ids[which % len(self.ids)]

        def work(tx: Tx) -> None:
            if what == "resend" and deliveries.resend(tx, id, self.clock()):
                self.resent[id] += 1
                self.resends[id] += 1
            elif what == "withdraw":
                job = ("default", f"j{which % len(self.ids)}")
                outbox.cancel(tx, self.endpoint.id, job, self.clock(), "the registration was withdrawn")
            elif what == "disable":
                standing.disable(tx, self.endpoint, self.clock())
            elif what == "enable":
                standing.enable(tx, self.endpoint, self.clock())
                self.resends.update(self.ids)

        await self.store.write(work)


def check(tx: Tx, world: World) -> None:
    """What holds whatever happened."""
    endpoint = standing.get(tx, world.endpoint.id)
    assert world.wire.wrong == []
    for id in world.ids:
        found = deliveries.get(tx, id)
        assert found is not None
        posts = [post for post in world.wire.posts if post.webhook_id == found.event_id]
        check_ending(found, endpoint.disabled_reason, posts, world.resends[id])
        check_attempts(found, posts, world.resends[id])
        moves = tx.execute(text("SELECT before, after FROM moves WHERE delivery = :id"), {"id": id}).all()
        check_moves([(row.before, row.after) for row in moves], posts, world.resent[id])
    assert {post.webhook_id for post in world.wire.posts} <= {make_event(f"j{n}").id for n in range(len(world.ids))}


def check_ending(found: Delivery, disabled: str | None, posts: list[Post], resends: int) -> None:
    """Delivered, failed or cancelled with a reason; or held, and the endpoint says why."""
    assert found.next_attempt_at is None
    if found.status is DeliveryStatus.PENDING:
        assert disabled, "held, and the endpoint is enabled"
        return
    assert found.ended_at is not None
    assert (found.reason is None) == (found.status is DeliveryStatus.DELIVERED)
    taken = [post for post in posts if is_taken(post.fate)]
    assert taken or found.status is not DeliveryStatus.DELIVERED
    if resends == 0 and any(post.settled for post in taken):
        assert found.status is DeliveryStatus.DELIVERED


def check_attempts(found: Delivery, posts: list[Post], resends: int) -> None:
    """No more than the schedule has, and one for each that a relay died of; never early; always the same bytes."""
    lost = sum(isinstance(post.fate, Dies | Late) for post in posts)
    assert len(posts) <= len(SCHEDULE) * (1 + resends) + lost
    assert found.attempts_in_run <= len(SCHEDULE)
    assert {post.body for post in posts} <= {found.body}
    if not lost and not resends:
        for number, (one, next) in enumerate(pairwise(posts), 1):
            assert next.at - one.at >= SCHEDULE[number]


def check_moves(moves: list[tuple[str, str]], posts: list[Post], resent: int) -> None:
    """From pending to an ending; back by a resend only; and a success that comes late is a success."""
    assert sum(after == "pending" for _, after in moves) == resent
    for before, after in moves:
        if before != "pending" and after != "pending":
            assert after == "delivered"
            assert any(isinstance(post.fate, Late) and is_taken(post.fate) for post in posts)


def is_taken(fate: Fate) -> bool:
    outcome = fate.outcome if isinstance(fate, Late) else fate
    return isinstance(outcome, HttpResponse) and 200 <= outcome.status < 300


wishes = st.sampled_from(["", "", "", "disable", "Abort-Message", "abort-message", "please"])
waits = st.sampled_from(
    ["", "0", "7", "100000000", "-1", "1e9", "soon", "Fri, 01 Mar 2024 12:05:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"]
)
bodies = st.sampled_from([b"", b"ok", b"no_service", b"invalid_blocks", b"\x00\xff"])
statuses = st.sampled_from([200, 204, 301, 304, 400, 404, 410, 429, 500, 502, 503, 504, 599, 700])
answers = st.builds(
    lambda status, directive, wait, body: HttpResponse(
        status, {"webhook-delivery": directive, "retry-after": wait}, body
    ),
    statuses,
    wishes,
    waits,
    bodies,
)
kinds = st.sampled_from(["timeout", "timeout", "connection", "tls", "protocol", "blocked", "internal"])
outcomes = st.one_of(answers, st.builds(RequestFailed, kinds, st.just("nothing came")))
lates = st.builds(Late, st.one_of(st.just(HttpResponse(200, {}, b"")), outcomes))
fates = st.one_of(outcomes, outcomes, st.builds(Dies, st.booleans(), st.booleans()), lates)
rests = st.sampled_from(
    [
        HttpResponse(200, {}, b""),
        HttpResponse(500, {}, b""),
        HttpResponse(410, {}, b""),
        RequestFailed("timeout", "none"),
    ]
)
acts = st.sampled_from(["nothing", "nothing", "nothing", "resend", "withdraw", "disable", "enable"])
scripts = st.builds(
    Script,
    fates=st.lists(fates, max_size=12),
    rest=rests,
    by_hand=st.lists(st.tuples(acts, st.integers(0, 2)), max_size=8),
    events=st.integers(1, 3),
    format=st.sampled_from(["standard", "slack"]),
    disable_after=st.sampled_from(["1m", "5d"]),
)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """One loop for all examples: the store stays open between them."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def kept(loop: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A SQLite store that writes down every change of a delivery's status."""
    folder: Path = tmp_path_factory.mktemp("whatever")
    store = loop.run(Store.open(f"sqlite:///{folder}/relay.db"))
    for statement in _WATCHED.split(";\n"):
        loop.run(store.write(lambda tx, one=statement: tx.exec_driver_sql(one)))  # type: ignore[misc]
    yield store
    loop.run(store.aclose())


@settings(max_examples=120, derandomize=True, deadline=None, database=None)
@given(script=scripts)
def test_every_delivery_ends_by_allowed_steps(loop: asyncio.Runner, kept: Store, script: Script) -> None:
    """Answers, deaths, takeovers, hands: an ending with its reason, no attempt too many, always the same bytes."""

    async def play() -> None:
        world = World(kept, script)
        await world.play()
        await kept.read(lambda tx: check(tx, world))

    loop.run(play())
