"""Logging in with an API key, and out."""

from collections.abc import Mapping

from starlette.responses import Response

from relay.errors import RequestError
from relay.web.core import errors
from relay.web.dashboard import session
from relay.web.dashboard.page import PageRequest, redirect_with_notice, render
from relay.web.dashboard.session import ANONYMOUS


async def login_page(visit: PageRequest) -> Response:
    """The form; whoever is logged in goes on."""
    if visit.visitor is not ANONYMOUS:
        return redirect_with_notice(visit.visitor.home)
    return render(visit, "login.html", error=None, wanted=_safe_redirect_path(visit.query("next")))


async def login(visit: PageRequest, form: Mapping[str, str]) -> Response:
    """Begins a session, or says that the key is not known."""
    wanted = _safe_redirect_path(form.get("next"))
    try:
        who = await session.log_in(visit.request, visit.relay, form.get("api_key", ""), visit.now)
    except RequestError as error:
        return render(visit, "login.html", error.status, errors.headers_of(error), error=error, wanted=wanted)
    answer = redirect_with_notice(who.home if wanted == "/" else wanted)
    session.set_cookie(answer, who.token, visit.request)
    return answer


async def logout(visit: PageRequest, form: Mapping[str, str]) -> Response:
    """Ends the session."""
    await session.log_out(visit.relay, visit.visitor)
    answer = redirect_with_notice("/login")
    session.set_cookie(answer, "", visit.request)
    return answer


def _safe_redirect_path(path: str | None) -> str:
    """A path of this dashboard, whatever the address says: nobody is led elsewhere."""
    fine = path is not None and path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if path is not None and fine else "/"
