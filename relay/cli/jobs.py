"""`relay jobs`: what the relay knows of the jobs it watches."""

import json
from typing import Any

import click

from relay.cli.api_client import Client, client_options, drop_none, list_options

_COLUMNS = {
    "job": lambda row: row["job_id"],
    "state": lambda row: row["state"],
    "at Exec": lambda row: (row["job"] or {}).get("status"),
    "scenario": lambda row: ((row["job"] or {}).get("scenario") or {}).get("name"),
    "polls": lambda row: row["polls"],
    "next poll": lambda row: row["next_poll_at"],
    "why": lambda row: row["next_poll_reason"] or row["last_error"],
}


@click.command("jobs")
@click.argument("job_id", required=False)
@click.option("--state", help="active, settled, not_found, expired or withdrawn.")
@click.option("--workspace", help="The Exec workspace.")
@list_options
@client_options
def command(client: Client, job_id: str | None, workspace: str | None, **filters: Any) -> None:
    """List the jobs that the relay watches or watched, or show one in full. Costs Exec nothing.

    \b
    Examples:
      relay jobs
      relay jobs --state active
      relay jobs j1o2b3i4d5x6
    """
    if job_id is not None:
        found = client.request("GET", f"/v1/jobs/{job_id}", params=drop_none(workspace=workspace))
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    client.show(client.request("GET", "/v1/jobs", params=drop_none(workspace=workspace, **filters)), _COLUMNS)
