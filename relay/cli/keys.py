"""`relay keys`: creates, lists and revokes API keys in the store while relays run."""

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from relay.cli import Group
from relay.cli.options import command_actor, config_option, read_config
from relay.cli.output import print_json, print_text
from relay.cli.table import Column, show_table
from relay.config import Config, parsers
from relay.model import SECOND, new_id, to_rfc3339
from relay.operations import key_administration
from relay.operations.api_key_cache import CACHE_TTL
from relay.process import system_clock
from relay.security import SCOPES, Scope, generate_api_key
from relay.security.api_keys import RANDOM_BYTES
from relay.store import Store, exists, read_only, write_offline
from relay.store.engine import dialect
from relay.store.tables import api_keys
from relay.store.tables.api_keys import StoredApiKey


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """A key in the list."""

    name: str
    scopes: Sequence[Scope]
    kept_in: str
    created_at: str | None = None
    last_used_at: str | None = None
    revoked_at: str | None = None


@click.group("keys", cls=Group)
def command() -> None:
    """Create, list and revoke API keys of the relay.

    The store holds their hashes; security.api_keys may hold further keys. These commands open the store of storage.url
    directly, so they work only on the relay's machine or in its container; an admin can do the same in the dashboard,
    and no call of the API can. Relays may run meanwhile, also on SQLite, and apply a change within a second. As soon as
    there is one key, every call of the API needs a key.

    \b
    Examples:
      relay keys create crm --scope register
      relay keys list
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
    help="What the key may do; repeatable.",
)
def create(path: Path | None, name: str, scopes: Sequence[Scope]) -> None:
    """Create a key named NAME, and print it once: the store keeps only its hash.

    \b
    Scopes:
      register   register jobs, and withdraw them
      subscribe  create, enable and remove endpoints of its own
      read       see jobs, deliveries and endpoints, but no secrets
      admin      change endpoints, send again
    \b
    Examples:
      relay keys create zapier --scope subscribe --scope register --scope read
      relay keys create ops --scope register --scope read --scope admin
      docker exec relay relay keys create dashboard --scope read
    """
    config, now = read_config(path), system_clock()
    key = generate_api_key(secrets.token_bytes(RANDOM_BYTES))
    stored = key_administration.stored_key(new_id("key", now), _checked(name, config), key, scopes, now)
    url = config.storage.url
    is_new = not exists(url)
    if is_new:
        asyncio.run(_make_store(url))
    is_first = write_offline(url, lambda tx: key_administration.create(tx, stored, _names(config), command_actor()))
    was_open = is_first and not config.security.api_keys
    click.echo(key)
    print_text(f"\nThe key is shown only once. It works now, as {_bearer(stored)}", err=True)
    print_text(f"It is stored in {_store_location(url)}.", err=True)
    if is_new:
        text = (
            "! There was no store yet, so this made one. If a relay runs already, it uses another store: then the key "
        )
        print_text(f"{text}does not work there. Run this with the relay's configuration, in its folder.", err=True)
    if "admin" in scopes and "read" not in scopes:
        text = "! It may change endpoints, but list nothing and open few pages: most want --scope read beside it."
        print_text(text, err=True)
    if was_open:
        print_text("It is the relay's first key: from now on every call of its API needs one.", err=True)


@command.command("list")
@config_option
@click.option("--all", "every", is_flag=True, help="Revoked keys too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_keys(path: Path | None, every: bool, as_json: bool) -> None:
    """List the keys of the store and of the configuration; the last use is exact to the hour.

    \b
    Examples:
      relay keys list
      relay keys list --all --json
    """
    config = read_config(path)
    stored = read_only(config.storage.url, api_keys.all if every else api_keys.active)
    rows = [*_configured(config), *map(_row, stored)]
    if as_json:
        print_json({"data": [asdict(row) for row in rows]})
        return
    columns: dict[str, Column[KeyRow]] = {
        "name": Column(lambda row: row.name, flexible=True),
        "scopes": Column(lambda row: ",".join(row.scopes)),
        "kept in": Column(lambda row: row.kept_in, optional=True),
        "created": Column(lambda row: row.created_at, is_time=True, optional=True),
        "last used": Column(lambda row: row.last_used_at, is_time=True),
    }
    show_table(rows, columns | ({"revoked": Column(lambda row: row.revoked_at, is_time=True)} if every else {}))


@command.command("revoke")
@config_option
@click.argument("name")
def revoke(path: Path | None, name: str) -> None:
    """Revoke the key named NAME: within a second every relay refuses it, and its dashboard sessions end.

    \b
    Examples:
      relay keys revoke zapier
    """
    config, now = read_config(path), system_clock()
    remaining = write_offline(
        config.storage.url, lambda tx: key_administration.revoke(tx, name, _names(config), command_actor(), now)
    )
    print_text(f"✓ the key {name} is revoked; every relay on this store refuses it within {CACHE_TTL // SECOND} s")
    if not remaining and not config.security.api_keys:
        print_text("! it was the last key: nobody can use the API until you create another with `relay keys create`")


def _checked(name: str, config: Config) -> str:
    """The name, if it is valid and free. Raises UsageError."""
    try:
        checked = parsers.name(name)
    except ValueError as error:
        raise click.UsageError(f"NAME {error}") from None
    if name in _names(config):
        raise click.UsageError("security.api_keys of the configuration has a key of this name; choose another")
    return checked


def _names(config: Config) -> list[str]:
    """Those of the keys in the configuration."""
    return [key.name for key in config.security.api_keys]


async def _make_store(url: str) -> None:
    """Creates the store, so that the first start can already listen on a public address."""
    store = await Store.open(url)
    await store.aclose()


def _store_location(url: str) -> str:
    """The file or the database of a store. A relative path depends on the folder."""
    parsed = dialect.parse(url)
    return str(Path(str(parsed.database)).absolute()) if dialect.is_sqlite(parsed) else dialect.display_url(parsed)


def _bearer(key: StoredApiKey) -> str:
    return f"`Authorization: Bearer ...`, and may do: {', '.join(key.scopes)}."


def _configured(config: Config) -> Iterator[KeyRow]:
    for key in config.security.api_keys:
        yield KeyRow(name=key.name, scopes=key.scopes, kept_in="configuration")


def _row(key: StoredApiKey) -> KeyRow:
    created, used, revoked = (
        None if at is None else to_rfc3339(at) for at in (key.created_at, key.last_used_at, key.revoked_at)
    )
    return KeyRow(
        name=key.name, scopes=key.scopes, kept_in="store", created_at=created, last_used_at=used, revoked_at=revoked
    )
