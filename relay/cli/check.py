"""`relay check`: is everything right before it runs?"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import click

from relay import exec_api, subscribing
from relay.addresses import EgressRules, mask
from relay.cli.serve import UNSEALED, config_option, read_config
from relay.config import Config, Workspace
from relay.errors import Invalid, StoreError
from relay.looking import Faulty, KeyRefused, Limited
from relay.readiness import Check
from relay.service import system_clock
from relay.store import resealing
from relay.store.database import Store

NO_JOB = "relay-check"
"""A job id that Exec never gave out: its 404 shows that the key is accepted."""


@click.command("check")
@config_option
def command(path: Path | None) -> None:
    """Check the configuration, the Exec key, the store and each endpoint, and say what to do.

    Costs one of Exec's requests a workspace; sends nothing to the endpoints. Exit code 1 where something is not right.

    \b
    Examples:
      relay check --config config.yaml
      docker run --rm --env-file relay.env exec-relay check
    """
    config = read_config(path)
    click.echo("✓ configuration: can be used")
    if not asyncio.run(_check(config)):
        raise SystemExit(1)


async def _check(config: Config) -> bool:
    well = True
    async for check in _checks(config):
        well = well and check.ok
        click.echo(f"{'✓' if check.ok else '✗'} {check.name}: {check.text}")
    return well


async def _checks(config: Config) -> AsyncIterator[Check]:
    yield await _store(config)
    if config.security.secret_key is None:
        yield Check("secrets", True, f"not sealed, since security.secret_key is not set: {UNSEALED}")
    else:
        yield Check("secrets", True, "sealed in the store")
    for workspace in config.workspaces:
        yield await _exec(workspace, config.exec.timeout)
    rules = EgressRules(config.security.allow_http, config.security.allow_networks, config.security.deny_networks)
    for endpoint in config.endpoints:
        name, url = f"endpoint {endpoint.name}", endpoint.url.get_secret_value()
        try:
            checked = subscribing.check(subscribing.Wanted(url, endpoint.format), rules, "url")
        except Invalid as error:
            yield Check(name, False, error.message)
        else:
            yield Check(name, True, f"{mask(url)} in format {checked.format}; try it: POST /v1/endpoints/ID/test")


async def _store(config: Config) -> Check:
    try:
        store = await Store.open(config.storage.url, config.security.seal())
        try:
            await store.read(resealing.check)
        finally:
            await store.aclose()
    except StoreError as error:
        in_use = "in use by another relay" in str(error)
        return Check("store", in_use, "in use by a running relay" if in_use else str(error))
    return Check("store", True, "can be read and written, its tables are up to date")


async def _exec(workspace: Workspace, timeout: int) -> Check:
    name = f"Exec workspace {workspace.name}"
    http = exec_api.make_http(timeout)
    client = exec_api.ExecClient(
        name=workspace.name,
        api_key=workspace.api_key.get_secret_value(),
        base_url=workspace.base_url,
        timeout=timeout,
        clock=system_clock,
        http=http,
    )
    try:
        look = await client.look(NO_JOB)
    finally:
        await http.aclose()
    match look.sighting:
        case KeyRefused(status, text):
            return Check(name, False, f"refuses the key ({status}: {text}); make one in Exec under Settings > API")
        case Limited():
            return Check(name, True, "accepts the key, but its requests are used up for now (429)")
        case Faulty(_, detail):
            return Check(name, False, f"{detail}; is exec.base_url right, and can this machine reach it?")
    return Check(name, True, "accepts the key")
