"""The MCP server, by the SDK's own client: over standard input and output, and over HTTP under the relay's keys."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import jsonschema
import pytest
from mcp import ClientSession, McpError, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, CancelledNotification, CancelledNotificationParams, ClientNotification

from relay.mcp.tasks import JobTask
from relay.model import EventType
from relay.sandbox.exec_server import ExecSettings
from relay.sandbox.local_server import serve
from relay.web.app import create_app
from tests.flows.conftest import World, world_on
from tests.forking import processes
from tests.loopback import http_client
from tests.node import ROOT
from tests.web.waiting import KEY, Served, end, open_relay, served_relay, serving

TOOLS = {"create_scenario_job", "register_job", "wait_for_job", "list_jobs", "list_deliveries", "resend"}


@asynccontextmanager
async def over_http(url: str, key: str | None = KEY, path: str = "/mcp") -> AsyncIterator[ClientSession]:
    """A session of the SDK's client with a relay."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with (
        http_client(headers=headers, timeout=60, trust_env=False) as http,
        streamable_http_client(url + path, http_client=http) as (read, write, _),
        ClientSession(read, write) as one,
    ):
        await one.initialize()
        yield one


@asynccontextmanager
async def over_stdio(url: str, key: str = KEY) -> AsyncIterator[ClientSession]:
    """A session of the SDK's client with `relay mcp`."""
    environ = {"RELAY_URL": url, "RELAY_API_KEY": key, "PYTHONPATH": str(ROOT)}
    program, *words = processes.command()
    server = StdioServerParameters(command=program, args=[*words, "mcp"], env=environ)
    async with stdio_client(server) as (read, write), ClientSession(read, write) as one:
        await one.initialize()
        yield one


async def call(session: ClientSession, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool gives; it is valid by the schema that the server advertises."""
    result = await session.call_tool(tool, arguments)
    assert not result.isError, result
    assert result.structuredContent is not None
    [schema] = [one.outputSchema for one in (await session.list_tools()).tools if one.name == tool]
    jsonschema.validate(result.structuredContent, schema or {})
    return result.structuredContent


def error_of(result: CallToolResult) -> str:
    """The words of a call that failed."""
    assert result.isError
    [content] = result.content
    assert content.type == "text"
    return content.text


async def test_the_tools_are_described(sqlite_url: str) -> None:
    """Reading ones as reading, creating ones as idempotent; all with the schema of what they return."""
    async with served_relay(sqlite_url) as served, over_http(served.url) as session:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
    assert set(tools) == TOOLS
    assert all(tool.outputSchema and tool.description for tool in tools.values())
    hints = {name: tool.annotations for name, tool in tools.items()}
    seconds = tools["wait_for_job"].inputSchema["properties"]["seconds"]
    assert 5 * 60 / seconds["default"] <= 8  # calls for a usual job, for a client that gives up after 60 seconds
    assert seconds["default"] < 60
    reading = {name for name, hint in hints.items() if hint and hint.readOnlyHint}
    assert reading == {"wait_for_job", "list_jobs", "list_deliveries"}
    assert {name for name, hint in hints.items() if hint and hint.idempotentHint} == {
        "create_scenario_job",
        "register_job",
    }


@pytest.mark.parametrize("way", ["http", "stdio"])
async def test_an_agent_creates_a_scenario_and_waits(sqlite_url: str, way: str) -> None:
    """From the prompt to the scenario's URL; the same call again creates nothing."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(world_on(sqlite_url, ExecSettings(seed=1)))
        url = await stack.enter_async_context(serve(create_app(world.relay, owns_relay=False)))
        session = await stack.enter_async_context(over_http(url, None) if way == "http" else over_stdio(url, ""))
        wish = {"user_email": "jane@acme.com", "prompt": "A discovery call"}
        created = await call(session, "create_scenario_job", **wish)
        again = await call(session, "create_scenario_job", **wish)
        assert (created["existed"], again["existed"], again["job_id"]) == (False, True, created["job_id"])
        assert "nothing was created now" in again["advice"]
        assert len([one for one in world.exec.records.requests if one.call == "create"]) == 1
        waiting = asyncio.create_task(call(session, "wait_for_job", job_id=created["job_id"]))
        await pass_time(world, waiting)
        done = await waiting
        assert (done["ended"], done["timed_out"], done["status"]) == (True, False, "completed")
        assert done["scenario_url"].startswith("https://")
        listed = await call(session, "list_jobs")
        assert [job["job_id"] for job in listed["jobs"]] == [created["job_id"]]


async def pass_time(world: World, waiting: "asyncio.Task[Any]") -> None:
    """Lets the world go on until the tool has answered."""
    async with asyncio.timeout(60):
        while not waiting.done():
            await world.advance(15_000)
            await asyncio.sleep(0.02)


async def test_a_wait_that_is_over_is_a_result(sqlite_url: str) -> None:
    """No error: it says that the job goes on, and to call again; then the end of any kind is a result too."""
    async with served_relay(sqlite_url) as served, over_http(served.url) as session:
        await served.register("j1")
        waited = await call(session, "wait_for_job", job_id="j1", seconds=1)
        assert (waited["ended"], waited["timed_out"], waited["status"]) == (False, True, None)
        assert "Call wait_for_job again" in waited["advice"]
        waiting = asyncio.create_task(call(session, "wait_for_job", job_id="j1"))
        await served.waits_open(1)
        await end(served.relay, "j1", EventType.FAILED)
        failed = await waiting
        assert (failed["ended"], failed["status"], failed["scenario_url"]) == (True, "failed", None)
        assert error_of(await session.call_tool("wait_for_job", {"job_id": "unknown"}))


async def test_progress_is_reported_to_who_asks(sqlite_url: str) -> None:
    """At once, then rising; nothing without a token, and nothing after the result."""
    async with served_relay(sqlite_url) as served, over_http(served.url) as session:
        await served.register("j1")
        reported: list[float] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            reported.append(progress)

        await session.call_tool("wait_for_job", {"job_id": "j1", "seconds": 1}, progress_callback=note)
        assert reported[0] == 0
        assert reported == sorted(set(reported))
        before = list(reported)
        await call(session, "wait_for_job", job_id="j1", seconds=1)
        assert reported == before


async def test_a_cancelled_call_frees_its_place(sqlite_url: str) -> None:
    """The waiter is gone within moments; the job goes on."""
    async with served_relay(sqlite_url) as served, over_stdio(served.url) as session:
        await served.register("j1")
        waiting = asyncio.create_task(session.call_tool("wait_for_job", {"job_id": "j1"}))
        await served.waits_open(1)
        waiting.cancel()
        params = CancelledNotificationParams(requestId=session._request_id - 1)
        await session.send_notification(
            ClientNotification(CancelledNotification(method="notifications/cancelled", params=params))
        )
        await asyncio.wait_for(served.waits_open(0), 10)
        assert (await served.http.get("/v1/jobs/j1")).json()["ended"] is False
        await session.list_tools()  # what the server had to say of the call has come: the client would stumble over it


async def as_task(session: ClientSession, job_id: str, ttl: int = 600_000) -> types.Task:
    """The task of a wait for the job."""
    params = types.CallToolRequestParams(
        name="wait_for_job", arguments={"job_id": job_id}, task=types.TaskMetadata(ttl=ttl)
    )
    request = types.ClientRequest(types.CallToolRequest(params=params))
    return (await session.send_request(request, types.CreateTaskResult)).task


async def task_of(session: ClientSession, task_id: str) -> types.GetTaskResult:
    request = types.GetTaskRequest(params=types.GetTaskRequestParams(taskId=task_id))
    return await session.send_request(types.ClientRequest(request), types.GetTaskResult)


async def result_of(session: ClientSession, task_id: str) -> CallToolResult:
    request = types.GetTaskPayloadRequest(params=types.GetTaskPayloadRequestParams(taskId=task_id))
    return await session.send_request(types.ClientRequest(request), CallToolResult)


@pytest.mark.parametrize("way", ["http", "stdio"])
async def test_a_wait_can_be_a_task(sqlite_url: str, way: str) -> None:
    """It comes at once, tells its state, and its result waits for the end of the job; only this tool can be one."""
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(served_relay(sqlite_url))
        session = await stack.enter_async_context(over_http(served.url) if way == "http" else over_stdio(served.url))
        support = {one.name: one.execution for one in (await session.list_tools()).tools if one.execution}
        assert {name: one.taskSupport for name, one in support.items()} == {"wait_for_job": "optional"}
        await served.register("j1")
        task = await as_task(session, "j1")
        assert (task.status, task.ttl) == ("working", 600_000)
        assert (await task_of(session, task.taskId)).status == "working"
        waiting = asyncio.create_task(result_of(session, task.taskId))
        await served.waits_open(1)
        await end(served.relay, "j1")
        done = await asyncio.wait_for(waiting, 60)
        assert done.structuredContent is not None
        assert (done.structuredContent["ended"], done.structuredContent["status"]) == (True, "completed")
        assert (await task_of(session, task.taskId)).status == "completed"
        assert (await result_of(session, task.taskId)).structuredContent == done.structuredContent
        plain = await call(session, "wait_for_job", job_id="j1")
        assert plain == done.structuredContent


async def test_a_task_is_known_to_every_relay_and_ends_with_its_time(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id is all there is to it. An id that nobody was given, and one whose time is over, are refused."""
    async with (
        open_relay(postgres_url) as one,
        open_relay(postgres_url) as other,
        serving(one) as here,
        serving(other) as there,
        over_http(here.url) as made_at,
        over_http(there.url) as asked_at,
    ):
        await here.register("j1")
        task = await as_task(made_at, "j1")
        assert (await task_of(asked_at, task.taskId)).status == "working"
        short = await as_task(made_at, "j1", ttl=1)
        for task_id in (
            short.taskId,
            "wait-",
            "wait-x",
            task.taskId[:-2],
            "other",
            JobTask("j1", None, 0, 10**15).encode(),
        ):
            with pytest.raises(McpError, match="no such task"):
                await task_of(asked_at, task_id)
        with pytest.raises(McpError, match="register"):
            await as_task(made_at, "unknown")


async def test_a_client_of_an_older_protocol_has_the_plain_tool(sqlite_url: str) -> None:
    """It asks for no task, so it gets none."""
    accept = {"accept": "application/json, text/event-stream", "authorization": f"Bearer {KEY}"}
    async with served_relay(sqlite_url) as served:
        await served.register("j1")
        about = {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": about}
        async with http_client(base_url=served.url, trust_env=False, headers=accept) as http:
            answer = await http.post("/mcp", json=message)
            assert '"protocolVersion":"2025-03-26"' in answer.text
            tool = {"name": "wait_for_job", "arguments": {"job_id": "j1", "seconds": 0}}
            message = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": tool}
            answer = await http.post("/mcp", json=message, headers={"mcp-protocol-version": "2025-03-26"})
            assert '"timed_out":true' in answer.text.replace(" ", "").replace("\\", "")


async def test_keys_and_scopes_hold(sqlite_url: str) -> None:
    """Without a key 401 with a challenge and a JSON-RPC body; a foreign origin 403; no redirect for either path."""
    async with served_relay(sqlite_url) as served:
        body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        accept = {"accept": "application/json, text/event-stream"}
        async with http_client(base_url=served.url, trust_env=False, headers=accept) as stranger:
            for path in ("/mcp", "/mcp/"):
                answer = await stranger.post(path, json=body)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"].startswith("Bearer")
                assert answer.json()["error"]["message"]
                answer = await stranger.post(path, json=body, headers={"authorization": "Bearer relay_wrong"})
                assert answer.status_code == 401
                answer = await stranger.post(path, json=body, headers={"authorization": f"Bearer {KEY}"})
                assert answer.status_code == 200
            headers = {"authorization": f"Bearer {KEY}", "origin": "https://evil.example"}
            answer = await stranger.post("/mcp", json=body, headers=headers)
            assert answer.status_code == 403
            assert "server.public_url" in answer.json()["error"]["message"]
            answer = await stranger.get("/.well-known/oauth-authorization-server")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_path")


async def test_any_relay_answers(postgres_url: str) -> None:
    """Sessions need no stickiness: two relays take turns, and one that restarts is not noticed."""
    params = {"name": "list_jobs", "arguments": {}}
    headers = {"authorization": f"Bearer {KEY}", "accept": "application/json, text/event-stream"}
    async with (
        open_relay(postgres_url) as one,
        open_relay(postgres_url) as other,
        serving(one) as here,
        serving(other) as there,
        http_client(trust_env=False, headers=headers) as http,
    ):
        await here.register("j1")
        for turn in range(20):
            at: Served = (here, there)[turn % 2]
            message = {"jsonrpc": "2.0", "id": turn, "method": "tools/call", "params": params}
            answer = await http.post(f"{at.url}/mcp", json=message)
            assert answer.status_code == 200
            assert "j1" in answer.text


@pytest.mark.parametrize("in_the_middle", [False, True])
async def test_stdio_ends_with_its_input(sqlite_url: str, in_the_middle: bool) -> None:
    """Within moments, with exit code 0, also in the middle of a call; and every line of output is JSON-RPC."""
    async with served_relay(sqlite_url) as served:
        await served.register("j1")
        process = await asyncio.create_subprocess_exec(
            *processes.command(),
            "mcp",
            env={"RELAY_URL": served.url, "RELAY_API_KEY": KEY, "PYTHONPATH": str(ROOT)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        if in_the_middle:
            about = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
            messages: list[dict[str, Any]] = [
                {"id": 1, "method": "initialize", "params": about},
                {"method": "notifications/initialized"},
                {"id": 2, "method": "tools/call", "params": {"name": "wait_for_job", "arguments": {"job_id": "j1"}}},
            ]
            for message in messages:
                process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
            await served.waits_open(1)
        process.stdin.close()
        began = time.monotonic()
        printed, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0
        if in_the_middle:
            assert time.monotonic() - began < 40, "it waited for the job"
            await served.waits_open(0)
        assert all(json.loads(line)["jsonrpc"] == "2.0" for line in printed.decode().splitlines())
