"""`relay resend`: send again what failed."""

import json
from typing import Any

import click

from relay.cli.api_client import Client, client_options, drop_none
from relay.cli.progress_bar import progress_bar

BATCH = 500
"""Deliveries of one request: few enough for a bar that moves, and for a relay that goes on with other work."""


@click.command("resend")
@click.argument("delivery_id", required=False)
@click.option("--failed", is_flag=True, help="All failed deliveries that the other options name.")
@click.option("--delivered", is_flag=True, help="All delivered ones, where a receiver lost what it had.")
@click.option("--job", "job_id", help="Only of this job.")
@click.option("--endpoint", help="Only to this endpoint.")
@click.option("--since", help="Made at or after this time, such as 2026-03-01T10:00:00Z.")
@click.option("--until", help="Made before this time.")
@click.option("--dry-run", is_flag=True, help="Count them, send nothing.")
@click.option("--yes", "-y", is_flag=True, help="Don't ask before sending.")
@client_options
def command(
    client: Client,
    delivery_id: str | None,
    failed: bool,
    delivered: bool,
    dry_run: bool,
    yes: bool,
    **filters: Any,
) -> None:
    """Send a delivery again, or all failed ones after an outage. The webhook-id stays the same.

    What is sent is counted first, and you are asked. Broken off, the same command goes on where it stopped: what was
    sent again is no longer failed. New deliveries do not wait behind those that are sent again.

    \b
    Examples:
      relay resend dlv_01JC4ZJ5QX0000000000000000
      relay resend --failed --since 2026-03-01T10:00:00Z --dry-run
      relay resend --failed --endpoint sales-channel --yes
    """
    if [delivery_id is not None, failed, delivered].count(True) != 1:
        raise click.UsageError("name one delivery, or say --failed for all that failed, or --delivered")
    if delivery_id is not None:
        if dry_run or drop_none(**filters):
            raise click.UsageError("one delivery needs no other options")
        client.request("POST", f"/v1/deliveries/{delivery_id}/resend")
        click.echo(f"{delivery_id} is being sent again; see: relay deliveries {delivery_id}")
        return
    wish = {"status": "failed" if failed else "delivered", **drop_none(**filters)}
    counted = client.request("POST", "/v1/deliveries/resend", json={**wish, "dry_run": True})
    told = f"{counted['count']} {wish['status']} deliveries"
    if counted["skipped"]:
        click.echo(f"{counted['skipped']} more are left alone: their endpoints are disabled or removed", err=True)
    if dry_run or not counted["count"]:
        _tell(client, counted, f"{told} would be sent again")
        return
    if not yes:
        click.confirm(f"Send {told} again?", abort=True, err=True)
    sent = _send(client, {**wish, "ended_by": counted["as_of"], "limit": BATCH}, counted["count"])
    _tell(
        client, {**counted, "count": sent, "dry_run": False}, f"{sent} {wish['status']} deliveries are being sent again"
    )


def _tell(client: Client, answer: dict[str, Any], text: str) -> None:
    click.echo(json.dumps(answer, indent=2) if client.as_json else text)


def _send(client: Client, selection: dict[str, Any], count: int) -> int:
    """Batch after batch, with a bar on a terminal. Returns how many went."""
    sent = 0
    with progress_bar("sending again") as tell:
        tell(0, count)
        while True:
            answer = client.request("POST", "/v1/deliveries/resend", json=selection)
            sent += int(answer["count"])
            tell(sent, sent + answer["remaining"])
            if not answer["remaining"] or not answer["count"]:
                return sent
