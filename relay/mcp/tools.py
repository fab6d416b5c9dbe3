"""The tools. Each is a call of the relay's API by the caller's own key, through the Python client."""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field

from relay import __version__
from relay.client import AsyncRelay, ClientError
from relay.mcp import results
from relay.mcp.tasks import add_tasks

if TYPE_CHECKING:
    from mcp.server.fastmcp import FastMCP

MAX_WAIT = 45
"""Seconds of one call of `wait_for_job`: many clients give up after 60, whatever progress is reported."""

PROGRESS_EVERY = 15
"""Seconds between two reports of progress."""

SAME_CALL_WITHIN = 600
"""Seconds in which the same arguments mean the same job, unless the caller gives a key."""

_INSTRUCTIONS = """\
Creates role-play scenarios at Exec and waits for them. A scenario takes about five minutes. Create it with
create_scenario_job, then call wait_for_job until `ended` is true; each call returns within 45 seconds, and waiting
costs nothing. Repeating a call by mistake creates nothing twice."""

T = TypeVar("T")

Workspace = Annotated[str | None, Field(description="the Exec workspace, if the relay has several")]
IdempotencyKey = Annotated[
    str | None,
    Field(description="the same key is the same job for a day; without one, the same arguments are for ten minutes"),
]
Limit = Annotated[int, Field(ge=1, le=200, description="rows at most")]
Cursor = Annotated[str | None, Field(description="next_cursor of the previous page")]


def make_server(relay_of_caller: Callable[[], AsyncRelay]) -> "FastMCP":
    """The server, whose tools call the relay that `relay_of_caller` gives. Raises ImportError without the extra."""
    from mcp.server.fastmcp import Context, FastMCP
    from mcp.server.fastmcp.exceptions import ToolError
    from mcp.types import ToolAnnotations

    server = FastMCP("exec-relay", instructions=_INSTRUCTIONS)
    server._mcp_server.version = __version__
    reads = ToolAnnotations(readOnlyHint=True, openWorldHint=False)
    creates = ToolAnnotations(readOnlyHint=False, destructiveHint=False, idempotentHint=True, openWorldHint=True)

    async def ask(work: Awaitable[T]) -> T:
        try:
            return await work
        except ClientError as error:
            raise ToolError(str(error)) from None

    @server.tool(annotations=creates)
    async def create_scenario_job(
        user_email: Annotated[str, Field(description="the member of the workspace for whom the scenario is made")],
        prompt: Annotated[str, Field(description="a description of the scenario")],
        context: Annotated[str | None, Field(description="background for the scenario")] = None,
        callback_url: Annotated[str | None, Field(description="a URL that is notified at the end")] = None,
        workspace: Workspace = None,
        idempotency_key: IdempotencyKey = None,
    ) -> results.RegisteredJob:
        """Create a scenario at Exec, and have the relay watch it. Then call wait_for_job."""
        fields = {"user_email": user_email, "prompt": prompt, "context": context, "callback_url": callback_url}
        key = idempotency_key or _derived_key("create", {**fields, "workspace": workspace})
        job = await ask(
            relay_of_caller().create(
                user_email=user_email,
                prompt=prompt,
                context=context,
                callback_url=callback_url,
                workspace=workspace,
                idempotency_key=key,
            )
        )
        return results.created(job)

    @server.tool(annotations=creates)
    async def register_job(
        job_id: Annotated[str, Field(description="Exec's id of the job")],
        callback_url: Annotated[str | None, Field(description="a URL that is notified at the end")] = None,
        workspace: Workspace = None,
        idempotency_key: IdempotencyKey = None,
    ) -> results.RegisteredJob:
        """Have the relay watch a job that exists at Exec already. Then call wait_for_job."""
        key = idempotency_key or _derived_key("register", [job_id, callback_url, workspace])
        call = relay_of_caller().register(job_id, callback_url=callback_url, workspace=workspace, idempotency_key=key)
        return results.registered(await ask(call))

    @server.tool(annotations=reads)
    async def wait_for_job(
        job_id: Annotated[str, Field(description="Exec's id of the job")],
        context: Context[Any, Any, Any],
        seconds: Annotated[int, Field(ge=0, le=300, description="how long to wait at most")] = MAX_WAIT,
        workspace: Workspace = None,
    ) -> results.WaitedJob:
        """Wait until a job has ended, for 45 seconds at most. If `timed_out` is true the job goes on: call again."""
        started = asyncio.get_running_loop().time()
        await context.report_progress(0, seconds)
        job, waited = await ask(relay_of_caller().job(job_id, workspace=workspace)), 0.0
        while not job.ended and waited < seconds:
            updates = relay_of_caller().updates(
                job_id, timeout=min(PROGRESS_EVERY, seconds - waited), workspace=workspace
            )
            job = await ask(_last(updates))
            waited = asyncio.get_running_loop().time() - started
            if not job.ended and waited < seconds:
                await context.report_progress(waited, seconds, job.status)
        return results.waited(job)

    @server.tool(annotations=reads)
    async def list_jobs(
        state: Annotated[str | None, Field(description="active, settled, not_found, expired or withdrawn")] = None,
        workspace: Workspace = None,
        limit: Limit = 20,
        cursor: Cursor = None,
    ) -> results.JobPage:
        """List the jobs that the relay watches or watched, newest first."""
        params = {"state": state, "workspace": workspace, "limit": limit, "cursor": cursor}
        return results.job_page(await ask(relay_of_caller().request("GET", "/v1/jobs", params=params)))

    @server.tool(annotations=reads)
    async def list_deliveries(
        status: Annotated[str | None, Field(description="pending, delivered, failed or cancelled")] = None,
        job_id: Annotated[str | None, Field(description="only those of this job")] = None,
        limit: Limit = 20,
        cursor: Cursor = None,
    ) -> results.DeliveryPage:
        """List notifications and whether their receivers took them, newest first."""
        params = {"status": status, "job_id": job_id, "limit": limit, "cursor": cursor}
        return results.delivery_page(await ask(relay_of_caller().request("GET", "/v1/deliveries", params=params)))

    @server.tool(annotations=ToolAnnotations(readOnlyHint=False, destructiveHint=False, openWorldHint=True))
    async def resend(delivery_id: Annotated[str, Field(description="the id of the delivery")]) -> results.Resent:
        """Send a notification again that failed."""
        answer = await ask(relay_of_caller().request("POST", f"/v1/deliveries/{delivery_id}/resend"))
        return results.Resent(delivery_id=answer["id"], status=answer["status"])

    add_tasks(server._mcp_server, relay_of_caller, lambda: time.time_ns() // 1_000_000)
    return server


async def _last(updates: Any) -> Any:
    return [job async for job in updates][-1]


def _derived_key(tool: str, arguments: Any) -> str:
    """The idempotency key of these arguments, for as long as a client may repeat a call that it takes for lost."""
    window = int(time.time() // SAME_CALL_WITHIN)
    text = json.dumps([tool, arguments, window], sort_keys=True)
    return "mcp-" + hashlib.sha256(text.encode()).hexdigest()[:40]
