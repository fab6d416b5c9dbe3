"""`relay import`: moves the SQLite store of a running relay into PostgreSQL."""

import time
from pathlib import Path

import click

from relay.cli.options import config_option, read_config
from relay.cli.progress_bar import progress_bar
from relay.store.maintenance.sqlite_to_postgres import SqliteToPostgres

_POLL_SECONDS = 0.5
"""Seconds between two checks whether the old relay has stopped."""


@click.command("import")
@config_option
@click.option(
    "--from", "source", required=True, metavar="URL", help="The SQLite store, such as sqlite:////data/relay.db."
)
def command(path: Path | None, source: str) -> None:
    """Move a SQLite store, with everything in it, into the PostgreSQL of storage.url.

    \b
    The relay on the SQLite store keeps running at first:
      1. create an empty database, and set storage.url to it in the configuration of the new relays
      2. on the machine that has the file:   relay import --from sqlite:////data/relay.db
      3. when it says so, stop the old relay: its last changes are then copied
      4. start any number of new relays

    Nothing is lost, and every event keeps its webhook-id. If it is interrupted, run the same command again: it
    continues. No relay starts on the PostgreSQL before the import is complete, and none on the file afterwards; the
    file stays as a backup. Encrypted values stay encrypted: security.secret_key must be that of the old relay.

    \b
    Examples:
      relay import --from sqlite:////data/relay.db --config config.yaml
      RELAY_STORAGE__URL=postgresql://relay@db.example.com/relay relay import --from sqlite:///data/relay.db
    """
    config = read_config(path)
    conversion = SqliteToPostgres.open(source, config.storage.url, config.security.cipher())
    try:
        with progress_bar("copying") as progress:
            rows = conversion.copy(progress)
        click.echo(f"{rows} rows of {conversion.path} copied")
        _wait_until_stopped(conversion)
        with progress_bar("last changes") as progress:
            rows = conversion.finish(progress)
    finally:
        conversion.close()
    click.echo(f"{rows} rows copied again, because they had changed")
    click.echo(f"✓ The store is in PostgreSQL: start the relays there. {conversion.path} is now a backup")


def _wait_until_stopped(conversion: SqliteToPostgres) -> None:
    """Waits for the old relay to stop."""
    if not conversion.lock_source():
        click.echo(
            "Everything is copied but the changes from now on. Stop the old relay: the import then continues.\n"
            "(Ctrl-C interrupts it safely; the same command continues later.)"
        )
    while not conversion.lock_source():
        time.sleep(_POLL_SECONDS)
