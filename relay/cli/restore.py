"""`relay restore`: puts a backup back in the store's place."""

from datetime import UTC, datetime
from pathlib import Path

import click

from relay.cli.configuring import config_option, read_config
from relay.store import backup, dialect


@click.command("restore")
@config_option
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(path: Path | None, file: Path, yes: bool) -> None:
    """Put the backup FILE in the place of the store. The relay must not run; what was there is kept beside it.

    What the relay did after the backup was made is forgotten: jobs registered since then are not watched, and what
    was sent since then is sent again, with the same webhook-id, so that receivers can tell. API keys that were revoked
    since then work again: revoke them once more.

    \b
    Examples:
      relay restore /backups/relay-2026-03-01.db
    """
    url = read_config(path).storage.url
    version = backup.check(file)
    place = Path(str(dialect.parse(url).database))
    aside = place.with_name(f"{place.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    if not yes:
        click.confirm(f"Replace {place} by {file} (tables of version {version})?", abort=True)
    backup.restore(url, file, aside)
    kept = f"; what was there is {aside}" if aside.exists() else ""
    click.echo(f"{place} is now {file}{kept}. Start the relay.")
