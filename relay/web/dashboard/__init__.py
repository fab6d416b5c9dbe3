"""The dashboard: pages made by the server, for people. 'Did my message go out, and if not, why?'

Each page is a handler that reads the store once, and a template. Pages work without scripts; with them they stay
current by themselves. `page.py` has what all of them share, `visitor.py` who is looking.
"""

from starlette.routing import Route

from relay.web.dashboard import deliveries, endpoints, files, jobs, live, login, overview, registering, searching
from relay.web.dashboard.live import Listeners
from relay.web.dashboard.page import page

FRONT = page("/", overview.overview, listens=True)
"""The first page, for those who ask for HTML."""

ROUTES: tuple[Route, ...] = (
    files.ROUTE,
    page("/login", login.login_page, scope=None),
    page("/login", login.login, "POST", scope=None),
    page("/logout", login.logout, "POST", scope=None),
    page("/jobs", jobs.list_jobs, listens=True),
    page("/jobs/{workspace}/{job_id}", jobs.show_job, listens=True),
    page("/register", registering.form_page, scope="register"),
    page("/register", registering.submit, "POST", "register"),
    page("/registrations/{id}/withdraw", registering.withdraw, "POST", "register"),
    page("/deliveries", deliveries.list_deliveries, listens=True),
    page("/deliveries/resend", deliveries.resend_all, "POST", "admin"),
    page("/deliveries/{id}", deliveries.show_delivery, listens=True),
    page("/deliveries/{id}/resend", deliveries.resend, "POST", "admin"),
    page("/endpoints", endpoints.list_endpoints, listens=True),
    page("/endpoints/{id}", endpoints.show_endpoint, listens=True),
    page("/endpoints/{id}/test", endpoints.test, "POST", "admin"),
    page("/endpoints/{id}/rotate", endpoints.rotate, "POST", "admin"),
    page("/endpoints/{id}/enable", endpoints.enable, "POST", "admin"),
    page("/endpoints/{id}/disable", endpoints.disable, "POST", "admin"),
    page("/search", searching.search),
    page("/live", live.live),
)

__all__ = ["FRONT", "ROUTES", "Listeners"]
