"""`relay resend`: send again what failed."""

from typing import Any

import click

from relay.cli.client import Client, client_options, given


@click.command("resend")
@click.argument("delivery_id", required=False)
@click.option("--failed", is_flag=True, help="All failed deliveries that the other options name.")
@click.option("--job", "job_id", help="Only of this job.")
@click.option("--endpoint", help="Only to this endpoint.")
@click.option("--since", help="Made at or after this time, such as 2026-03-01T10:00:00Z.")
@click.option("--until", help="Made before this time.")
@click.option("--dry-run", is_flag=True, help="Count them, send nothing.")
@client_options
def command(client: Client, delivery_id: str | None, failed: bool, dry_run: bool, **filters: Any) -> None:
    """Send a delivery again, or all failed ones after an outage. The webhook-id stays the same.

    \b
    Examples:
      relay resend dlv_01JC4ZJ5QX0000000000000000
      relay resend --failed --since 2026-03-01T10:00:00Z --dry-run
      relay resend --failed --endpoint sales-channel
    """
    if (delivery_id is None) == (not failed):
        raise click.UsageError("name one delivery, or say --failed for all that failed")
    if delivery_id is not None:
        if dry_run or given(**filters):
            raise click.UsageError("one delivery needs no other options")
        client.call("POST", f"/v1/deliveries/{delivery_id}/resend")
        click.echo(f"{delivery_id} is being sent again; see: relay deliveries {delivery_id}")
        return
    wish = {"status": "failed", "dry_run": dry_run, **given(**filters)}
    count = client.call("POST", "/v1/deliveries/resend", json=wish)["count"]
    click.echo(f"{count} failed deliveries {'would be' if dry_run else 'are being'} sent again")
