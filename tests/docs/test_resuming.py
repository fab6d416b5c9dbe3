"""The recipes that wait in the middle of a workflow, as they stand in the how-tos, against a relay and a stand-in that
answers as the services' resume URLs do: 404 and 409 until the workflow waits, then once 200."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.model import SECOND
from relay.sandbox.exec_server import ExecSettings
from relay.sandbox.local_server import serve
from tests.docs.pages import DOCS, blocks
from tests.flows.conftest import World, api_of, world_on
from tests.node import needs

PATH = "/webhook-waiting/231"
QUERY = "signature=9f%2Bc%3d&b=2&a=1&empty="
"""Its order and its encoding are part of what the service has signed."""
NOT_WAITING_YET = (404, 409)


class Workflow:
    """A workflow that reaches its waiting step after its resume URL was called twice."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.targets: list[str] = []
        self.body: Any = None
        self.app = Starlette(routes=[Route(PATH, self._resume, methods=["POST"])])

    async def _resume(self, request: Request) -> Response:
        self.targets.append(f"{request.scope['raw_path'].decode()}?{request.scope['query_string'].decode()}")
        if self.body is not None:
            status = 409
        elif len(self.statuses) < len(NOT_WAITING_YET):
            status = NOT_WAITING_YET[len(self.statuses)]
        else:
            status, self.body = 200, await request.json()
        self.statuses.append(status)
        return Response(status_code=status)

    async def resumed(self, world: World) -> None:
        """Lets time pass until the workflow goes on, and an hour more."""
        async with asyncio.timeout(60):
            while self.body is None:
                await world.advance(15 * SECOND)
        await world.advance(3_600 * SECOND)
        assert self.statuses == [*NOT_WAITING_YET, 200]
        assert set(self.targets) == {f"{PATH}?{QUERY}"}
        assert {delivery.status for delivery in await world.deliveries()} == {"delivered"}


@asynccontextmanager
async def a_workflow() -> AsyncIterator[tuple[Workflow, str]]:
    """A workflow and its resume URL."""
    workflow = Workflow()
    async with serve(workflow.app) as url:
        yield workflow, f"{url}{PATH}?{QUERY}"


async def test_n8n_is_resumed_once(store_url: str) -> None:
    """`$execution.resumeUrl` as the callback, in the body that the page gives to the HTTP Request node."""
    page = (DOCS / "how-to/n8n.md").read_text()
    [body] = [block for block in blocks(page, "text") if "resumeUrl" in block]
    [expression] = re.findall(r"`{{ \$json\.body\.(data\.job\.scenario\.url) }}` is the scenario's URL", page)
    async with world_on(store_url, ExecSettings(seed=1)) as world, api_of(world) as http, a_workflow() as (flow, url):
        filled = body.replace("{{ $execution.id }}", "231").replace("{{ $execution.resumeUrl }}", url)
        assert "{{" not in filled
        for _ in range(2):  # n8n retries the node
            answer = await http.post("/v1/jobs", json=json.loads(filled))
            assert answer.status_code in (200, 201), answer.text
        assert len([request for request in world.exec.records.requests if request.call == "create"]) == 1
        await flow.resumed(world)
    resumed_with = flow.body
    for name in expression.split("."):
        resumed_with = resumed_with[name]
    assert resumed_with.startswith("https://")


ZAPIER = """
const action = {{ {recipe} }};
const [relay, jobId, resumeUrl, posted] = process.argv.slice(1);
const z = {{
  generateCallbackUrl: () => resumeUrl,
  request: async ({{ url, method, body }}) => {{
    const headers = {{ "content-type": "application/json" }};
    const response = await fetch(url, {{ method, headers, body: JSON.stringify(body) }});
    if (!response.ok) throw new Error(await response.text());
    return {{ data: await response.json() }};
  }},
}};
const bundle = {{ authData: {{ url: relay }}, inputData: {{ job_id: jobId }} }};
const result = posted
  ? await action.performResume(z, {{ ...bundle, outputData: {{ id: "reg" }}, cleanedRequest: JSON.parse(posted) }})
  : await action.perform(z, bundle);
console.log(JSON.stringify(result));
"""
"""What Zapier does with an action's operation, as far as this one asks for it."""


async def zapier(recipe: str, *arguments: str) -> Any:
    """What the recipe's `perform` returns, or with what was posted its `performResume`."""
    program = ZAPIER.format(recipe=recipe)
    process = await asyncio.create_subprocess_exec(
        *("node", "--input-type=module", "-e", program, "--", *arguments), stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    return json.loads(printed)


async def test_zapier_is_resumed_once(store_url: str) -> None:
    """`perform` and `performResume` of the page, executed by node."""
    needs("node", "the recipe for Zapier")
    page = (DOCS / "how-to/zapier-integration.md").read_text()
    [recipe] = [block for block in blocks(page, "text") if "performResume" in block]
    async with world_on(store_url, ExecSettings(seed=1)) as world, api_of(world) as http, a_workflow() as (flow, url):
        job_id = world.exec.add(lasts=60_000).id
        performed = await zapier(recipe, str(http.base_url).rstrip("/"), job_id, url)
        assert performed["job_id"] == job_id
        await flow.resumed(world)
    resumed = await zapier(recipe, "", "", "", json.dumps(flow.body))
    assert resumed["id"]
    assert resumed["scenario_url"].startswith("https://")
