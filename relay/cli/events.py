"""`relay events`: the events of jobs, as a list or as they come."""

from typing import Any

import click

from relay.cli.api_client import Client, client_options, drop_none, list_options
from relay.cli.output import print_json, print_text
from relay.cli.table import Column
from relay.client import ApiError, CursorGone, Event, Relay
from relay.errors import RelayError
from relay.model import to_rfc3339


def _scenario_of(row: dict[str, Any]) -> Any:
    return ((row["body"].get("data") or {}).get("job") or {}).get("scenario") or {}


_COLUMNS: dict[str, Column[dict[str, Any]]] = {
    "event": Column(lambda row: row["type"]),
    "job": Column(lambda row: row["job_id"]),
    "when": Column(lambda row: row["occurred_at"], is_time=True),
    "scenario": Column(lambda row: _scenario_of(row).get("name"), flexible=True, optional=True),
    "id": Column(lambda row: row["id"], optional=True),
}


@click.command("events")
@click.option("--follow", is_flag=True, help="Print events as they come, until Ctrl-C; over restarts of the relay.")
@click.option("--after", help="With --follow: go on after this cursor; 0: from the oldest stored event.")
@click.option("--type", "types", multiple=True, help="Only this event, such as job.completed; repeatable.")
@click.option("--job", "job_id", help="Only events of this job.")
@click.option("--workspace", help="The Exec workspace.")
@click.option("--endpoint", help="As this endpoint has them: its events, in its format, signed with its secret.")
@list_options
@client_options
def command(client: Client, follow: bool, after: str | None, types: tuple[str, ...], **filters: Any) -> None:
    """List the events of jobs, newest first; or follow them as they come.

    \b
    Examples:
      relay events
      relay events --follow
      relay events --follow --json --after 0 | jq .cursor
      relay events --follow --json --endpoint warehouse
    """
    if not follow:
        if after is not None:
            raise click.UsageError("--after belongs to --follow")
        params = drop_none(type=",".join(types) or None, **filters)
        client.show(client.request("GET", "/v1/events", has="data", params=params), _COLUMNS)
        return
    client.refuse_other_servers()
    event_filter = {"types": types or None} | {name: filters[name] for name in ("job_id", "workspace", "endpoint")}
    try:
        with Relay(client.server, client.key) as relay:
            for event in relay.events(after or "now", **event_filter):
                if client.as_json:
                    print_json(event.raw, indent=None)
                else:
                    print_text(_line(event))
    except CursorGone as error:
        raise RelayError(f"{error.message} (oldest {error.oldest_cursor}, newest {error.newest_cursor})") from None
    except ApiError as error:
        hint = "; give a key with --key or RELAY_API_KEY" if error.status == 401 else ""
        raise RelayError(f"{error.message}{hint}") from None


def _line(event: Event) -> str:
    url = _scenario_of(dict(event.raw)).get("url") or ""
    return f"{to_rfc3339(event.occurred_at)}  {event.type}  {event.job_id}  {url}".rstrip()
