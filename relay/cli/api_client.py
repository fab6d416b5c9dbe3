"""How the verbs that ask a running relay talk to it."""

import json
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import click
import httpx

from relay.cli.table import show_table
from relay.errors import RelayError

TIMEOUT = 30
"""Seconds."""


class Client:
    """A running relay, over HTTP."""

    def __init__(self, server: str, key: str | None, as_json: bool) -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=server.rstrip("/"), headers=headers, timeout=TIMEOUT, trust_env=False)
        self._server, self.as_json = server, as_json

    def close(self) -> None:
        self._http.close()

    def request(self, method: str, path: str, **request: Any) -> Any:
        """The answer's JSON. Raises RelayError with the relay's own words where it refuses."""
        try:
            answer = self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise RelayError(
                f"no relay answers at {self._server} ({type(error).__name__}); start one with `relay serve`, "
                "or name another with --server or RELAY_URL"
            ) from error
        if answer.is_success:
            return answer.json() if answer.content else {}
        try:
            told = answer.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            told = f"it answered {answer.status_code}"
        if answer.status_code == 401:
            told += "; give a key with --key or RELAY_API_KEY"
        raise RelayError(told)

    def show(self, found: Any, columns: Mapping[str, Callable[[dict[str, Any]], object]]) -> None:
        """Prints a list as a table, or with --json whatever came."""
        if self.as_json:
            click.echo(json.dumps(found, ensure_ascii=False, indent=2))
            return
        show_table(found["data"], columns)
        if found.get("next_cursor"):
            click.echo(f"more: --cursor {found['next_cursor']}")


def client_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--server`, `--key` and `--json`; the verb gets a `Client` as its first argument."""

    @click.option("--server", envvar="RELAY_URL", default="http://127.0.0.1:8080", show_default=True, help="The relay.")
    @click.option("--key", envvar="RELAY_API_KEY", help="An API key of the relay, where it asks for one.")
    @click.option("--json", "as_json", is_flag=True, help="Print the relay's own answer.")
    @wraps(command)
    def with_client(server: str, key: str | None, as_json: bool, **rest: Any) -> None:
        client = Client(server, key, as_json)
        try:
            command(client, **rest)
        finally:
            client.close()

    return with_client


def list_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--limit` and `--cursor`, as every list has them."""
    command = click.option("--cursor", help="Where the last list stopped.")(command)
    return click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="Rows.")(command)


def drop_none(**parameters: Any) -> dict[str, Any]:
    """The parameters that were given."""
    return {name: value for name, value in parameters.items() if value is not None and value != ()}
