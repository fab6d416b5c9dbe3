"""Workspaces: polls left, learned durations of jobs, pauses. These calls cost no request to Exec."""

from starlette.responses import Response

from relay.web.core import path_params
from relay.web.core.route import RequestContext, api_route, json_response
from relay.web.schemas import workspaces
from relay.web.schemas.workspaces import WorkspaceList, WorkspaceResponse


@api_route("GET", "/v1/workspaces", scope="read", tag="workspaces", answers={200: WorkspaceList})
async def list_workspaces(call: RequestContext) -> Response:
    """List the workspaces.

    Polls left in both of Exec's windows, the learned durations, and why a workspace is paused.
    """
    statuses, strategy = await call.relay.workspace_statuses(), call.relay.config.polling.strategy
    return json_response(200, WorkspaceList(data=[workspaces.workspace(*status, strategy) for status in statuses]))


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
    [status] = [status for status in await call.relay.workspace_statuses() if status[0].name == name]
    return json_response(200, workspaces.workspace(*status, call.relay.config.polling.strategy))


OPERATIONS = (list_workspaces, get_workspace)
