"""`relay deliveries`: did it go out, and if not, why?"""

import json
from typing import Any

import click

from relay.cli.api_client import Client, client_options, drop_none, list_options

_COLUMNS = {
    "delivery": lambda row: row["id"],
    "event": lambda row: row["event_type"],
    "job": lambda row: row["job_id"],
    "to": lambda row: row["endpoint"].get("name") or row["endpoint"]["url"] or "removed",
    "status": lambda row: row["status"],
    "attempts": lambda row: row["attempts"],
    "next": lambda row: row["next_attempt_at"],
    "reason": lambda row: row["reason"],
}


@click.command("deliveries")
@click.argument("delivery_id", required=False)
@click.option("--status", help="pending, delivered, failed or cancelled.")
@click.option("--job", "job_id", help="Only of this job.")
@click.option("--endpoint", help="Only to this endpoint.")
@click.option("--since", help="Made at or after this time, such as 2026-03-01T10:00:00Z.")
@click.option("--until", help="Made before this time.")
@list_options
@client_options
def command(client: Client, delivery_id: str | None, **filters: Any) -> None:
    """List deliveries, newest first, or show one with all its attempts.

    \b
    Examples:
      relay deliveries --status failed
      relay deliveries --job j1o2b3i4d5x6
      relay deliveries dlv_01JC4ZJ5QX0000000000000000
    """
    if delivery_id is not None:
        click.echo(json.dumps(client.request("GET", f"/v1/deliveries/{delivery_id}"), ensure_ascii=False, indent=2))
        return
    client.show(client.request("GET", "/v1/deliveries", params=drop_none(**filters)), _COLUMNS)
