"""The audit log: who did what, newest first."""

from starlette.responses import Response

from relay.model import AuditAction
from relay.store.engine import paging
from relay.store.tables import audit
from relay.web.dashboard.page import PageRequest, parse_enum, render

PER_PAGE = 50


async def list_audit(page: PageRequest) -> Response:
    """Entries of one kind, or of all."""
    action = parse_enum(AuditAction, page.query("action"), "action")
    window = paging.Page(PER_PAGE, page.query("cursor"))
    entries, cursor = await page.relay.store.read(lambda tx: audit.page(tx, window, action))
    return render(page, "audit.html", entries=entries, cursor=cursor, action=action, actions=list(AuditAction))
