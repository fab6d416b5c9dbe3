"""`relay keys`: API keys in the store, made, listed and revoked while relays run."""

import asyncio
import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from relay.cli.options import config_option, read_config
from relay.cli.table import show_table
from relay.config import Config, parsers
from relay.errors import RelayError
from relay.model import SECOND, Instant, new_id, to_rfc3339
from relay.operations.api_key_cache import CACHE_TTL, MAX_KEYS
from relay.security.api_keys import RANDOM_BYTES, SCOPES, Scope, generate_api_key, hash_api_key
from relay.store.engine import dialect
from relay.store.engine.clock import system_clock
from relay.store.engine.database import Store, Tx, exists, read_only, write_offline
from relay.store.tables import api_keys
from relay.store.tables.api_keys import StoredApiKey
from relay.suggestions import did_you_mean_or_list


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """A key, as it is listed."""

    name: str
    scopes: Sequence[Scope]
    kept_in: str
    created_at: str | None = None
    last_used_at: str | None = None
    revoked_at: str | None = None


@click.group("keys")
def command() -> None:
    """Make, list and revoke API keys of the relay.

    They are kept in the store, by their hashes, beside those of security.api_keys. This works on the store itself, the
    one that storage.url names, and so on the relay's machine (or container) only: no key of the API can make another.
    Relays may run meanwhile, on SQLite too, and each heeds a change within a second. Where there was no key at all, the
    first one closes the API to all who have none, for good.
    """


@command.command("create")
@config_option
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    required=True,
    help="What its holder may do; may be given several times.",
)
def create(path: Path | None, name: str, scopes: Sequence[Scope]) -> None:
    """Make a key named NAME, and print it: this once, since only its hash is kept.

    \b
    Scopes:
      register   register jobs, and withdraw
      read       see jobs, deliveries and endpoints, but no secrets
      admin      change endpoints, send again
    \b
    Examples:
      relay keys create zapier --scope register
      relay keys create ops --scope register --scope read --scope admin
      docker exec relay relay keys create dashboard --scope read
    """
    config, now = read_config(path), system_clock()
    key = generate_api_key(secrets.token_bytes(RANDOM_BYTES))
    wanted = tuple(scope for scope in SCOPES if scope in scopes)
    made = StoredApiKey(
        id=new_id("key", now),
        name=_checked(name, config),
        hash=hash_api_key(key),  # guard: stored-key-hash
        scopes=wanted,
        created_at=now,
    )
    url = config.storage.url
    if not exists(url):
        asyncio.run(_make_store(url))
        click.echo(
            f"There was no store yet; it is now {_store_location(url)}, where a relay has to find it.\n", err=True
        )
    was_open = write_offline(url, lambda tx: _add(tx, made)) and not config.security.api_keys
    click.echo(key)
    click.echo(f"\nThat is shown once. It works from now on, as {_bearer(made)}", err=True)
    if was_open:
        click.echo("It is the relay's first key: from now on every call of its API wants one.", err=True)


@command.command("list")
@config_option
@click.option("--all", "every", is_flag=True, help="Revoked ones too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_keys(path: Path | None, every: bool, as_json: bool) -> None:
    """List the keys of the store and of the configuration; about when each was used, to the hour.

    \b
    Examples:
      relay keys list
      relay keys list --all --json
    """
    config = read_config(path)
    stored = read_only(config.storage.url, api_keys.all if every else api_keys.active)
    found = [*_configured(config), *map(_shown, stored)]
    if as_json:
        click.echo(json.dumps({"data": [asdict(key) for key in found]}, indent=2))
        return
    columns = {
        "name": lambda key: key.name,
        "scopes": lambda key: ", ".join(key.scopes),
        "kept in": lambda key: key.kept_in,
        "created": lambda key: key.created_at,
        "last used": lambda key: key.last_used_at,
    }
    show_table(found, columns | ({"revoked": lambda key: key.revoked_at} if every else {}))


@command.command("revoke")
@config_option
@click.argument("name")
def revoke(path: Path | None, name: str) -> None:
    """Revoke the key named NAME: within a second no relay takes it, and sessions begun with it end.

    \b
    Examples:
      relay keys revoke zapier
    """
    config, now = read_config(path), system_clock()
    left = write_offline(config.storage.url, lambda tx: _revoke(tx, name, config, now))
    click.echo(f"✓ the key {name} is revoked; every relay on this store heeds that within {CACHE_TTL // SECOND} s")
    if not left and not config.security.api_keys:
        click.echo("! it was the last one: nobody can use the API until you make another with `relay keys create`")


def _checked(name: str, config: Config) -> str:
    """The name, where it may be had. Raises UsageError."""
    try:
        found = parsers.name(name)
    except ValueError as error:
        raise click.UsageError(f"NAME {error}") from None
    if any(key.name == name for key in config.security.api_keys):
        raise click.UsageError("security.api_keys of the configuration has a key of this name; choose another")
    return found


async def _make_store(url: str) -> None:
    """The first key may come before the first start, so that this can be on an address that others reach."""
    store = await Store.open(url)
    await store.aclose()


def _store_location(url: str) -> str:
    """Where a store is: another folder would have given another file."""
    parsed = dialect.parse(url)
    return str(Path(str(parsed.database)).absolute()) if dialect.is_sqlite(parsed) else "in the database"


def _add(tx: Tx, made: StoredApiKey) -> bool:
    """Adds the key. Returns whether it is the first that there ever was. Raises RelayError."""
    is_first = not api_keys.any_ever_created(tx)
    if len(api_keys.active(tx)) >= MAX_KEYS:
        raise RelayError(f"there are {MAX_KEYS:,} keys, and no more can be had; revoke what is not used")
    if not api_keys.add(tx, made):
        raise RelayError(f"there is a key named {made.name}; choose another name, or revoke that one first")
    return is_first


def _revoke(tx: Tx, name: str, config: Config, now: Instant) -> int:
    """Revokes the key. Returns how many are left. Raises RelayError where there is none of this name."""
    if api_keys.revoke(tx, name, now):
        return len(api_keys.active(tx))
    if any(key.name == name for key in config.security.api_keys):
        text = f"the key {name} is the configuration's: take it out of security.api_keys, and reload or restart"
        raise RelayError(f"{text} the relay")
    known = [key.name for key in api_keys.active(tx)]
    raise RelayError(f"there is no key of this name{did_you_mean_or_list(name, known)}")


def _bearer(made: StoredApiKey) -> str:
    return f"`Authorization: Bearer ...`, and may do: {', '.join(made.scopes)}."


def _configured(config: Config) -> Iterator[KeyRow]:
    for key in config.security.api_keys:
        yield KeyRow(name=key.name, scopes=key.scopes, kept_in="configuration")


def _shown(key: StoredApiKey) -> KeyRow:
    created, used, revoked = (
        None if at is None else to_rfc3339(at) for at in (key.created_at, key.last_used_at, key.revoked_at)
    )
    return KeyRow(
        name=key.name, scopes=key.scopes, kept_in="store", created_at=created, last_used_at=used, revoked_at=revoked
    )
