"""Workspaces: what is left of Exec's requests, and what was learned of its jobs. Asking costs Exec nothing."""

from starlette.responses import Response

from relay.web import references, situation
from relay.web.operation import Call, operation, reply
from relay.web.situation import WorkspaceAnswer, WorkspaceList


@operation("GET", "/v1/workspaces", scope="read", tag="workspaces", answers={200: WorkspaceList})
async def list_workspaces(call: Call) -> Response:
    """List the workspaces.

    Looks left in both of Exec's windows, the learned durations, and why one waits.
    """
    found, strategy = await call.relay.situations(), call.relay.config.polling.strategy
    return reply(200, WorkspaceList(data=[situation.workspace(*one, strategy) for one in found]))


@operation(
    "GET",
    "/v1/workspaces/{workspace}",
    scope="read",
    tag="workspaces",
    answers={200: WorkspaceAnswer},
    refusals=(404,),
)
async def get_workspace(call: Call, workspace: str) -> Response:
    """Show one workspace."""
    name = references.workspace_named(workspace, call.relay.clients)
    [found] = [one for one in await call.relay.situations() if one[0].name == name]
    return reply(200, situation.workspace(*found, call.relay.config.polling.strategy))


OPERATIONS = (list_workspaces, get_workspace)
