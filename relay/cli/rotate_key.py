"""`relay rotate-key`: encrypts the store with another secret key."""

import asyncio
from pathlib import Path

import click

from relay.cli.options import command_actor, config_option, read_config
from relay.config import Config
from relay.errors import ConfigError
from relay.store import open_store


@click.command("rotate-key")
@config_option
def command(path: Path | None) -> None:
    """Encrypt the store's secrets with security.secret_key. The old keys decrypt them first.

    \b
    To change the key:
      1. make one:             relay keygen --secret
      2. configure both:       security.secret_key: NEW, security.old_secret_keys: [OLD]
      3. encrypt with NEW:     relay rotate-key (or start the relay: it does the same)
      4. when this has finished, remove OLD from the configuration

    It works in small steps, and continues after an interruption. Only one process can have a SQLite store: stop the
    relay first. With several relays on PostgreSQL, first add the new key to security.old_secret_keys of all of them.
    If a row changed, `relay audit` says who ran it, and the new key's fingerprint.
    """
    config = read_config(path)
    if config.security.secret_key is None and not config.security.old_secret_keys:
        raise ConfigError("security.secret_key is not set: make a key with `relay keygen --secret`, and configure it")
    rows = asyncio.run(_rotate(config))
    key_id = config.security.cipher().key_id
    state = f"encrypted with the key {key_id}" if key_id else "not encrypted, because security.secret_key is not set"
    click.echo(f"✓ {rows} rows changed; the whole store is {state}")
    if config.security.old_secret_keys:
        click.echo("  remove security.old_secret_keys when every relay on this store has the new key")


async def _rotate(config: Config) -> int:
    rows = 0

    def progress(rows_done: int, total: int) -> None:
        nonlocal rows
        rows = rows_done
        click.echo(f"  {rows_done} of {total}", err=True)

    store = await open_store(config.storage.url, config.security.cipher(), progress, actor=command_actor())
    await store.aclose()
    return rows
