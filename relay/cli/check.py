"""`relay check`: is everything right before it runs?"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from relay import exec_api, exec_transport, subscribing
from relay.addresses import EgressRules, is_loopback, mask, refusal
from relay.cli.configuring import OPEN_TO_OTHERS, UNSEALED, config_option, read_config
from relay.config import Config, StandingEndpoint, Workspace
from relay.egress import ThreadResolver
from relay.errors import Invalid, StoreError
from relay.looking import Faulty, KeyRefused, Limited
from relay.store import api_keys
from relay.store.clock import system_clock
from relay.store.database import is_there, peek
from relay.store.inspecting import inspect
from relay.watcher import allowance_of

NO_JOB = "relay-check"
"""A job id that Exec never gave out: its 404 shows that the key is accepted."""

WELL, ADVICE, WRONG = "✓", "!", "✗"
_RESOLVES_WITHIN = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and where it is not well, what to do."""

    mark: str
    about: str
    text: str


@click.command("check")
@config_option
def command(path: Path | None) -> None:
    """Check the configuration, the Exec key, the store and each endpoint, and say what to do.

    Changes nothing, and may run beside a relay. Costs one of Exec's requests a workspace; sends nothing to the
    endpoints. Of the marks before the findings, ✓ is well, ! works and could be better, ✗ is wrong: then the exit code
    is 1.

    \b
    Examples:
      relay check --config config.yaml
      docker run --rm --env-file relay.env exec-relay check
    """
    config = read_config(path)
    if not asyncio.run(_check(config)):
        raise SystemExit(1)


async def _check(config: Config) -> bool:
    well = True
    async for found in _findings(config):
        well = well and found.mark != WRONG
        click.echo(f"{found.mark} {found.about}: {found.text}")
    return well


async def _findings(config: Config) -> AsyncIterator[Finding]:
    yield Finding(WELL, "configuration", "can be used")
    yield _store(config)
    yield _api_keys(config)
    for found in _settings(config):
        yield found
    for workspace in config.workspaces:
        yield await _exec(workspace, config.exec.timeout)
    rules = EgressRules(config.security.allow_http, config.security.allow_networks, config.security.deny_networks)
    for endpoint in config.endpoints:
        yield await _endpoint(endpoint, rules)


def _store(config: Config) -> Finding:
    try:
        return Finding(WELL, "store", inspect(config.storage.url, config.security.seal()))
    except StoreError as error:
        return Finding(WRONG, "store", str(error))


def _api_keys(config: Config) -> Finding:
    count, url = len(config.security.api_keys), config.storage.url
    try:
        count += len(peek(url, api_keys.live)) if is_there(url) else 0
    except StoreError:
        if not count:
            return Finding(ADVICE, "API keys", "none in the configuration; those of the store can't be read now")
    if count:
        return Finding(WELL, "API keys", f"{count}; `relay keys list` names them")
    if not is_loopback(config.server.host):
        return Finding(WRONG, "API keys", OPEN_TO_OTHERS)
    text = "none, so that the relay answers to its own machine only, and to nothing that comes through a proxy"
    return Finding(ADVICE, "API keys", f"{text}; `relay keys create` makes one")


def _settings(config: Config) -> Iterator[Finding]:
    """What works without, and better with."""
    if config.security.secret_key is None:
        yield Finding(ADVICE, "secrets", f"not sealed, since security.secret_key is not set: {UNSEALED}")
    else:
        yield Finding(WELL, "secrets", "sealed in the store")
    if config.server.public_url is not None and not config.server.trusted_proxies:
        text = (
            "none is trusted, so that all who come through one count as one client: name it in server.trusted_proxies"
        )
        yield Finding(ADVICE, "proxies", text)
    if config.server.public_url is None:
        text = "can't come, since server.public_url is not set; with it a job costs one look (`relay callback --help`)"
        yield Finding(ADVICE, "Exec's callbacks", text)
    else:
        yield Finding(
            WELL, "Exec's callbacks", f"come in at {config.server.public_url}; `relay callback show` says how"
        )
    for workspace in config.workspaces:
        allowed = allowance_of(workspace)
        text = f"{allowed.minute} looks a minute and {allowed.day} a day; `relay plan` draws what they give"
        yield Finding(WELL, f"budget of workspace {workspace.name}", text)


async def _exec(workspace: Workspace, timeout: int) -> Finding:
    name = f"Exec workspace {workspace.name}"
    http = exec_transport.make_http(timeout)
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
            return Finding(WRONG, name, f"refuses the key ({status}: {text}); make one in Exec under Settings > API")
        case Limited():
            text = (
                "accepts the key, but its requests are used up for now (429): by whom? A lower exec.budget.share leaves"
            )
            return Finding(ADVICE, name, f"{text} more to others")
        case Faulty(_, detail):
            return Finding(WRONG, name, f"{detail}; is exec.base_url right, and can this machine reach it?")
    return Finding(WELL, name, "accepts the key")


async def _endpoint(endpoint: StandingEndpoint, rules: EgressRules) -> Finding:
    about, url = f"endpoint {endpoint.name}", endpoint.url.get_secret_value()
    try:
        wanted = subscribing.Wanted(url, endpoint.format, template=endpoint.template)
        checked = subscribing.check(wanted, rules, "url")
    except Invalid as error:
        return Finding(WRONG, about, error.message)
    if (why := await _unreachable(checked.target.host_port, rules)) is not None:
        return Finding(WRONG, about, f"{mask(url)}: {why}")
    text = f"{mask(url)} in format {checked.format}; try it while the relay runs: POST /v1/endpoints/ID/test"
    return Finding(WELL, about, text)


async def _unreachable(host_port: str, rules: EgressRules) -> str | None:
    """Why none of a host's addresses would be dialled, and what to do; None where one would. Nothing is dialled."""
    host, _, port = host_port.rpartition(":")
    resolver = ThreadResolver(1)
    try:
        async with asyncio.timeout(_RESOLVES_WITHIN):
            found = await resolver.resolve(host.strip("[]"), int(port), socket.AF_UNSPEC)
    except (OSError, TimeoutError):
        return "its host's name has no address; is the URL right, and does this machine's name server know it?"
    finally:
        await resolver.close()
    reasons = [refusal(str(one["host"]), rules) for one in found]
    if not all(reasons):
        return None
    return f"its host is not called: {reasons[0]}; if that is wanted, name the address in security.allow_networks"
