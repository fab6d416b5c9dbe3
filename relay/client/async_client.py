"""The client for asyncio: as `Relay`, its methods to be awaited."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from relay.client import calls, retries
from relay.client.calls import Call
from relay.client.errors import Unreachable, WaitTimeout
from relay.client.results import CreatedJob, Event, Job, Registration, created_of, event_of, job_of, registration_of
from relay.client.retries import Answer, Patience, Retry
from relay.client.stored_events import verify
from relay.client.tls import trusted_by
from relay.client.waiting import JobWait


class AsyncRelay:
    """A running relay. Close it, or use it as a context manager, when many are made; one for the program needs none.

    Every method raises ApiError if the relay refuses, and Unreachable if none answers for `retry_for` seconds.
    """

    verify = staticmethod(verify)

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        slice: float = calls.SLICE,
        retry_for: float = calls.RETRY_FOR,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """`url` and `key` are RELAY_URL and RELAY_API_KEY by default. `slice` is how many seconds one waiting request
        takes at the most; `http` sends the requests in place of a client of its own."""
        self._address, self._slice, self._retry_for = calls.address(url, key), slice, retry_for
        self._http = http or httpx.AsyncClient(verify=trusted_by(self._address.url), trust_env=False)

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.close()

    async def create(
        self,
        *,
        user_email: str,
        prompt: str,
        callback_url: str | None = None,
        endpoint: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        workspace: str | None = None,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> CreatedJob:
        """Creates a job at Exec and registers it; `fields` are the other fields of `POST /v1/jobs`.

        The same `idempotency_key` creates nothing twice, in later runs of the program too; without one each call has
        its own, which its retries share.
        """
        named = {"callback_url": callback_url, "endpoint": endpoint, "metadata": metadata, "workspace": workspace}
        call = calls.create(idempotency_key, {"user_email": user_email, "prompt": prompt, **named, **fields})
        answer = await self._send(call)
        return created_of(answer.body, answer.is_new)

    async def register(
        self,
        job_id: str,
        *,
        callback_url: str | None = None,
        endpoint: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        workspace: str | None = None,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Registration:
        """Registers a job; `fields` are the other fields of `POST /v1/registrations`."""
        named = {"callback_url": callback_url, "endpoint": endpoint, "metadata": metadata, "workspace": workspace}
        answer = await self._send(calls.register(idempotency_key, {"job_id": job_id, **named, **fields}))
        return registration_of(answer.body, answer.is_new)

    async def job(self, job_id: str, *, workspace: str | None = None) -> Job:
        """The job as the relay knows it now."""
        return job_of((await self._send(calls.job(job_id, workspace))).body)

    async def wait(self, job_id: str, *, timeout: float | None = None, workspace: str | None = None) -> Job:
        """The job once it has ended, whichever way: `completed` says whether the scenario is ready.

        Waits for at most `timeout` seconds; None: as long as it takes. Raises WaitTimeout; the job goes on.
        """
        jobs = [job async for job in self.updates(job_id, timeout=timeout, workspace=workspace)]
        if not jobs[-1].ended:
            raise WaitTimeout(job_id, jobs[-1])
        return jobs[-1]

    async def updates(
        self, job_id: str, *, timeout: float | None = None, workspace: str | None = None
    ) -> AsyncIterator[Job]:
        """As `wait`, but yields the job every 25 seconds meanwhile. The last one has ended, unless the time is over."""
        waiting = JobWait(self._address.url, time.monotonic(), timeout, self._slice, self._retry_for)
        seconds: float | None = 0
        while seconds is not None:
            try:
                call = calls.job(job_id, workspace, seconds)
                job = job_of((await self._send(call, waiting.patience())).body)
            except Unreachable:
                if waiting.has_answer:
                    return  # the relay is away, and the time is over
                raise
            waiting.answered()
            yield job
            seconds = None if job.ended else waiting.next_slice(time.monotonic())

    async def events(
        self,
        after: str = "now",
        *,
        types: Sequence[str] | None = None,
        job_id: str | None = None,
        workspace: str | None = None,
        endpoint: str | None = None,
        follow: bool = True,
    ) -> AsyncIterator[Event]:
        """Events in their order, from the cursor `after` on (`0`: the oldest stored, `now`: from now on).

        Goes on for ever, over restarts of the relay, unless not `follow`: then it ends with the newest event. With
        `endpoint`, the events of that endpoint, signed. Raises CursorGone.
        """
        while True:
            call = calls.events(after, types, job_id, workspace, endpoint, self._slice if follow else 0)
            answer = await self._send(
                call, Patience(self._address.url, float("inf")) if follow and after != "now" else None
            )
            page = answer.body
            for raw in page["data"]:
                yield event_of(raw)
            after = page["next_cursor"]
            if not follow and len(page["data"]) < calls.FOLLOWING:
                return

    async def request(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, json: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The answer to any other call of the API, such as `GET /v1/deliveries`; a POST is repeated as it is."""
        query = {name: str(value) for name, value in (params or {}).items() if value is not None}
        return (await self._send(Call(method, path, query, json))).body

    async def _send(self, call: Call, patience: Patience | None = None) -> Answer:
        patience = patience or Patience(self._address.url, time.monotonic() + self._retry_for)
        while True:
            answer = await self._try(call)
            if not isinstance(answer, Retry):
                return answer
            await asyncio.sleep(patience.delay(answer, time.monotonic(), random.random()))  # noqa: S311 (jitter)

    async def _try(self, call: Call) -> Answer | Retry:
        try:
            answer = await self._http.request(
                call.method,
                self._address.url + call.path,
                params=call.params,
                json=call.json,
                headers={**self._address.headers, **call.headers},
                timeout=call.wait + calls.TIMEOUT,
                follow_redirects=False,
            )
        except httpx.TransportError as error:
            return Retry(type(error).__name__)
        return retries.read_answer(answer.status_code, answer.headers, answer.content)
