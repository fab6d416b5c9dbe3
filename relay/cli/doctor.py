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
from relay.cli.output import print_text
from relay.config import Config, EndpointSection
from relay.errors import RelayError
from relay.model import Instant
from relay.process import system_clock
from relay.store import read_only
from relay.store.maintenance.diagnostics import StoreReport, store_report

LIBRARIES = ("starlette", "uvicorn", "httpx", "aiohttp", "apscheduler", "sqlalchemy", "alembic", "psycopg", "pydantic")


CHOICES = frozenset("adaptive interval json text debug info warning error admin register read none".split())
"""Values of the configuration that are words, and no secrets."""


@click.command("doctor")
@config_option
def command(path: Path | None) -> None:
    """Print a report to put into a bug's issue: versions, configuration, and the state of the store.

    It contains no key, secret, address, job id or scenario name. Read it before you send it. The relay may run; nothing
    is changed, and neither Exec nor the endpoints are called (`relay check` calls Exec).

    \b
    Examples:
      relay doctor > report.md
      docker exec relay relay doctor
    """
    print_text("\n".join(_report(path, system_clock())))


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
        report = read_only(config.storage.url, lambda tx: store_report(tx, now))
    except RelayError as error:
        yield f"\n## Store\n\nIt can't be read: {_without_address(str(error), config)}"
        return
    yield from _store(report)


def _machine() -> dict[str, str]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {"Python": platform.python_version(), "system": platform.platform(terse=True), **versions}


def _store(report: StoreReport) -> Iterator[str]:
    facts = {"database": report.database, "tables": report.version, "disabled endpoints": report.disabled}
    yield from _table("Store", facts)
    yield from _table("Rows", report.rows)
    yield from _table("Newest jobs", report.watches)
    yield from _table("Newest deliveries", report.deliveries)
    yield from _table("Newest attempts", report.attempts)
    yield from _table("Paused workspaces", report.pauses)


def _table(title: str, rows: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n## {title}\n"
    yield from (f"- {name}: {value}" for name, value in rows.items())
    if not rows:
        yield "none"


def _safe_config(config: Config) -> Iterator[tuple[str, str]]:
    """The configuration without secrets: numbers and choices; of every other value, whether it is set.

    Workspaces and endpoints have numbers, because their names may say whose they are.
    """
    for section, value in config:
        if isinstance(value, BaseModel):
            yield from ((f"{section}.{key}", _describe(item)) for key, item in value)
    for number, workspace in enumerate(config.workspaces, 1):
        yield f"budget of workspace {number}", str(workspace.budget)
    for number, endpoint in enumerate(config.endpoints, 1):
        yield f"endpoint {number}", _endpoint(endpoint)


def _describe(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, SecretStr):
        return "set"
    if isinstance(value, BaseModel):
        return str(value)
    if isinstance(value, dict):  # names of a company's groups
        return f"{len(value)} of them"
    if isinstance(value, tuple):
        all_integers = all(isinstance(item, int) for item in value)
        return str(list(value)) if all_integers else f"{len(value)} of them"
    return str(value) if isinstance(value, str) and value in CHOICES else "set"


def _endpoint(endpoint: EndpointSection) -> str:
    url = endpoint.url.get_secret_value()
    format = formats.detect_format(url) if endpoint.format == "auto" else endpoint.format
    events = formats.default_events(format) if endpoint.events is None else endpoint.events
    return f"format {format}, {len(events)} events, {len(endpoint.headers)} extra headers"


def _without_address(text: str, config: Config) -> str:
    """The text of an error without the URL of the store, which may hold a password."""
    return text.replace(config.storage.url, "storage.url")
