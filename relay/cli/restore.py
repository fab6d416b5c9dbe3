"""`relay restore`: replaces the store by a backup."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from relay.cli.options import command_actor, config_option, read_config
from relay.polling import rate_limit_of
from relay.process import system_clock
from relay.store.engine import dialect
from relay.store.maintenance import backup
from relay.store.maintenance.restore import Restored, carry_over

_MAX_NAMED = 20


@click.command("restore")
@config_option
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(path: Path | None, file: Path, yes: bool) -> None:
    """Replace the store by the backup FILE. The relay must not run; the replaced store is kept beside the new one.

    Everything after the backup is lost: jobs registered since then are not watched. Notifications sent since then wait
    again, so the relay sends nothing until you say what becomes of them: `relay sending resume` sends them, with the
    same webhook-id, by which receivers recognise them; `relay sending discard` cancels them.

    Some state must not go back, and is taken from the replaced store if that can be read: requests spent at Exec,
    revoked API keys, callback tokens, signing secrets. All dashboard sessions end. The restored keys and endpoints
    are printed.

    \b
    Examples:
      relay restore /backups/relay-2026-03-01.db
    """
    config = read_config(path)
    version = backup.check(file)
    store = Path(str(dialect.parse(config.storage.url).database))
    previous_copy = store.with_name(f"{store.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    backup.check_unused(config.storage.url)
    if not yes:
        click.confirm(f"Replace {store} by {file} (tables of version {version})?", abort=True)
    minute_limits = {space.name: rate_limit_of(space).minute for space in config.workspaces}
    prepare = partial(carry_over, minute_limits=minute_limits, now=system_clock(), actor=command_actor())
    restored = backup.restore(config.storage.url, file, previous_copy, prepare)
    previous = f"; the replaced store is {previous_copy}" if previous_copy.exists() else ""
    click.echo(f"{store} is now {file}{previous}.")
    of_backup = "delivery of the backup waits" if restored.waiting == 1 else "deliveries of the backup wait"
    click.echo(f"Nothing is sent for now: {restored.waiting:,} {of_backup}, and may have been made since.")
    click.echo("Start the relay, and decide: `relay sending resume` sends them, `relay sending discard` cancels them.")
    for line in _lines(restored):
        click.echo(line)


def _lines(restored: Restored) -> list[str]:
    lines = [
        f"API keys that work now: {_join_names(restored.keys)}.",
        f"Standing endpoints: {_join_names(restored.endpoints)}.",
    ]
    if restored.carried_over:
        lines += [
            f"Deleted since the backup, and restored: {_join_names(restored.undeleted)}.",
            f"Rotated since the backup, with the newer secret kept: {_join_names(restored.rotated)}.",
        ]
    else:
        lines += [
            "There was no previous store, or it can't be read. So check by hand:",
            "- Exec's requests of this minute count as spent; those of the day since the backup are not known.",
            "- API keys that were revoked since the backup work again: revoke them once more.",
            "- Receivers whose secret was rotated since the backup refuse notifications: rotate it once more.",
            "- A callback token that was rotated since the backup is valid again: rotate it once more.",
            "- Endpoints that were deleted since the backup exist again: delete them once more.",
        ]
    return lines


def _join_names(names: Sequence[str]) -> str:
    suffix = f", and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return (", ".join(names[:_MAX_NAMED]) or "none") + suffix
