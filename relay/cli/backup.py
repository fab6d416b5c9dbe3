"""`relay backup`: copies the SQLite store while the relay runs."""

from pathlib import Path

import click

from relay.cli.options import config_option, read_config
from relay.store.maintenance import backup


@click.command("backup")
@config_option
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def command(path: Path | None, file: Path) -> None:
    """Copy the store to FILE, in the state of one instant, while the relay runs.

    The copy contains callback URLs and signing secrets: keep it as safe as the store. With security.secret_key they
    are encrypted, and the copy is useless without that key.

    \b
    Examples:
      relay backup /backups/relay-$(date +%F).db
      docker exec relay relay backup /data/backup.db

    \b
    To restore it: stop the relay, run `relay restore FILE`, start the relay.
    For continuous copies use Litestream on the same file. For PostgreSQL use pg_dump.
    """
    config = read_config(path)
    size = backup.back_up(config.storage.url, file)
    click.echo(f"{file}: {size / 1_000_000:.1f} MB, complete and checked")
    contents = backup.contents(file)
    counts = ", ".join(f"{number:,} {name}" for name, number in contents.rows.items())
    click.echo(f"It has {counts}.")
    if contents.key_ids:
        click.echo(f"To read it, a relay needs the secret key with the fingerprint {', '.join(contents.key_ids)}.")
    else:
        click.echo("Nothing in it is encrypted.")
