"""The connections to Exec: none is waited for, and one that Exec has closed costs one repeat."""

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from relay.model.create_result import JobCreated, JobCreationUnknown
from relay.model.poll_result import JobFound, PollFailed
from relay.polling.exec_client import ExecClient
from relay.polling.exec_transport import make_http
from tests.adapters.exec_polls import KEY, NOW, exec_client, job_answer
from tests.loopback import Behaviour, Served, Wire, serving


def hanging_up(after: int, answers: Iterator[bytes]) -> Behaviour:
    """Each connection answers so many requests, reads one more, and hangs up instead of answering it."""

    async def behave(wire: Wire) -> None:
        for _ in range(after):
            await wire.read()
            await wire.send(next(answers))
        await wire.read()

    return behave


class Budget:
    """So many requests may be repeated."""

    def __init__(self, left: int) -> None:
        self.left = left

    async def has_one(self) -> bool:
        """Whether there is one; it is spent then."""
        self.left -= 1
        return self.left >= 0


def jobs() -> Iterator[bytes]:
    while True:
        yield job_answer()


@asynccontextmanager
async def all_at_once(most: int, connections: int, timeout: int) -> AsyncIterator[tuple[list[object], int]]:
    """So many polls at once of an Exec that answers when it has them all; what they saw, and how many it had."""
    arrived = asyncio.Event()

    async def behave(wire: Wire) -> None:
        await wire.read()
        if len(wire.served.requests) >= most:
            arrived.set()
        await arrived.wait()
        await wire.send(job_answer())
        await wire.hang()

    async with serving(behave) as served, make_http(timeout, connections) as http:
        client = ExecClient("default", KEY, served.url("/"), timeout=timeout, clock=lambda: NOW, http=http)
        polls = await asyncio.gather(*(client.get_job("j1o2b3i4d5x6") for _ in range(most)))
        yield [type(poll.result) for poll in polls], served.most_open


async def few_open(served: Served, most: int) -> None:
    """Returns when Exec sees no more connections than that."""
    async with asyncio.timeout(30):
        while served.open > most:
            await asyncio.sleep(0)


@pytest.mark.parametrize("connections", [1, 100])
async def test_no_poll_waits_for_a_connection(connections: int) -> None:
    """All requests are sent at once, even if fewer connections are kept."""
    async with all_at_once(100, connections, 10_000) as (seen, open):
        assert seen == [JobFound] * 100
        assert open == 100


async def test_idle_connections_are_reused_and_no_more_kept_than_configured() -> None:
    """A burst opens one for each request; the next requests use those that are kept."""
    async with serving(hanging_up(9, jobs())) as served, make_http(5_000, 3) as http:
        client = ExecClient("default", KEY, served.url("/"), timeout=5_000, clock=lambda: NOW, http=http)
        await asyncio.gather(*(client.get_job("j1o2b3i4d5x6") for _ in range(10)))
        opened = served.connections
        await few_open(served, 3)
        await asyncio.gather(*(client.get_job("j1o2b3i4d5x6") for _ in range(3)))
        assert served.connections == opened
        await client.create({"prompt": "x"})
        assert served.connections == opened + 1
        await few_open(served, 3)


async def test_a_kept_connection_that_hangs_up_costs_one_repeat() -> None:
    """The poll sees the job, after it asked once for a second request."""
    budget = Budget(5)
    async with serving(hanging_up(1, jobs())) as served, exec_client(served) as client:
        polls = [await client.get_job("j1o2b3i4d5x6", budget.has_one) for _ in range(3)]
        assert [type(poll.result) for poll in polls] == [JobFound] * 3
        assert (budget.left, len(served.requests)) == (4, 4)


@pytest.mark.parametrize("asks", [True, False])
async def test_without_budget_a_poll_is_not_repeated(asks: bool) -> None:
    """The relay sends Exec nothing that its limit does not allow."""
    async with serving(hanging_up(1, jobs())) as served, exec_client(served) as client:
        await client.get_job("j1o2b3i4d5x6")
        poll = await client.get_job("j1o2b3i4d5x6", Budget(0).has_one if asks else None)
        assert isinstance(poll.result, PollFailed)
        assert (poll.result.kind, len(served.requests)) == ("connection", 2)


async def test_many_polls_at_once_on_connections_that_hang_up() -> None:
    """Each is repeated by itself, and none meets another closed one."""
    async with serving(hanging_up(1, jobs())) as served, exec_client(served) as client:
        budget = Budget(10)
        await asyncio.gather(*(client.get_job("j1o2b3i4d5x6") for _ in range(10)))
        again = await asyncio.gather(*(client.get_job("j1o2b3i4d5x6", budget.has_one) for _ in range(10)))
        assert [type(poll.result) for poll in again] == [JobFound] * 10


async def test_a_new_connection_that_hangs_up_is_a_failed_poll() -> None:
    """An immediate repeat would probably fail too."""
    async with serving(hanging_up(0, jobs())) as served, exec_client(served) as client:
        poll = await client.get_job("j1o2b3i4d5x6", Budget(5).has_one)
        assert isinstance(poll.result, PollFailed)
        assert (poll.result.kind, len(served.requests)) == ("connection", 1)


async def test_a_repeat_that_hangs_up_too_is_a_failed_poll() -> None:
    """There is one repeat, not more."""
    limits = iter([1, 0])

    async def behave(wire: Wire) -> None:
        await hanging_up(next(limits), jobs())(wire)

    async with serving(behave) as served, exec_client(served) as client:
        await client.get_job("j1o2b3i4d5x6")
        poll = await client.get_job("j1o2b3i4d5x6", Budget(5).has_one)
        assert isinstance(poll.result, PollFailed)
        assert len(served.requests) == 3


async def test_a_creation_is_never_repeated_and_meets_no_old_connection() -> None:
    """It could create the job twice."""
    async with serving(hanging_up(1, jobs())) as served, exec_client(served) as client:
        await client.get_job("j1o2b3i4d5x6")
        assert isinstance(await client.create({"prompt": "x"}), JobCreated)
    async with serving(hanging_up(0, jobs())) as served, exec_client(served) as client:
        assert isinstance(await client.create({"prompt": "x"}), JobCreationUnknown)
        assert len(served.requests) == 1


async def test_without_file_descriptors_a_poll_fails_as_internal() -> None:
    """Exec is not blamed."""
    async with serving(hanging_up(1, jobs())) as served, exec_client(served) as client:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)
        opened = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest_descriptor() + 8, most[1]))
        try:
            with suppress(OSError):
                while True:
                    opened.append(open("/dev/null"))  # noqa: SIM115 (closed below)
            poll = await client.get_job("j1o2b3i4d5x6")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, most)
            for one in opened:
                one.close()
        assert isinstance(poll.result, PollFailed)
        assert poll.result.kind == "internal"
        assert "ulimit -n" in poll.result.detail
        assert isinstance((await client.get_job("j1o2b3i4d5x6")).result, JobFound)


def highest_descriptor() -> int:
    """The highest number of those that this process has."""
    return max(int(name) for name in os.listdir("/proc/self/fd"))


async def test_closing_closes_all_connections(recwarn: pytest.WarningsRecorder) -> None:
    """No connection stays open."""
    async with serving(hanging_up(9, jobs())) as served, make_http(1_000) as http:
        client = ExecClient("default", KEY, served.url("/"), timeout=1_000, clock=lambda: NOW, http=http)
        await client.get_job("j1o2b3i4d5x6")
    assert served.open == 0
    assert isinstance(http, httpx.AsyncClient)
    assert not recwarn.list
