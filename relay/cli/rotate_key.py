"""`relay rotate-key`: seals the store anew with another key."""

import asyncio
from pathlib import Path

import click

from relay.cli.options import config_option, read_config
from relay.config import Config
from relay.errors import ConfigError
from relay.store.maintenance.reencrypt import open_store


@click.command("rotate-key")
@config_option
def command(path: Path | None) -> None:
    """Seal the store's secrets with security.secret_key, whatever they were sealed with before.

    \b
    To change the key:
      1. make one:             relay keygen --secret
      2. configure both:       security.secret_key: NEW, security.old_secret_keys: [OLD]
      3. seal with the new:    relay rotate-key (or start the relay: it does the same)
      4. when this says that all is sealed, take OLD out of the configuration

    It works in small steps, and goes on where it was broken off. A store in SQLite is one process's: stop the relay
    first. With several relays on PostgreSQL, first give all of them the new key among security.old_secret_keys.
    """
    config = read_config(path)
    if config.security.secret_key is None and not config.security.old_secret_keys:
        raise ConfigError("security.secret_key is not set: make a key with `relay keygen --secret`, and configure it")
    done = asyncio.run(_rotate(config))
    seal = config.security.cipher()
    what = f"sealed with the key {seal.key_id}" if seal.key_id else "open again, as no security.secret_key is set"
    click.echo(f"✓ {done} rows sealed anew; all of the store is {what}")
    if config.security.old_secret_keys:
        click.echo("  security.old_secret_keys can go, once every relay on this store has the new key")


async def _rotate(config: Config) -> int:
    last = 0

    def tell(done: int, of: int) -> None:
        nonlocal last
        last = done
        click.echo(f"  {done} of {of}", err=True)

    store = await open_store(config.storage.url, config.security.cipher(), tell)
    await store.aclose()
    return last
