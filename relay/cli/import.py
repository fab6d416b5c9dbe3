"""`relay import`: moves the SQLite store of a relay that runs into PostgreSQL."""

import time
from pathlib import Path

import click

from relay.cli.options import config_option, read_config
from relay.cli.progress_bar import progress_bar
from relay.store.maintenance.sqlite_to_postgres import SqliteToPostgres

_POLLS_EVERY = 0.5
"""Seconds between two polls whether the old relay has stopped."""


@click.command("import")
@config_option
@click.option("--from", "source", required=True, metavar="URL", help="The SQLite store, as sqlite:////data/relay.db.")
def command(path: Path | None, source: str) -> None:
    """Move a SQLite store, with everything in it, into the PostgreSQL of storage.url.

    \b
    The relay on the SQLite store goes on working meanwhile:
      1. make an empty database, and set storage.url to it, in the configuration of the new relays
      2. on the machine that has the file:   relay import --from sqlite:////data/relay.db
      3. when it says so, stop the old relay: what that did meanwhile is copied, which takes a moment
      4. start the new relays, as many as you like

    Nothing is lost, and no event gets another webhook-id. Broken off, the same command goes on where it was. Until it
    is through no relay starts on the PostgreSQL, and afterwards none on the file, which is kept as a backup. What is
    sealed stays so: security.secret_key has to be that of the old relay.

    \b
    Examples:
      relay import --from sqlite:////data/relay.db --config config.yaml
      RELAY_STORAGE__URL=postgresql://relay@db.example.com/relay relay import --from sqlite:///data/relay.db
    """
    config = read_config(path)
    move = SqliteToPostgres.open(source, config.storage.url, config.security.cipher())
    try:
        with progress_bar("copying") as tell:
            rows = move.copy(tell)
        click.echo(f"{rows} rows of {move.path} copied")
        _wait_until_stopped(move)
        with progress_bar("what changed") as tell:
            rows = move.finish(tell)
    finally:
        move.close()
    click.echo(f"{rows} rows copied again, as they had changed")
    click.echo(f"✓ The store is in PostgreSQL: start the relays there. {move.path} is a backup now")


def _wait_until_stopped(move: SqliteToPostgres) -> None:
    """Returns when the old relay has stopped."""
    if not move.lock_source():
        click.echo(
            "All is there but what the old relay does from now on. Stop it: this goes on by itself then.\n"
            "(Ctrl-C leaves all as it is; the same command goes on from there.)"
        )
    while not move.lock_source():
        time.sleep(_POLLS_EVERY)
