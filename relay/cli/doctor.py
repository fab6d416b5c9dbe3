"""`relay doctor`: a report for a bug's issue, without anything secret."""

import importlib.metadata
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel, SecretStr

from relay import __version__, formats
from relay.cli.options import config_option, read_config
from relay.config import Config, EndpointSection
from relay.errors import RelayError
from relay.model import Instant
from relay.store.engine.clock import system_clock
from relay.store.engine.database import read_only
from relay.store.maintenance.diagnostics import StoreReport, store_report

LIBRARIES = ("starlette", "uvicorn", "httpx", "aiohttp", "apscheduler", "sqlalchemy", "alembic", "psycopg", "pydantic")


CHOICES = frozenset("adaptive interval json text debug info warning error".split())
"""Values of the configuration that are words, and may be told."""


@click.command("doctor")
@config_option
def command(path: Path | None) -> None:
    """Print a report to put into a bug's issue: versions, configuration, and how the store fares.

    It holds no key, secret, address, job id or scenario name. Read it before you send it all the same. The relay may
    run meanwhile; nothing is changed, and Exec and the endpoints are not asked (`relay check` does that).

    \b
    Examples:
      relay doctor > report.md
      docker exec relay relay doctor
    """
    click.echo("\n".join(_report(path, system_clock())))


def _report(path: Path | None, now: Instant) -> Iterator[str]:
    yield f"# exec-relay {__version__}"
    yield from _table("Machine", _machine())
    try:
        config = read_config(path)
    except RelayError as error:
        yield f"\n## Configuration\n\nIt can't be used:\n\n{error}"
        return
    yield from _table("Configuration (durations in milliseconds)", dict(_safe_config(config)))
    try:
        found = read_only(config.storage.url, lambda tx: store_report(tx, now))
    except RelayError as error:
        yield f"\n## Store\n\nIt can't be read: {_without_address(str(error), config)}"
        return
    yield from _store(found)


def _machine() -> dict[str, str]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {"Python": platform.python_version(), "system": platform.platform(terse=True), **versions}


def _store(found: StoreReport) -> Iterator[str]:
    about = {"database": found.database, "tables": found.version, "disabled endpoints": found.disabled}
    yield from _table("Store", about)
    yield from _table("Rows", found.rows)
    yield from _table("Newest jobs", found.watches)
    yield from _table("Newest deliveries", found.deliveries)
    yield from _table("Newest attempts", found.attempts)
    yield from _table("Workspaces that wait", found.pauses)


def _table(title: str, rows: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n## {title}\n"
    yield from (f"- {name}: {value}" for name, value in rows.items())
    if not rows:
        yield "none"


def _safe_config(config: Config) -> Iterator[tuple[str, str]]:
    """What the configuration says, as far as it may be told: numbers and choices; of all else, whether it is set."""
    for section, value in config:
        if isinstance(value, BaseModel):
            yield from ((f"{section}.{key}", _shown(item)) for key, item in value)
    for workspace in config.workspaces:
        yield "a workspace's budget", str(workspace.budget)
    for endpoint in config.endpoints:
        yield "an endpoint", _endpoint(endpoint)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, SecretStr):
        return "set"
    if isinstance(value, BaseModel):
        return str(value)
    if isinstance(value, tuple):
        plain = all(isinstance(item, int) for item in value)
        return str(list(value)) if plain else f"{len(value)} of them"
    return str(value) if value in CHOICES else "set"


def _endpoint(endpoint: EndpointSection) -> str:
    url = endpoint.url.get_secret_value()
    format = formats.detect_format(url) if endpoint.format == "auto" else endpoint.format
    return f"format {format}, {len(endpoint.events)} events, {len(endpoint.headers)} headers of its own"


def _without_address(text: str, config: Config) -> str:
    """An error's text, without the address of the store, which may hold a password."""
    return text.replace(config.storage.url, "storage.url")
