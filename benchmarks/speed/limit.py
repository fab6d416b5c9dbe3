"""The limit: the least that makes the same deliveries as durably, with aiohttp and sqlite3 alone.

The deliveries of an event to all hosts are inserted and leased in one commit, into the relay's own tables; each is
signed and posted; results are gathered as long as the relay gathers them, and written, with their attempts, in one
commit. There is no plan, no fair shares, no check of addresses, no decision about answers, no log and no metrics.
"""

import asyncio
import base64
import hashlib
import hmac
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import aiohttp

from benchmarks.speed.subjects import BODY, HEADERS
from relay.store import Store

_INSERT = """INSERT INTO deliveries (id, event_id, event_type, workspace, job_id, endpoint_id, host, status, body,
 attempts, attempts_in_run, trigger, created_at, next_attempt_at, leased_by)
 VALUES (?, ?, 'job.completed', 'default', ?, ?, ?, 'pending', ?, 0, 0, 'schedule', ?, ?, 'limit')"""
_UPDATE = """UPDATE deliveries SET status = 'delivered', attempts = 1, attempts_in_run = 1, next_attempt_at = NULL,
 ended_at = ?, status_code = 204, leased_by = NULL WHERE id = ? AND leased_by = 'limit' AND status = 'pending'"""
_ATTEMPT = """INSERT INTO attempts (id, delivery_id, number, trigger, started_at, duration_ms, status_code, outcome,
 response) VALUES (?, ?, 1, 'schedule', ?, 1, 204, 'delivered', '')"""
_GATHERED = 0.01
"""Seconds for which results are gathered, as the relay does."""
_KEY = hmac.new(b"k" * 24, digestmod=hashlib.sha256)


async def fanned_out(store: str, targets: Sequence[str], number: int, concurrency: int) -> tuple[float, float]:
    """(wall, CPU) seconds in which so many deliveries are made and written down."""
    await (await Store.open(store)).aclose()
    path = store.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, check_same_thread=False, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = FULL")
        with ThreadPoolExecutor(1) as writer:
            connector = aiohttp.TCPConnector(limit=concurrency)
            async with aiohttp.ClientSession(connector=connector) as session:
                began, used = time.perf_counter(), time.process_time()
                await _Deliveries(database, writer, session, concurrency).make(targets, number)
                return time.perf_counter() - began, time.process_time() - used


class _Deliveries:
    def __init__(
        self, database: sqlite3.Connection, writer: ThreadPoolExecutor, session: aiohttp.ClientSession, concurrency: int
    ) -> None:
        self._database, self._writer, self._session = database, writer, session
        self._slots = asyncio.Semaphore(concurrency)
        self._answered: list[tuple[int, str]] = []
        self._came = asyncio.Event()

    async def make(self, targets: Sequence[str], number: int) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._record(number))
            for event in range(number // len(targets)):
                at, ids = _now(), [f"dlv_{event:013d}{place:013d}" for place in range(len(targets))]
                rows = [
                    (id, f"evt_{event:032d}", f"j{event}", f"ep_{place:026d}", target, BODY, at, at + 40_000)
                    for place, (id, target) in enumerate(zip(ids, targets, strict=True))
                ]
                await self._commit((_INSERT, rows))
                for id, target in zip(ids, targets, strict=True):
                    await self._slots.acquire()
                    group.create_task(self._post(id, target))

    async def _post(self, id: str, target: str) -> None:
        at = _now()
        signature = _KEY.copy()
        signature.update(f"{id}.{at // 1_000}.".encode() + BODY)
        signed = "v1," + base64.b64encode(signature.digest()).decode()
        headers = HEADERS | {"webhook-id": id, "webhook-timestamp": str(at // 1_000), "webhook-signature": signed}
        async with self._session.post(target, headers=headers, data=BODY) as answer:
            await answer.read()
            assert answer.status == 204
        self._slots.release()
        self._answered.append((at, id))
        self._came.set()

    async def _record(self, number: int) -> None:
        while number > 0:
            await self._came.wait()
            await asyncio.sleep(_GATHERED)
            self._came.clear()
            some, self._answered = self._answered, []
            await self._commit(
                (_UPDATE, [(at + 1, id) for at, id in some]), (_ATTEMPT, [(f"att{id}", id, at) for at, id in some])
            )
            number -= len(some)

    async def _commit(self, *work: tuple[str, Sequence[tuple[Any, ...]]]) -> None:
        def commit() -> None:
            self._database.execute("BEGIN IMMEDIATE")
            for statement, rows in work:
                self._database.executemany(statement, rows)
            self._database.execute("COMMIT")

        await asyncio.get_running_loop().run_in_executor(self._writer, commit)


def _now() -> int:
    return time.time_ns() // 1_000_000
