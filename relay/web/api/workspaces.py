"""Workspaces: what is left of Exec's requests, and what was learned of its jobs. Asking costs Exec nothing."""

from starlette.responses import Response

from relay.web.core import path_params
from relay.web.core.route import RequestContext, api_route, json_response
from relay.web.schemas import workspaces
from relay.web.schemas.workspaces import WorkspaceList, WorkspaceResponse


@api_route("GET", "/v1/workspaces", scope="read", tag="workspaces", answers={200: WorkspaceList})
async def list_workspaces(call: RequestContext) -> Response:
    """List the workspaces.

    Polls left in both of Exec's windows, the learned durations, and why one waits.
    """
    found, strategy = await call.relay.workspace_statuses(), call.relay.config.polling.strategy
    return json_response(200, WorkspaceList(data=[workspaces.workspace(*one, strategy) for one in found]))


@api_route(
    "GET",
    "/v1/workspaces/{workspace}",
    scope="read",
    tag="workspaces",
    answers={200: WorkspaceResponse},
    refusals=(404,),
)
async def get_workspace(call: RequestContext, workspace: str) -> Response:
    """Show one workspace."""
    name = path_params.workspace_from_path(workspace, call.relay.clients)
    [found] = [one for one in await call.relay.workspace_statuses() if one[0].name == name]
    return json_response(200, workspaces.workspace(*found, call.relay.config.polling.strategy))


OPERATIONS = (list_workspaces, get_workspace)
