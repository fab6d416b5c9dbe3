"""What every page has: who is logged in, the frame around it, errors as pages, and a form's fields."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from relay import __version__
from relay.egress.url_policy import mask_url
from relay.errors import RequestError, StoreError, ValidationFailed
from relay.model import Instant, to_rfc3339
from relay.security.api_keys import Scope
from relay.service import Relay
from relay.store.tables import dashboard_queries
from relay.web.core import errors, request_parsing
from relay.web.core.errors import Unauthenticated, Unavailable
from relay.web.dashboard import session, template_filters
from relay.web.dashboard.session import CurrentUser

POLICY = (
    # guard: page-policy
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""What a page may load: its own files and nothing else."""

HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    # With no-referrer browsers send forms with `Origin: null`, which can't be told from a stranger's.
    "referrer-policy": "same-origin",
}
MOST_FIELDS = 50
"""Fields of a form."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One request for a page."""

    relay: Relay
    request: Request
    visitor: CurrentUser
    now: Instant
    change_token: str = ""
    """How far the store was before the page was read, where the page stays current by itself; else ""."""

    def query(self, name: str) -> str | None:
        """A parameter of the address, None where it is absent or empty."""
        return self.request.query_params.get(name) or None


Handler = Callable[..., Awaitable[Response]]
Choice = TypeVar("Choice", bound=StrEnum)


def page_route(
    path: str, handler: Handler, method: str = "GET", scope: Scope | None = "read", *, live: bool = False
) -> Route:
    """A page at `path` for those who may do `scope` (None: for everybody). A form's handler takes `form` too.

    One that `live` hears of each change and is drawn anew; an older part of a list does not, it would run away.
    """

    async def handle(request: Request) -> Response:
        relay: Relay = request.app.state.relay
        visit = PageRequest(relay, request, session.ANONYMOUS, relay.clock())
        try:
            visit = PageRequest(relay, request, await session.load_session(request, relay, visit.now), visit.now)
            given: dict[str, Any] = dict(request.path_params)
            if method == "POST":
                given["form"] = await _form(request)
                session.check_csrf(request, visit.visitor, given["form"])
            if scope is not None:
                session.check_scope(visit.visitor, scope)
            if live and not visit.query("cursor"):
                visit = replace(visit, change_token=await relay.store.read(dashboard_queries.change_token))
            return await handler(visit, **given)
        except Unauthenticated:
            return _to_login(request)
        except RequestError as error:
            return error_page(visit, error)
        except StoreError as error:
            relay.telemetry.log.error("a page could not be shown: %s", error)
            return error_page(visit, Unavailable("store_unavailable", f"{error}; try again later"))

    handle.__name__ = handler.__name__
    return Route(path, handle, methods=[method], name=f"{method} {path}")


def parse_enum(kinds: type[Choice], text: str | None, field: str) -> Choice | None:
    """What an address chose for `field`; None where it chose nothing. Raises Invalid for what is none of `kinds`."""
    try:
        return kinds(text) if text else None
    except ValueError:
        raise ValidationFailed(f"invalid_{field}", f"{field} is one of {', '.join(kinds)}", field) from None


def render(
    visit: PageRequest, template: str, code: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> Response:
    """A page made of a template."""
    common = {
        "visit": visit,
        "said": NOTICES.get(visit.query("said") or ""),
        "visitor": visit.visitor,
        "now": visit.now,
        "path": visit.request.url.path,
    }
    text = _environment().get_template(template).render(common | values)
    return HTMLResponse(text, code, {**HEADERS, **(headers or {})})


def error_page(visit: PageRequest, error: RequestError) -> Response:
    """A page that says what is wrong and what to do."""
    return render(visit, "wrong.html", error.status, errors.headers_of(error), error=error)


NOTICES = {
    "registered": "The job is watched.",
    "known": "This job was registered for this endpoint already.",
    "withdrawn": "The registration is withdrawn.",
    "resent": "The delivery is being sent again.",
    "all-resent": "They are being sent again, one behind the other; what comes meanwhile does not wait for them.",
    "waits": "Nothing to do: this delivery is being sent now, or its endpoint is disabled.",
    "enabled": "The endpoint is enabled; what was held for it is being sent.",
    "disabled": "The endpoint is disabled; deliveries to it are held until it is enabled.",
}
"""What a page says after a form was taken, by the word in its address: no link can make it say something else."""


def redirect_with_notice(path: str, notice: str | None = None) -> Response:
    """After a form was taken: on to a page that says so, so that reloading it repeats nothing."""
    if notice is not None:
        path += ("&" if "?" in path else "?") + f"said={notice}"
    return RedirectResponse(path, 303, HEADERS)


def _to_login(request: Request) -> Response:
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    target = f"/login?next={quote(wanted)}" if request.method == "GET" and wanted != "/" else "/login"
    # htmx asks for parts of a page: it must go to the login as a whole.
    if "hx-request" in request.headers:
        return Response(status_code=204, headers={"hx-redirect": target})
    return RedirectResponse(target, 303, HEADERS)


async def _form(request: Request) -> Mapping[str, str]:
    """The fields of a form. Raises Refused for what no page of ours sends."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    text = (await request_parsing.read_body(request)).decode("utf-8", "replace")
    try:
        if kind != "application/x-www-form-urlencoded":
            raise ValueError(kind)
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        raise ValidationFailed("invalid_form", "this is no form of the dashboard; go back and try again") from None


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("relay.web.dashboard"),
        autoescape=True,  # guard: escaping
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "format_duration": template_filters.format_duration,
        "time_tag": template_filters.time_tag,
        "time_tag_ms": template_filters.time_tag_ms,
        "time_of_day": template_filters.time_of_day,
        "iso": to_rfc3339,
        "mask": mask_url,
    }
    found.globals |= {
        name: getattr(template_filters, name)
        for name in ("relative_time", "pluralize", "url_with_query", "describe_scopes")
    }
    found.globals["version"] = __version__
    return found
