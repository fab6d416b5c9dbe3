"""Login with an API key, and logout."""

from collections.abc import Mapping

from starlette.responses import Response

from relay.errors import RequestError
from relay.web.core import errors
from relay.web.dashboard import session
from relay.web.dashboard.page import PageRequest, redirect_with_notice, render
from relay.web.dashboard.session import ANONYMOUS


async def login_page(page: PageRequest) -> Response:
    """The login form; a logged-in user is redirected to their first page.

    The link that a relay without API keys prints at its start has its token, and logs in at once.
    """
    if page.user is not ANONYMOUS:
        return redirect_with_notice(page, page.user.home)
    if (token := page.query("token")) and not await page.relay.requires_api_key():
        return await login(page, {"api_key": token})
    return render(page, "login.html", error=None, next_path=_safe_redirect_path(page.query("next")))


async def login(page: PageRequest, form: Mapping[str, str]) -> Response:
    """Begins a session, or shows why the key is refused."""
    next_path = _safe_redirect_path(form.get("next"))
    try:
        user = await session.log_in(page.request, page.relay, form.get("api_key", ""), page.now)
    except RequestError as error:
        return render(page, "login.html", error.status, errors.headers_of(error), error=error, next_path=next_path)
    response = redirect_with_notice(page, user.home if next_path == "/" else next_path)
    session.set_cookie(response, user.token, page.request)
    return response


async def logout(page: PageRequest, form: Mapping[str, str]) -> Response:
    """Ends the session."""
    await session.log_out(page.relay, page.user)
    response = redirect_with_notice(page, "/login")
    session.set_cookie(response, "", page.request)
    return response


def _safe_redirect_path(path: str | None) -> str:
    """`path` if it is a path of this dashboard, else "/": no link can redirect a user to another site."""
    is_safe = path is not None and path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if path is not None and is_safe else "/"
