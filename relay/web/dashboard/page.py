"""What every page shares: the logged-in user, the frame, errors as pages, and form fields."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from enum import StrEnum
from functools import cache, partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.exceptions import UndefinedError
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from relay import __version__
from relay.egress import mask_url
from relay.errors import NotFound, RequestError, StoreError, ValidationFailed
from relay.model import Actor, Instant, to_rfc3339
from relay.security import Scope
from relay.service import Relay
from relay.store.tables import dashboard_queries
from relay.web.core import errors, public_url, request_parsing
from relay.web.core.errors import Unauthenticated, Unavailable, UnclearUser
from relay.web.dashboard import session, template_filters
from relay.web.dashboard.session import CurrentUser
from relay.web.schemas import presenters

POLICY = (
    # guard: page-policy
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy: a page loads files of this relay only."""

HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    # With no-referrer browsers send forms with `Origin: null`, like a form of another site.
    "referrer-policy": "same-origin",
}
DRAWN_FORMATS = {
    "zapier": "fields",
    "slack_workflow": "fields",
    "slack": "slack",
    "slack_app": "slack",
    "discord": "discord",
    "teams": "teams",
    "google_chat": "google_chat",
    "mattermost": "attachment",
    "rocketchat": "attachment",
    "telegram": "telegram",
    "ntfy": "ntfy",
    "email": "email",
}
"""The formats whose messages are drawn, and by which template of `previews`."""
MAX_FIELDS = 1_000
"""Fields of a form: a list of deliveries has one for each."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One request for a page."""

    relay: Relay
    request: Request
    user: CurrentUser
    change_token: str = ""
    """The store's change token before the page was read, if the page gets live updates; else ""."""

    @property
    def now(self) -> Instant:
        """The time, asked anew each time, as `RequestContext.now` is."""
        return self.relay.clock()

    def query(self, name: str) -> str | None:
        """A query parameter; None if it is absent or empty."""
        return self.request.query_params.get(name) or None

    @property
    def actor(self) -> Actor:
        """Who acts, for the audit log."""
        return session.actor_of(self.user, self.request)

    @property
    def base_path(self) -> str:
        """The path of `server.public_url`, `/relay` or "": every link, form and redirect begins with it."""
        return public_url.with_base_path(self.request, "")

    @property
    def zone(self) -> tzinfo:
        """The time zone of days and of times without an offset."""
        return ZoneInfo(self.fixed_zone) if self.fixed_zone else UTC

    @property
    def fixed_zone(self) -> str | None:
        """The time zone that the operator chose for all readers; None: pages show times in the reader's."""
        return self.relay.config.server.time_zone

    @property
    def zone_name(self) -> str:
        return str(self.zone)

    @property
    def public_url(self) -> str:
        """The relay's URL without the last slash, as its users reach it."""
        return self.relay.config.server.public_url or str(self.request.base_url).rstrip("/")

    @property
    def path(self) -> str:
        """The path of this page without the base path, whether or not the proxy strips it."""
        return public_url.path_below_base(self.request)


Handler = Callable[..., Awaitable[Response]]
Choice = TypeVar("Choice", bound=StrEnum)


def page_route(
    path: str, handler: Handler, method: str = "GET", scope: Scope | None = "read", *, live: bool = False
) -> Route:
    """A page at `path` for users with `scope` (None: for everybody). The handler of a POST also takes `form`.

    A `live` page reloads its content at each change. Later pages of a list do not: their rows would move away.
    """

    async def handle(request: Request) -> Response:
        relay: Relay = request.app.state.relay
        page = PageRequest(relay, request, session.ANONYMOUS)
        try:
            page = PageRequest(relay, request, await session.load_session(request, relay, page.now))
            arguments: dict[str, Any] = dict(request.path_params)
            if method == "POST":
                arguments["form"] = await _form(request)
                session.check_csrf(request, page.user, arguments["form"])
            if scope is not None:
                await session.check_scope(request, page.user, scope)
            if live and not page.query("cursor"):
                page = replace(page, change_token=await relay.store.read(dashboard_queries.change_token))
            response = await handler(page, **arguments)
        except Unauthenticated:
            response = _redirect_to_login(page)
        except RequestError as error:
            if isinstance(error, UnclearUser):
                relay.telemetry.log.warning("dashboard: %s", error)
            response = error_page(page, error)
        except StoreError as error:
            relay.telemetry.log.error("dashboard: %s %s failed, nothing was changed: %s", method, path, error)
            response = error_page(page, Unavailable("store_unavailable", f"{error}; try again later"))
        session.keep_form_token(response, page.user, request)
        return response

    handle.__name__ = handler.__name__
    return Route(path, handle, methods=[method], name=f"{method} {path}")


def parse_enum(kinds: type[Choice], text: str | None, field: str) -> Choice | None:
    """The query parameter `field` as one of `kinds`; None if it is absent. Raises ValidationFailed."""
    try:
        return kinds(text) if text else None
    except ValueError:
        raise ValidationFailed(f"invalid_{field}", f"{field} is one of {', '.join(kinds)}", field) from None


def render(
    page: PageRequest, template: str, code: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> Response:
    """The page that the template makes of the values."""
    common = {
        "page": page,
        "notice": NOTICES.get(page.query("notice") or ""),
        "user": page.user,
        "now": page.now,
        "path": page.path,
        "sending": page.relay.sending,
    }
    text = _environment(page.base_path, page.zone).get_template(template).render(common | values)
    if not page.user.has_scope("admin"):
        text = presenters.hide_addresses_on_page(text)
    return HTMLResponse(text, code, {**HEADERS, **(headers or {})})


def draw_message(page: PageRequest, format: str, body: bytes) -> Markup | None:
    """A message of a chat or of mail as its receiver shows it, with the JSON below it.

    None for other formats, and for a body of another format: the endpoint's may have changed since.
    """
    if format not in DRAWN_FORMATS:
        return None
    template = _environment(page.base_path, page.zone).get_template("previews/message.html")
    try:
        preview = json.loads(body)
    except ValueError:
        return None
    text = json.dumps(preview, ensure_ascii=False, indent=2)
    try:
        return Markup(template.render(format=format, preview=preview, preview_text=text))  # noqa: S704
    except (UndefinedError, TypeError):  # fields that a body of this format has are missing, or are of another type
        return None


def error_page(page: PageRequest, error: RequestError) -> Response:
    """A page that says what is wrong and what to do. It gets no live updates: nothing will change on it."""
    page = replace(page, change_token="")
    return render(page, "error.html", error.status, errors.headers_of(error), error=error)


async def not_found(page: PageRequest) -> Response:
    """The page at a path that is none of the relay's. Raises NotFound."""
    raise NotFound("unknown_path", "There is no page at this address. Was it copied whole?")


NOTICES = {
    "registered": "The job is registered.",
    "duplicate": "This job is already registered for this endpoint.",
    "withdrawn": "The registration is withdrawn.",
    "resent": "Resending the delivery.",
    "selected-resent": "Resending the selected deliveries. Those of disabled or removed endpoints are skipped.",
    "none-selected": "Nothing to do: select deliveries first.",
    "all-resent": "Resending started. New deliveries are not delayed.",
    "not-resent": "Nothing to do: this delivery is being sent now, or its endpoint is disabled.",
    "replay-started": "The replay has started. New deliveries to this endpoint go first.",
    "replay-stopped": "The replay is stopped. What it has made due already is still sent.",
    "enabled": "The endpoint is enabled. Held deliveries are being sent.",
    "disabled": "The endpoint is disabled. Its deliveries are held until it is enabled.",
    "session-ended": "Your session has ended, and nothing was changed. Log in, and send the form again.",
    "saved": "The endpoint is saved.",
    "deleted": "The endpoint is deleted.",
    "key-revoked": "The key is revoked.",
    "sending-resumed": "Sending is resumed. What waited is being sent.",
    "sending-discarded": "What waited is cancelled. What comes now is sent.",
    "endpoint-exists": "This endpoint exists already. Nothing was changed.",
}
"""Texts shown after a form succeeded, by the word in the URL: no link can make a page show another text."""


def redirect_with_notice(page: PageRequest, path: str, notice: str | None = None) -> Response:
    """Redirects after a form to a page that shows the notice, so that a reload repeats nothing."""
    if notice is not None:
        path += ("&" if "?" in path else "?") + f"notice={notice}"
    return RedirectResponse(page.base_path + path, 303, HEADERS)


def _redirect_to_login(page: PageRequest) -> Response:
    """To the login, and from there to this page; a form of a session that has ended leads back to the form's page."""
    request = page.request
    if request.method == "GET":
        path = page.path + (f"?{request.url.query}" if request.url.query else "")
    else:
        path = _path_of_referrer(page)
    parameters = {"next": path} if path != "/" else {}
    if request.method != "GET":
        parameters["notice"] = "session-ended"
    login = f"/login?{urlencode(parameters, quote_via=quote, safe='/')}" if parameters else "/login"
    target = page.base_path + login
    # htmx requests a part of a page: the whole page must go to the login.
    if "hx-request" in request.headers:
        return Response(status_code=204, headers={"hx-redirect": target})
    return RedirectResponse(target, 303, HEADERS)


def _path_of_referrer(page: PageRequest) -> str:
    """The page of this relay that a form is on, without the base path; "/" if the browser does not say it."""
    try:
        parts = urlsplit(page.request.headers.get("referer", ""))
        is_own = public_url.is_own_origin(page.request, f"{parts.scheme}://{parts.netloc}")
    except ValueError:
        return "/"
    path = parts.path.removeprefix(page.base_path)
    return path if is_own and path.startswith("/") else "/"


async def _form(request: Request) -> Mapping[str, str]:
    """The fields of a form. Raises ValidationFailed for a body that no page of the dashboard sends."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    text = (await request_parsing.read_body(request)).decode("utf-8", "replace")
    try:
        if kind != "application/x-www-form-urlencoded":
            raise ValueError(kind)
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        raise ValidationFailed("invalid_form", "this is not a form of the dashboard; go back and try again") from None


@cache
def _environment(base: str, zone: tzinfo) -> Environment:
    """The templates with their filters and functions; `path_for` in them adds the base path, times are of the zone."""
    environment = Environment(
        loader=PackageLoader("relay.web.dashboard"),
        autoescape=True,  # guard: escaping
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "format_duration": template_filters.format_duration,
        "time_tag": partial(template_filters.time_tag, zone=zone),
        "time_tag_ms": partial(template_filters.time_tag_ms, zone=zone),
        "time_of_day": partial(template_filters.time_of_day, zone=zone),
        "read_markdown": template_filters.read_markdown,
        "iso": to_rfc3339,
        "mask": mask_url,
    }
    environment.globals |= {
        name: getattr(template_filters, name)
        for name in ("relative_time", "pluralize", "url_with_query", "describe_scopes")
    }
    environment.globals |= {"version": __version__, "drawings": DRAWN_FORMATS}
    environment.globals["path_for"] = base.__add__
    return environment
