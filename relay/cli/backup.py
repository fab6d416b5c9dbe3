"""`relay backup`: a copy of the SQLite store, made while the relay runs."""

from pathlib import Path

import click

from relay.cli.options import config_option, read_config
from relay.store.maintenance import backup


@click.command("backup")
@config_option
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def command(path: Path | None, file: Path) -> None:
    """Copy the store to FILE, as it is at one instant, while the relay runs.

    The copy holds all that the store holds: callback URLs and signing secrets too. Keep it as safe. With
    security.secret_key they are encrypted in it, and it is of use only together with that key.

    \b
    Examples:
      relay backup /backups/relay-$(date +%F).db
      docker exec relay relay backup /data/backup.db

    \b
    To put it back: stop the relay, `relay restore FILE`, start it.
    Continuous copies, to the second: Litestream, on the same file. A PostgreSQL has pg_dump.
    """
    size = backup.back_up(read_config(path).storage.url, file)
    click.echo(f"{file}: {size / 1_000_000:.1f} MB, whole and checked")
