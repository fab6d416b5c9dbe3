"""Tasks of the protocol 2025-11-25 for `wait_for_job`: a client gets a task at once, and asks for its state and result.

The task is the job. Its id holds what was asked for, so nothing is stored, any relay behind a load balancer answers for
it, also after a restart, and it is as readable as the job is: by every key with the scope `read`. There is no
`tasks/cancel` and no `tasks/list`: a job at Exec can't be stopped, and `list_jobs` lists jobs.

Later versions of the protocol have no such tasks. To them, and to clients that do not ask for one, the tool is a plain
one.
"""

import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from relay.client import AsyncRelay, ClientError, Job
from relay.mcp import results

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server
    from mcp.server.models import InitializationOptions

TOOL = "wait_for_job"
POLL_EVERY = 5_000
"""Milliseconds between two questions for the state; the relay answers from what it knows."""
MAX_TTL = 7 * 24 * 3_600_000
_UNKNOWN = "there is no such task: call wait_for_job as a task again"


@dataclass(frozen=True, slots=True)
class JobTask:
    """A wait for a job, and until when it can be asked for."""

    job_id: str
    workspace: str | None
    created: int
    """Milliseconds since 1970, as `ttl`."""
    ttl: int

    def encode(self) -> str:
        """The task's id."""
        fields = json.dumps([self.job_id, self.workspace, self.created, self.ttl], separators=(",", ":"))
        return "wait-" + base64.urlsafe_b64encode(fields.encode()).decode().rstrip("=")


def decode(task_id: str) -> JobTask | None:
    """The task with this id; None for any other text."""
    text = task_id.removeprefix("wait-")
    try:
        fields = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        return None
    match fields:
        case [str(job_id), str() | None as workspace, int(created), int(ttl)] if (
            0 <= created < 1e14 and 0 < ttl <= MAX_TTL
        ):
            task = JobTask(job_id, workspace, created, ttl)
            return task if task.encode() == task_id else None
    return None


def add_tasks(server: "Server[Any]", relay_of_caller: Callable[[], AsyncRelay], now: Callable[[], int]) -> None:
    """Lets `wait_for_job` be called as a task; `now` is in milliseconds since 1970."""
    from mcp import types
    from mcp.shared.exceptions import McpError

    def refuse(message: str) -> McpError:
        return McpError(types.ErrorData(code=types.INVALID_PARAMS, message=message))

    async def ask(work: Awaitable[Job]) -> Job:
        try:
            return await work
        except ClientError as error:
            raise refuse(str(error)) from None

    def job_of(task: JobTask) -> Awaitable[Job]:
        return ask(relay_of_caller().job(task.job_id, workspace=task.workspace))

    async def ended(task: JobTask) -> Job:
        left = (task.created + task.ttl - now()) / 1_000
        updates = relay_of_caller().updates(task.job_id, timeout=left, workspace=task.workspace)
        return [job async for job in updates][-1]

    def found(task_id: str) -> JobTask:
        task = decode(task_id)
        if task is None or now() >= task.created + task.ttl:
            raise refuse(_UNKNOWN)
        return task

    def state(task: JobTask, job: Job) -> dict[str, Any]:
        created = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=task.created)
        return {
            "taskId": task.encode(),
            "status": "completed" if job.ended else "working",
            "statusMessage": f"Exec's status: {job.status or 'not known yet'}",
            "createdAt": created,
            "lastUpdatedAt": datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=now()),
            "ttl": task.ttl,
            "pollInterval": POLL_EVERY,
        }

    call_tool = server.request_handlers[types.CallToolRequest]
    list_tools = server.request_handlers[types.ListToolsRequest]

    async def call(request: types.CallToolRequest) -> types.ServerResult:
        if request.params.task is None or request.params.name != TOOL:
            return await call_tool(request)
        arguments = request.params.arguments or {}
        job_id, workspace = arguments.get("job_id"), arguments.get("workspace")
        if not isinstance(job_id, str) or not isinstance(workspace, str | None):
            return await call_tool(request)  # says what is wrong
        ttl = min(max(request.params.task.ttl or MAX_TTL, 1), MAX_TTL)
        task = JobTask(job_id, workspace, now(), ttl)
        return types.ServerResult(types.CreateTaskResult(task=types.Task(**state(task, await job_of(task)))))

    async def get(request: types.GetTaskRequest) -> types.ServerResult:
        task = found(request.params.taskId)
        return types.ServerResult(types.GetTaskResult(**state(task, await job_of(task))))

    async def result(request: types.GetTaskPayloadRequest) -> types.ServerResult:
        """The protocol wants the answer to wait for the end. A client that goes away ends it before."""
        task = found(request.params.taskId)
        waited = results.waited(await ask(ended(task)))
        content = types.TextContent(type="text", text=waited.model_dump_json(indent=2))
        related = {"io.modelcontextprotocol/related-task": {"taskId": request.params.taskId}}
        return types.ServerResult(
            types.CallToolResult(content=[content], structuredContent=waited.model_dump(), _meta=related)
        )

    async def tools(request: types.ListToolsRequest) -> types.ServerResult:
        listed = await list_tools(request)
        for tool in listed.root.tools if isinstance(listed.root, types.ListToolsResult) else ():
            if tool.name == TOOL:
                tool.execution = types.ToolExecution(taskSupport="optional")
        return listed

    handlers: dict[Any, Callable[[Any], Awaitable[types.ServerResult]]] = {
        types.CallToolRequest: call,
        types.GetTaskRequest: get,
        types.GetTaskPayloadRequest: result,
        types.ListToolsRequest: tools,
    }
    server.request_handlers.update(handlers)


def options_with_tasks(server: "Server[Any]") -> "InitializationOptions":
    """What the server says of itself: with tasks for calls of tools, without a list and without cancelling."""
    from mcp import types

    options = server.create_initialization_options()
    call = types.TasksToolsCapability(call=types.TasksCallCapability())
    options.capabilities.tasks = types.ServerTasksCapability(requests=types.ServerTasksRequestsCapability(tools=call))
    return options
