"""The dashboard: pages for people, rendered on the server. They answer "was my message delivered, and if not, why?"

Each page is a handler that reads the store once, and a template. Pages work without scripts; with scripts they update
themselves. `page.py` has what all pages share, `session.py` the logged-in user.
"""

from starlette.routing import Route

from relay.web.dashboard import (
    audit,
    deliveries,
    endpoint_forms,
    endpoints,
    jobs,
    keys,
    live_updates,
    login,
    overview,
    page,
    register_form,
    replays,
    search,
    sending,
    static_files,
)
from relay.web.dashboard.live_updates import StreamCount
from relay.web.dashboard.page import page_route

FRONT = page_route("/", overview.overview, live=True)
"""The first page, for clients that accept HTML."""

NOT_FOUND = page_route("/{path:path}", page.not_found, scope=None)
"""The page for a path that no route has, for clients that accept HTML."""

ROUTES: tuple[Route, ...] = (
    static_files.ROUTE,
    page_route("/login", login.login_page, scope=None),
    page_route("/login", login.login, "POST", scope=None),
    page_route("/logout", login.logout, "POST", scope=None),
    page_route("/jobs", jobs.list_jobs, live=True),
    page_route("/jobs/{workspace}/{job_id}", jobs.show_job, live=True),
    page_route("/register", register_form.form_page, scope="register"),
    page_route("/register", register_form.submit, "POST", "register"),
    page_route("/registrations/{id}/withdraw", register_form.withdraw, "POST", "register"),
    page_route("/deliveries", deliveries.list_deliveries, live=True),
    page_route("/deliveries/resend", deliveries.resend_some, "POST", "admin"),
    page_route("/deliveries/{id}", deliveries.show_delivery, live=True),
    page_route("/deliveries/{id}/resend", deliveries.resend, "POST", "admin"),
    page_route("/endpoints", endpoints.list_endpoints, live=True),
    page_route("/endpoints/new", endpoint_forms.new_endpoint, scope="admin"),
    page_route("/endpoints/new", endpoint_forms.create, "POST", "admin"),
    page_route("/endpoints/{id}", endpoints.show_endpoint, live=True),
    page_route("/endpoints/{id}/edit", endpoint_forms.edit_endpoint, scope="admin"),
    page_route("/endpoints/{id}/edit", endpoint_forms.edit, "POST", "admin"),
    page_route("/endpoints/{id}/delete", endpoint_forms.delete, "POST", "admin"),
    page_route("/endpoints/{id}/test", endpoints.test, "POST", "admin"),
    page_route("/endpoints/{id}/rotate", endpoints.rotate, "POST", "admin"),
    page_route("/endpoints/{id}/enable", endpoints.enable, "POST", "admin"),
    page_route("/endpoints/{id}/disable", endpoints.disable, "POST", "admin"),
    page_route("/audit", audit.list_audit, scope="admin"),
    page_route("/keys", keys.list_keys, scope="admin"),
    page_route("/keys", keys.create, "POST", "admin"),
    page_route("/keys/{id}/revoke", keys.revoke, "POST", "admin"),
    page_route("/sending/resume", sending.resume, "POST", "admin"),
    page_route("/sending/discard", sending.discard, "POST", "admin"),
    page_route("/endpoints/{id}/replay", replays.start, "POST", "admin"),
    page_route("/endpoints/{id}/stop-replay", replays.stop, "POST", "admin"),
    page_route("/search", search.search),
    page_route("/live", live_updates.event_stream),
)


def page_of_form(path: str) -> str | None:
    """The page that has the form of this address: of `/endpoints/ep_1/test` the endpoint's. None if it is no form's."""
    if not any(route.path_regex.match(path) for route in ROUTES):
        return None
    while path := path.rpartition("/")[0]:
        if any("GET" in (route.methods or ()) and route.path_regex.match(path) for route in ROUTES):
            return path
    return "/"


__all__ = ["FRONT", "ROUTES", "StreamCount", "page_of_form"]
