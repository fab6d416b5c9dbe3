"""`relay jobs`: the jobs that the relay watches, with their polls."""

from typing import Any

import click

from relay.cli.api_client import Client, client_options, drop_none, list_options
from relay.cli.filter_options import filter_options
from relay.cli.options import id_argument
from relay.cli.output import print_json
from relay.cli.table import Column

_COLUMNS: dict[str, Column[dict[str, Any]]] = {
    "job": Column(lambda row: row["job_id"]),
    "state": Column(lambda row: row["state"]),
    "at Exec": Column(lambda row: (row["job"] or {}).get("status")),
    "scenario": Column(lambda row: ((row["job"] or {}).get("scenario") or {}).get("name"), flexible=True),
    "polls": Column(lambda row: row["polls"], optional=True),
    "next poll": Column(lambda row: row["next_poll_at"], is_time=True),
    "why": Column(lambda row: row["next_poll_reason"] or row["last_error"], flexible=True, optional=True),
}


@click.command("jobs")
@id_argument("job_id", required=False)
@click.option("--state", help="active, settled, not_found, expired or withdrawn.")
@filter_options("registered")
@list_options
@client_options
def command(client: Client, job_id: str | None, workspace: str | None, **filters: Any) -> None:
    """List the jobs that the relay watches or watched, or show one in full. Costs no request to Exec.

    \b
    Examples:
      relay jobs
      relay jobs --state active
      relay jobs --metadata customer=acme --event job.failed
      relay jobs j1o2b3i4d5x6
    """
    if job_id is not None:
        print_json(client.request("GET", f"/v1/jobs/{job_id}", has="job_id", params=drop_none(workspace=workspace)))
        return
    client.show(
        client.request("GET", "/v1/jobs", has="data", params=drop_none(workspace=workspace, **filters)), _COLUMNS
    )
