"""`relay register`: hear of a job's end."""

import json
from typing import Any

import click

from relay.cli.api_client import Client, client_options, drop_none


def _metadata(_context: click.Context, _option: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str] | None:
    if any("=" not in pair for pair in pairs):
        raise click.BadParameter("write NAME=VALUE, such as team=sales")
    return dict(pair.split("=", 1) for pair in pairs) or None


@click.command("register")
@click.argument("job_id")
@click.option("--url", "callback_url", help="Where to POST when the job ends; Slack, Zapier or any URL of yours.")
@click.option("--endpoint", help="A standing endpoint, by name or id, instead of --url.")
@click.option("--format", help="How the body polls; by default chosen by the URL's host.")
@click.option("--event", "events", multiple=True, help="Hear of this event only, such as job.completed; repeatable.")
@click.option(
    "--metadata", multiple=True, callback=_metadata, help="NAME=VALUE, handed back with the event; repeatable."
)
@click.option("--workspace", help="The Exec workspace, where the relay knows several.")
@client_options
def command(client: Client, job_id: str, **wishes: Any) -> None:
    """Register JOB_ID: the relay watches it at Exec and notifies you when it ends.

    \b
    Examples:
      relay register j1o2b3i4d5x6 --url https://hooks.slack.com/services/T000/B000/XXXX
      relay register j1o2b3i4d5x6 --url https://example.com/callback --metadata team=sales
      relay register j1o2b3i4d5x6 --endpoint sales-channel --event job.completed
      relay register j1o2b3i4d5x6                      (for the standing endpoints)
    """
    made = client.request("POST", "/v1/registrations", json=drop_none(job_id=job_id, **wishes))
    click.echo(json.dumps(made, ensure_ascii=False, indent=2))
    endpoint = made.get("endpoint") or {}
    if not endpoint.get("enabled", True):
        text = "nothing is sent to {url} for now: it is disabled, because {disabled_reason}; what comes is held until "
        click.echo(f"relay: {text.format_map(endpoint)}POST /v1/endpoints/{endpoint['id']}/enable", err=True)
