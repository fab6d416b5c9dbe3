"""Logging in with an API key, and out."""

from collections.abc import Mapping

from starlette.responses import Response

from relay.errors import Refused
from relay.web import problems
from relay.web.dashboard import visitor
from relay.web.dashboard.page import Visit, seen, show
from relay.web.dashboard.visitor import NOBODY


async def login_page(visit: Visit) -> Response:
    """The form; whoever is logged in goes on."""
    if visit.visitor is not NOBODY:
        return seen(visit.visitor.home)
    return show(visit, "login.html", error=None, wanted=_inside(visit.query("next")))


async def login(visit: Visit, form: Mapping[str, str]) -> Response:
    """Begins a session, or says that the key is not known."""
    wanted = _inside(form.get("next"))
    try:
        who = await visitor.begin(visit.request, visit.relay, form.get("api_key", ""), visit.now)
    except Refused as error:
        return show(visit, "login.html", error.status, problems.headers_of(error), error=error, wanted=wanted)
    answer = seen(who.home if wanted == "/" else wanted)
    visitor.keep(answer, who.token, visit.request, visit.relay.config)
    return answer


async def logout(visit: Visit, form: Mapping[str, str]) -> Response:
    """Ends the session."""
    await visitor.end(visit.relay, visit.visitor)
    answer = seen("/login")
    visitor.keep(answer, "", visit.request, visit.relay.config)
    return answer


def _inside(path: str | None) -> str:
    """A path of this dashboard, whatever the address says: nobody is led elsewhere."""
    fine = path is not None and path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if path is not None and fine else "/"
