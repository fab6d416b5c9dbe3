"""`relay resend`: sends failed deliveries again."""

from typing import Any

import click

from relay.cli.api_client import Client, client_options, drop_none
from relay.cli.filter_options import filter_options
from relay.cli.options import id_argument
from relay.cli.output import print_json, print_text
from relay.cli.progress_bar import progress_bar

BATCH = 500
"""Deliveries in one request: few enough for a moving progress bar and a responsive relay."""


@click.command("resend")
@id_argument("delivery_id", required=False)
@click.option("--failed", is_flag=True, help="All failed deliveries that match the other options.")
@click.option("--delivered", is_flag=True, help="All delivered ones, after a receiver lost data.")
@click.option("--job", "job_id", help="Only of this job.")
@filter_options("created")
@click.option("--dry-run", is_flag=True, help="Count them, but send nothing.")
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

    The deliveries are counted first, and you confirm. If it is interrupted, the same command continues: deliveries
    that were sent again are no longer failed. New deliveries are not delayed.

    \b
    Examples:
      relay resend dlv_01JC4ZJ5QX0000000000000000
      relay resend --failed --since 2026-03-01T10:00:00Z --dry-run
      relay resend --failed --endpoint sales-channel --yes
    """
    if [delivery_id is not None, failed, delivered].count(True) != 1:
        raise click.UsageError("name one delivery, or give --failed for all that failed, or --delivered")
    if delivery_id is not None:
        if dry_run or drop_none(**filters):
            raise click.UsageError("a single delivery takes no other options")
        client.request("POST", f"/v1/deliveries/{delivery_id}/resend", has="id")
        print_text(f"{delivery_id} is being sent again; see: relay deliveries {delivery_id}")
        return
    selection = {"status": "failed" if failed else "delivered", **drop_none(**filters)}
    preview = client.request("POST", "/v1/deliveries/resend", has="count", json={**selection, "dry_run": True})
    matching = f"{preview['count']} {selection['status']} deliveries"
    if preview["skipped"]:
        click.echo(f"{preview['skipped']} more are skipped: their endpoints are disabled or removed", err=True)
    if dry_run or not preview["count"]:
        _print(client, preview, f"{matching} would be sent again")
        return
    if not yes:
        click.confirm(f"Send {matching} again?", abort=True, err=True)
    number_sent = _send(client, {**selection, "ended_by": preview["as_of"], "limit": BATCH}, preview["count"])
    _print(
        client,
        {**preview, "count": number_sent, "dry_run": False},
        f"{number_sent} {selection['status']} deliveries are being sent again",
    )


def _print(client: Client, answer: dict[str, Any], text: str) -> None:
    if client.as_json:
        print_json(answer)
    else:
        print_text(text)


def _send(client: Client, selection: dict[str, Any], count: int) -> int:
    """Sends batch after batch, with a progress bar. Returns the number of deliveries."""
    number_sent = 0
    with progress_bar("sending again") as progress:
        progress(0, count)
        while True:
            answer = client.request("POST", "/v1/deliveries/resend", json=selection)
            number_sent += int(answer["count"])
            progress(number_sent, number_sent + answer["remaining"])
            if not answer["remaining"] or not answer["count"]:
                return number_sent
