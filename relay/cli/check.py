"""`relay check`: is everything right before it runs?"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from relay.cli.options import PUBLIC_WITHOUT_KEYS, UNENCRYPTED_WARNING, config_option, read_config
from relay.config import Config, EndpointSection, Workspace
from relay.egress.resolver import ThreadResolver
from relay.egress.url_policy import EgressRules, blocked_reason, is_loopback, mask_url
from relay.endpoints import spec
from relay.errors import StoreError, ValidationFailed
from relay.model.poll_result import PollFailed, RateLimited, Unauthorized
from relay.polling import exec_client, exec_transport
from relay.polling.poller import rate_limit_of
from relay.store.engine.clock import system_clock
from relay.store.engine.database import exists, read_only
from relay.store.maintenance.preflight import preflight_check
from relay.store.tables import api_keys

PROBE_JOB_ID = "relay-check"
"""A job id that Exec never gave out: its 404 shows that the key is accepted."""

OK, WARN, FAIL = "✓", "!", "✗"
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
        well = well and found.mark != FAIL
        click.echo(f"{found.mark} {found.about}: {found.text}")
    return well


async def _findings(config: Config) -> AsyncIterator[Finding]:
    yield Finding(OK, "configuration", "can be used")
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
        return Finding(OK, "store", preflight_check(config.storage.url, config.security.cipher()))
    except StoreError as error:
        return Finding(FAIL, "store", str(error))


def _api_keys(config: Config) -> Finding:
    count, url = len(config.security.api_keys), config.storage.url
    try:
        count += len(read_only(url, api_keys.active)) if exists(url) else 0
    except StoreError:
        if not count:
            return Finding(WARN, "API keys", "none in the configuration; those of the store can't be read now")
    if count:
        return Finding(OK, "API keys", f"{count}; `relay keys list` names them")
    if not is_loopback(config.server.host):
        return Finding(FAIL, "API keys", PUBLIC_WITHOUT_KEYS)
    text = "none, so that the relay answers to its own machine only, and to nothing that comes through a proxy"
    return Finding(WARN, "API keys", f"{text}; `relay keys create` makes one")


def _settings(config: Config) -> Iterator[Finding]:
    """What works without, and better with."""
    if config.security.secret_key is None:
        yield Finding(WARN, "secrets", f"not sealed, since security.secret_key is not set: {UNENCRYPTED_WARNING}")
    else:
        yield Finding(OK, "secrets", "sealed in the store")
    if config.server.public_url is not None and not config.server.trusted_proxies:
        text = (
            "none is trusted, so that all who come through one count as one client: name it in server.trusted_proxies"
        )
        yield Finding(WARN, "proxies", text)
    if config.server.public_url is None:
        text = "can't come, since server.public_url is not set; with it a job costs one poll (`relay callback --help`)"
        yield Finding(WARN, "Exec's callbacks", text)
    else:
        yield Finding(OK, "Exec's callbacks", f"come in at {config.server.public_url}; `relay callback show` says how")
    for workspace in config.workspaces:
        allowed = rate_limit_of(workspace)
        text = f"{allowed.minute} polls a minute and {allowed.day} a day; `relay plan` draws what they give"
        yield Finding(OK, f"budget of workspace {workspace.name}", text)


async def _exec(workspace: Workspace, timeout: int) -> Finding:
    name = f"Exec workspace {workspace.name}"
    http = exec_transport.make_http(timeout)
    client = exec_client.ExecClient(
        name=workspace.name,
        api_key=workspace.api_key.get_secret_value(),
        base_url=workspace.base_url,
        timeout=timeout,
        clock=system_clock,
        http=http,
    )
    try:
        poll = await client.get_job(PROBE_JOB_ID)
    finally:
        await http.aclose()
    match poll.result:
        case Unauthorized(status, text):
            return Finding(FAIL, name, f"refuses the key ({status}: {text}); make one in Exec under Settings > API")
        case RateLimited():
            text = (
                "accepts the key, but its requests are used up for now (429): by whom? A lower exec.budget.share leaves"
            )
            return Finding(WARN, name, f"{text} more to others")
        case PollFailed(_, detail):
            return Finding(FAIL, name, f"{detail}; is exec.base_url right, and can this machine reach it?")
    return Finding(OK, name, "accepts the key")


async def _endpoint(endpoint: EndpointSection, rules: EgressRules) -> Finding:
    about, url = f"endpoint {endpoint.name}", endpoint.url.get_secret_value()
    try:
        wanted = spec.EndpointSpec(url, endpoint.format, template=endpoint.template)
        checked = spec.validate(wanted, rules, "url")
    except ValidationFailed as error:
        return Finding(FAIL, about, error.message)
    if (why := await _unreachable(checked.target.host_port, rules)) is not None:
        return Finding(FAIL, about, f"{mask_url(url)}: {why}")
    text = f"{mask_url(url)} in format {checked.format}; try it while the relay runs: POST /v1/endpoints/ID/test"
    return Finding(OK, about, text)


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
    reasons = [blocked_reason(str(one["host"]), rules) for one in found]
    if not all(reasons):
        return None
    return f"its host is not called: {reasons[0]}; if that is wanted, name the address in security.allow_networks"
