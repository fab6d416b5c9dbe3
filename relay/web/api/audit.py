"""The audit log: who did what."""

from starlette.responses import Response

from relay.store.tables import audit
from relay.web.core.route import RequestContext, api_route, json_response
from relay.web.schemas.queries import AuditQuery
from relay.web.schemas.responses import AuditEntryResponse, AuditList


@api_route("GET", "/v1/audit", scope="admin", tag="audit", answers={200: AuditList}, refusals=(400,))
async def list_audit(call: RequestContext, query: AuditQuery) -> Response:
    """List who did what, newest first.

    Changes of endpoints and keys, resends, withdrawals, logins, refused acts, commands on the store, and changes by the
    configuration. Registrations are listed by their own call.
    """
    rows, cursor = await call.relay.store.read(lambda tx: audit.page(tx, query.page, query.action))
    data = [AuditEntryResponse.model_validate(audit.to_json(row) | {"at": row.at}) for row in rows]
    return json_response(200, AuditList(data=data, next_cursor=cursor))


OPERATIONS = (list_audit,)
