"""The filters of lists as options: those of the API and of the dashboard, under the same names."""

import click

from relay.cli.options import Decorator, combine_options
from relay.model import EventType


def filter_options(created: str) -> Decorator:
    """`--endpoint`, `--event` and the other filters of a list; `created` says what its times are of."""
    return combine_options(
        click.option("--endpoint", help="Only with this endpoint, by name or id."),
        click.option(
            "--event",
            "event_type",
            type=click.Choice([type.value for type in EventType]),
            metavar="TYPE",
            help="Only with an event of this type, such as job.failed.",
        ),
        click.option("--workspace", help="Only of this Exec workspace."),
        click.option(
            "--http-status", help="Only if a last attempt got this HTTP status: 404, 5xx, or none for no answer."
        ),
        click.option("--metadata", help="Only with this pair in a registration's metadata, such as customer=acme."),
        click.option("--since", help=f"Only if {created} at this time or later, such as 2026-03-01T10:00:00Z."),
        click.option("--until", help=f"Only if {created} before this time."),
    )
