"""The commands' client of a running relay: its address, API key, requests and responses."""

import time
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import httpx
from click.core import ParameterSource

from relay.cli.output import print_json
from relay.cli.table import Column, show_table
from relay.client import local_token
from relay.client.tls import trusted_by
from relay.config import parsers
from relay.config.environment import read_file
from relay.errors import RelayError

TIMEOUT = 30
"""Seconds."""

_PAGE_DELAYS = (0.2, 0.4)
"""Seconds until a server that answers with a page is asked again: a proxy may do so while the relay restarts."""

_ADDRESS_HINT = "name the relay's address with --server or RELAY_URL"


class Client:
    """An HTTP client of a running relay."""

    def __init__(self, server: str, key: str | None, as_json: bool) -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        tls = trusted_by(server)
        self._http = httpx.Client(base_url=server, headers=headers, timeout=TIMEOUT, trust_env=False, verify=tls)
        self.server, self.key, self.as_json = server, key, as_json

    def close(self) -> None:
        self._http.close()

    def request(self, method: str, path: str, *, has: str | None = None, **request: Any) -> Any:
        """The JSON object of the response. Raises RelayError with the relay's own message if it refuses.

        `has` is a field of every such response: a server without it is no relay.
        """
        try:
            response = self._http.request(method, path, **request)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise RelayError(
                f"no relay answers at {self.server} ({type(error).__name__}); start one with `relay serve`, "
                f"or {_ADDRESS_HINT}"
            ) from error
        body = _json_object(response)
        is_readable = body is not None or not response.content
        is_relay = "x-request-id" in response.headers  # Exec's errors look the same, and have none
        if response.is_success and is_relay and is_readable and _has(body, has):
            return body or {}
        refusal = (body or {}).get("error")
        message = refusal.get("message") if isinstance(refusal, Mapping) else None
        if response.is_success or not is_relay or not isinstance(message, str):
            raise RelayError(f"{self.server} is not a relay: {_description(response)}; {_hint(response)}")
        hint = "; give a key with --key or RELAY_API_KEY" if response.status_code == 401 else ""
        raise RelayError(f"{message}{hint}")

    def refuse_other_servers(self) -> None:
        """Raises RelayError if something else answers, again and again. A relay that is down may still come."""
        for delay in (*_PAGE_DELAYS, None):
            try:
                response = self._http.get("/v1/jobs", params={"limit": 1})
            except httpx.HTTPError:
                return
            is_relay = _json_object(response) is not None and "x-request-id" in response.headers
            if response.status_code >= 500 or is_relay:
                return
            if delay is None:
                raise RelayError(f"{self.server} is not a relay: {_description(response)}; {_hint(response)}")
            time.sleep(delay)

    def show(self, page: Any, columns: Mapping[str, Column[dict[str, Any]]]) -> None:
        """Prints a list as a table, or with --json the response itself."""
        if self.as_json:
            print_json(page)
            return
        show_table(page["data"], columns)
        if page.get("next_cursor"):
            click.echo(f"more: --cursor {page['next_cursor']}", err=True)


def _json_object(response: httpx.Response) -> dict[str, Any] | None:
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _has(body: dict[str, Any] | None, name: str | None) -> bool:
    return name is None or (body is not None and name in body)


def _hint(response: httpx.Response) -> str:
    is_page = response.has_redirect_location or "html" in response.headers.get("content-type", "")
    login = ", or let requests for /v1 pass the login page in front of it" if is_page else ""
    return f"{_ADDRESS_HINT}{login}"


def _description(response: httpx.Response) -> str:
    if response.has_redirect_location:
        target = urlsplit(str(response.headers["location"]))
        elsewhere = f" to {target.scheme}://{target.netloc.rpartition('@')[2]}" if target.netloc else ""
        return f"it answered {response.status_code}, a redirect{elsewhere}"
    kind = response.headers.get("content-type", "").partition(";")[0] or "no content type"
    return f"it answered {response.status_code} with {kind}"


def client_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--server`, `--key`, `--key-file` and `--json`; the command gets a `Client` as its first argument."""

    @click.option(
        "--server",
        envvar="RELAY_URL",
        default="http://127.0.0.1:8080",
        show_default=True,
        callback=_server,
        help="The relay's address; or RELAY_URL.",
    )
    @click.option("--key", envvar="RELAY_API_KEY", callback=_key, help="An API key of the relay; or RELAY_API_KEY.")
    @click.option(
        "--key-file",
        envvar="RELAY_API_KEY_FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        callback=from_file(lambda text: _checked_key(text)),
        help="A file with the API key; or RELAY_API_KEY_FILE.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print the relay's response as JSON.")
    @wraps(command)
    def with_client(server: str, key: str | None, key_file: str | None, as_json: bool, **arguments: Any) -> None:
        client = Client(server, key or key_file or local_token.read(server), as_json)
        try:
            command(client, **arguments)
        except (LookupError, TypeError, AttributeError) as error:
            text = f"{server} answers with JSON that this command can't read ({type(error).__name__})"
            raise RelayError(f"{text}: is it a relay, and of this version? {_ADDRESS_HINT}") from error
        finally:
            client.close()

    return with_client


def from_file(check: Callable[[str], Any]) -> Callable[..., Any]:
    """A callback for an option that names a file: what `check` makes of the text of the file."""

    def read(context: click.Context, option: click.Parameter, path: Path | None) -> Any:
        if path is None:
            return None
        try:
            return check(read_file(str(path)).strip())
        except ValueError as error:
            raise click.UsageError(f"{named(context, option)}: {error}") from None

    return read


def named(context: click.Context, option: click.Parameter) -> str:
    """The variable or the option that a value comes from, as an error names it."""
    source = context.get_parameter_source(option.name or "")
    return str(option.envvar) if source is ParameterSource.ENVIRONMENT else option.opts[0]


def _server(context: click.Context, option: click.Parameter, text: str) -> str:
    problem = None
    try:
        server = parsers.text(text.strip()).rstrip("/")
        parts = urlsplit(server)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            problem = "must begin with http:// or https:// and name a host, such as http://127.0.0.1:8080"
        elif "@" in parts.netloc or parts.query or parts.fragment:
            problem = "must hold no user name, password, query or fragment"
        elif parts.port == 0 or not server.isascii():
            problem = "must be a URL in ASCII, such as http://127.0.0.1:8080"
    except ValueError as error:
        problem = str(error)
    if problem:
        raise click.UsageError(f"{named(context, option)} {problem}")
    return server


def _key(context: click.Context, option: click.Parameter, text: str | None) -> str | None:
    if text is None or not text.strip():
        return None
    try:
        return _checked_key(text.strip())
    except ValueError as error:
        raise click.UsageError(f"{named(context, option)} {error}") from None


def _checked_key(text: str) -> str:
    key = parsers.text(text)
    if not key.isascii() or " " in key:
        raise ValueError("holds a space or a character that is not ASCII: copy the key again")
    return key


def list_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--limit` and `--cursor` of every list."""
    command = click.option("--cursor", help="The cursor that the previous page ended with.")(command)
    return click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="Rows.")(command)


def drop_none(**parameters: Any) -> dict[str, Any]:
    """The parameters that have a value."""
    return {name: value for name, value in parameters.items() if value is not None and value != ()}
