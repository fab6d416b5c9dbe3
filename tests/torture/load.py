"""The load: a driver that registers jobs over HTTP until it is stopped, and records which got 201.

What gets no answer, or 5xx, is asked again with the same `Idempotency-Key`, of whichever relay, until it is answered.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from relay.sandbox.exec_server import FakeExec
from relay.sandbox.job_simulation import JobProfile
from tests.e2e.conftest import API_KEY
from tests.loopback import http_client
from tests.make import SECRET
from tests.torture.verdict import Accepted

BEARER = {"authorization": f"Bearer {API_KEY}"}
QUICK = JobProfile(median=400, sigma=0.8, queued=50, fail=0.2, cancel=0.1)
"""Jobs of about half a second, a few of several seconds, that end in all three ways."""

_SHARED = 6
_AGAIN = 0.05
_LIST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How much is registered, and how. `rate`: requests a second; `receivers`: base URLs that callbacks go to."""

    receivers: Sequence[str]
    rate: float
    law: JobProfile = QUICK
    at_once: int = 4
    batch: float = 0.1
    """The share of requests that register several jobs in one transaction."""


class Load:
    """Registers at any of `relays`, which gives their URLs of the moment. Nothing it was answered is forgotten."""

    def __init__(
        self, exec: FakeExec, relays: Callable[[], Sequence[str]], settings: Settings, rng: random.Random
    ) -> None:
        self.accepted: list[Accepted] = []
        self.refused: list[str] = []
        """Answers that no registration of ours deserves: 4xx."""
        self.in_vain: Counter[str] = Counter()
        """Requests that had to be made again, by the status that they were answered."""
        self._exec, self._relays, self._settings, self._rng = exec, relays, settings, rng
        self._numbers = 0
        self._stopping = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Starts to register."""
        self._running = [asyncio.create_task(self._keep_registering()) for _ in range(self._settings.at_once)]

    async def stop(self) -> None:
        """Starts no further registration; returns when all pending ones are answered."""
        self._stopping.set()
        await asyncio.gather(*self._running)

    async def register(self, http: httpx.AsyncClient) -> None:
        """Sends one request until it is answered: one job or several, each with its own receiver, a shared one
        or none."""
        if self._rng.random() < self._settings.batch:
            wishes = [self._wish() for _ in range(self._rng.randrange(2, 6))]
            answer = await self._ask(http, "/v1/registrations/batch", {"registrations": wishes})
            results = answer["data"] if answer else []
        else:
            wishes = [self._wish()]
            answer = await self._ask(http, "/v1/registrations", wishes[0])
            results = [{"status": 201, "registration": answer}] if answer else []
        for wish, result in zip(wishes, results, strict=False):
            if result["status"] != 201:
                self.refused.append(f"in a batch: {result}")
                continue
            path = "/" + wish["callback_url"].split("/", 3)[3] if "callback_url" in wish else None
            self.accepted.append(Accepted(id=result["registration"]["id"], job_id=wish["job_id"], path=path))

    async def _keep_registering(self) -> None:
        async with http_client(headers=BEARER, trust_env=False, timeout=5) as http:
            while not self._stopping.is_set():
                await self.register(http)
                await asyncio.sleep(self._rng.expovariate(self._settings.rate / self._settings.at_once))

    def _wish(self) -> dict[str, Any]:
        """A new job at Exec, and who is notified of it."""
        self._numbers += 1
        job = self._exec.add(profile=self._settings.law)
        wish: dict[str, Any] = {"job_id": job.id, "metadata": {"note": "x" * self._rng.randrange(2_000)}}
        kind, base = self._rng.random(), self._rng.choice(self._settings.receivers)
        if kind < 0.1:
            return wish
        path = f"own/{job.id}" if kind < 0.4 else f"shared/{self._rng.randrange(_SHARED)}"
        return wish | {"callback_url": f"{base}/{path}", "secret": SECRET}

    async def _ask(self, http: httpx.AsyncClient, path: str, body: Any) -> Any:
        """The answer's JSON; None if the relay refused for good."""
        key = {"idempotency-key": f"load-{self._numbers}-{self._rng.getrandbits(64):x}"}
        while True:
            try:
                answer = await http.post(self._rng.choice(self._relays()) + path, json=body, headers=key)
            except httpx.HTTPError:
                answer = None
            if answer is not None and answer.status_code in (200, 201):
                return answer.json()
            if answer is not None and answer.status_code < 500 and answer.status_code not in (409, 429):
                self.refused.append(f"{answer.status_code}: {answer.text}")
                return None
            self.in_vain["no answer" if answer is None else str(answer.status_code)] += 1
            await asyncio.sleep(_AGAIN)


async def listed(http: httpx.AsyncClient, path: str, **query: str) -> list[dict[str, Any]]:
    """All pages of a list of the relay's API."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = (await http.get(path, params={"limit": str(_LIST), **query, **cursor})).raise_for_status().json()
        found += answer["data"]
        if answer["next_cursor"] is None:
            return found
        cursor = {"cursor": answer["next_cursor"]}
