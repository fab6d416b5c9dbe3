"""`relay deliveries`: deliveries with their status and the reason of a failure."""

from typing import Any

import click

from relay.cli.api_client import Client, client_options, drop_none, list_options
from relay.cli.filter_options import filter_options
from relay.cli.options import id_argument
from relay.cli.output import print_json
from relay.cli.table import Column

_COLUMNS: dict[str, Column[dict[str, Any]]] = {
    "delivery": Column(lambda row: row["id"]),
    "job": Column(lambda row: row["job_id"]),
    "status": Column(lambda row: row["status"]),
    "when": Column(lambda row: row["created_at"], is_time=True),
    "event": Column(lambda row: row["event_type"], optional=True),
    "to": Column(
        lambda row: row["endpoint"].get("name") or row["endpoint"]["url"] or "removed", flexible=True, optional=True
    ),
    "attempts": Column(lambda row: row["attempts"], optional=True),
    "next": Column(lambda row: row["next_attempt_at"], is_time=True, optional=True),
    "reason": Column(lambda row: row["reason"], flexible=True, optional=True),
}


@click.command("deliveries")
@id_argument("delivery_id", required=False)
@click.option("--status", help="pending, delivered, failed or cancelled.")
@click.option("--job", "job_id", help="Only of this job.")
@click.option("--digest", help="Only those that this digest sends, by the id of its delivery.")
@filter_options("created")
@list_options
@client_options
def command(client: Client, delivery_id: str | None, **filters: Any) -> None:
    """List deliveries, newest first, or show one with all its attempts.

    \b
    Examples:
      relay deliveries --status failed
      relay deliveries --job j1o2b3i4d5x6
      relay deliveries --http-status 5xx --since 2026-03-01T10:00:00Z
      relay deliveries dlv_01JC4ZJ5QX0000000000000000
    """
    if delivery_id is not None:
        print_json(client.request("GET", f"/v1/deliveries/{delivery_id}", has="id"))
        return
    client.show(client.request("GET", "/v1/deliveries", has="data", params=drop_none(**filters)), _COLUMNS)
