"""`relay restore`: puts a backup back in the store's place."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from relay.cli.options import config_option, read_config
from relay.polling.poller import rate_limit_of
from relay.store.engine import dialect
from relay.store.engine.clock import system_clock
from relay.store.maintenance import backup
from relay.store.maintenance.restore import Restored, take_over

_NAMED = 20


@click.command("restore")
@config_option
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(path: Path | None, file: Path, yes: bool) -> None:
    """Put the backup FILE in the place of the store. The relay must not run; what was there is kept beside it.

    What the relay did after the backup was made is forgotten: jobs registered since then are not watched, and what
    was sent since then is sent again, with the same webhook-id, so that receivers can tell.

    What must not go back is taken over from the store that is replaced, if that can be read: requests spent at Exec,
    revoked API keys, callback tokens, signing secrets. Everybody is logged out. What lives again is printed.

    \b
    Examples:
      relay restore /backups/relay-2026-03-01.db
    """
    config = read_config(path)
    version = backup.check(file)
    place = Path(str(dialect.parse(config.storage.url).database))
    aside = place.with_name(f"{place.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    if not yes:
        click.confirm(f"Replace {place} by {file} (tables of version {version})?", abort=True)
    minute_limits = {space.name: rate_limit_of(space).minute for space in config.workspaces}
    prepare = partial(take_over, minute_limits=minute_limits, now=system_clock())
    restored = backup.restore(config.storage.url, file, aside, prepare)
    kept = f"; what was there is {aside}" if aside.exists() else ""
    click.echo(f"{place} is now {file}{kept}. Start the relay.")
    for line in _lines(restored):
        click.echo(line)


def _lines(restored: Restored) -> list[str]:
    lines = [
        f"API keys that work now: {_listed(restored.keys)}.",
        f"Standing endpoints: {_listed(restored.endpoints)}.",
    ]
    if restored.took_over:
        lines += [
            f"Deleted since the backup, and there again: {_listed(restored.undeleted)}.",
            f"Rotated since the backup, and the newer secret kept: {_listed(restored.rotated)}.",
        ]
    else:
        lines += [
            "There was no store to take anything over from, or it can't be read. So check by hand:",
            "- Exec's requests of this minute count as spent; those of the day since the backup are not known.",
            "- API keys that were revoked since the backup work again: revoke them once more.",
            "- Receivers whose secret was rotated since the backup refuse what comes: rotate it once more.",
            "- A callback token that was rotated since the backup is taken again: rotate it once more.",
            "- Endpoints that were deleted since the backup are there again: delete them once more.",
        ]
    return lines


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (", ".join(names[:_NAMED]) or "none") + more
