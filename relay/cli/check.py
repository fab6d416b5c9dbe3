"""`relay check`: checks everything before the relay runs."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import click
from pydantic import SecretStr

from relay.cli.findings import FAIL, OK, WARN, Finding
from relay.cli.options import (
    PUBLIC_URL_WITHOUT_KEYS,
    PUBLIC_WITHOUT_KEYS,
    UNENCRYPTED_WARNING,
    config_option,
    read_config,
)
from relay.cli.output import print_text
from relay.cli.sample_sending import send_samples
from relay.config import Config, EndpointSection, ExecSection, Workspace, unused_variables
from relay.delivery import suspension
from relay.egress import EgressRules, blocked_reason, is_loopback, mask_url
from relay.egress.resolver import ThreadResolver
from relay.endpoints import spec
from relay.errors import StoreError, ValidationFailed
from relay.model import PULL_URL, to_rfc3339
from relay.model.poll_result import PollFailed, RateLimited, Unauthorized
from relay.polling import ExecClient, exec_transport, rate_limit_of
from relay.process import system_clock
from relay.store import exists, read_only
from relay.store.maintenance.preflight import preflight_check
from relay.store.tables import api_keys, endpoints

PROBE_JOB_ID = "relay-check"
"""A job id that does not exist at Exec: the 404 shows that Exec accepts the key."""

_RESOLVE_SECONDS = 5
MAX_PROXIES = 256
"""Addresses in one network of server.trusted_proxies that may name users without a warning."""
_PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


@click.command("check")
@config_option
@click.option("--send", is_flag=True, help="Send a sample to each standing endpoint too, and show what it answered.")
def command(path: Path | None, send: bool) -> None:
    """Check the configuration, the Exec key, the store and each endpoint, and say what to do.

    Changes nothing, and may run beside a relay. Costs one request to Exec for each workspace; without --send it sends
    nothing to the endpoints. A line begins with ✓ if all is well, with ! for advice, and with ✗ for an error: then the
    exit code is 1.

    \b
    Examples:
      relay check --config config.yaml
      relay check --send
      docker run --rm --env-file relay.env exec-relay check
    """
    config = read_config(path)
    if not asyncio.run(_check(config, send)):
        raise SystemExit(1)


async def _check(config: Config, send: bool) -> bool:
    all_passed = True
    async for finding in _findings(config, send):
        all_passed = all_passed and finding.mark != FAIL
        print_text(f"{finding.mark} {finding.subject}: {finding.text}")
    return all_passed


async def _findings(config: Config, send: bool) -> AsyncIterator[Finding]:
    yield Finding(OK, "configuration", "can be used")
    yield _store(config)
    yield _api_keys(config)
    for finding in (*_sending(config), *_settings(config), *_environment(config), *_subscribers(config)):
        yield finding
    for workspace in config.workspaces:
        yield await _exec(workspace, config.exec)
    rules = config.security.egress_rules()
    for endpoint in config.endpoints:
        yield await _endpoint(endpoint, rules)
    if send:
        async for finding in send_samples(config):
            yield finding


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
        return Finding(OK, "API keys", f"{count}; `relay keys list` shows them")
    if not is_loopback(config.server.host):
        return Finding(FAIL, "API keys", PUBLIC_WITHOUT_KEYS)
    if config.server.public_url is not None:
        return Finding(FAIL, "API keys", PUBLIC_URL_WITHOUT_KEYS)
    text = "none, so the relay answers its own machine only, and needs the token that `relay serve` prints"
    return Finding(WARN, "API keys", f"{text}; `relay keys create` makes one")


def _sending(config: Config) -> Iterator[Finding]:
    """A warning if the relay would send nothing."""
    url = config.storage.url
    try:
        suspended, waiting = read_only(url, suspension.status) if exists(url) else (None, 0)
    except StoreError:
        return  # reported by `_store`
    if suspended is not None:
        text = f"suspended since {to_rfc3339(suspended.since)}, because {suspended.reason}; {waiting:,} deliveries wait"
        yield Finding(
            WARN, "sending", f"{text}: `relay sending resume` sends them, `relay sending discard` cancels them"
        )


def _settings(config: Config) -> Iterator[Finding]:
    """Settings that are optional, but recommended."""
    if config.security.secret_key is None:
        yield Finding(WARN, "secrets", f"not encrypted, because security.secret_key is not set: {UNENCRYPTED_WARNING}")
    else:
        yield Finding(OK, "secrets", "encrypted in the store")
    if config.server.public_url is not None and not config.server.trusted_proxies:
        text = "none is trusted, so all clients behind a proxy count as one: name it in server.trusted_proxies"
        yield Finding(WARN, "proxies", text)
    yield from _wide_proxies(config)
    if config.server.public_url is None:
        text = (
            "not possible, because server.public_url is not set; with it a job costs one poll (`relay callback --help`)"
        )
        yield Finding(WARN, "Exec's callbacks", text)
    else:
        yield Finding(
            OK, "Exec's callbacks", f"received at {config.server.public_url}; `relay callback show` shows the URL"
        )
    for workspace in config.workspaces:
        limit = rate_limit_of(workspace)
        text = f"{limit.minute} polls a minute and {limit.day} a day; `relay plan` shows the resulting delays"
        yield Finding(OK, f"budget of workspace {workspace.name}", text)


def _wide_proxies(config: Config) -> Iterator[Finding]:
    """A warning for each network in which every neighbour could name any user."""
    header = config.server.trusted_user_header
    for network in config.server.trusted_proxies if header is not None else ():
        if network.num_addresses > MAX_PROXIES:
            text = f"{network} has many addresses, and each can log in as anybody by {header}"
            yield Finding(WARN, "login by a proxy", f"{text}; name the proxy's own address in server.trusted_proxies")
    if header is not None:
        yield Finding(
            OK,
            "login by a proxy",
            f"the header {header} names the user; by default: {config.server.trusted_default_role}",
        )


def _environment(config: Config) -> Iterator[Finding]:
    """Warnings about variables without effect, and the HTTP proxies in use."""
    for warning in unused_variables(os.environ):
        yield Finding(WARN, "environment", warning)
    names = [name for name in (*_PROXY_VARIABLES, *map(str.lower, _PROXY_VARIABLES)) if os.environ.get(name)]
    missing = [key for key, proxy in _proxies(config).items() if proxy is None]
    if names and missing:
        text = f"{', '.join(names)} set, but the relay uses only {' and '.join(_proxies(config))}"
        yield Finding(WARN, "HTTP proxy", f"{text}; not set: {', '.join(missing)}")
    for key, proxy in _proxies(config).items():
        if proxy is not None:
            yield Finding(OK, "HTTP proxy", f"{key} is {_without_user(proxy.get_secret_value())}")


def _proxies(config: Config) -> dict[str, SecretStr | None]:
    return {"exec.proxy": config.exec.proxy, "delivery.proxy": config.delivery.proxy}


def _without_user(url: str) -> str:
    scheme, _, remainder = url.partition("://")
    return f"{scheme}://{remainder.rpartition('@')[2]}"


def _subscribers(config: Config) -> Iterator[Finding]:
    """A warning if a job without a callback URL would notify nobody."""
    if any(endpoint.events != () for endpoint in config.endpoints):
        return
    url = config.storage.url
    try:
        standing = read_only(url, endpoints.any_standing) if exists(url) else False
    except StoreError:
        return  # reported by `_store`
    if not standing:
        text = "no standing endpoint, so a job that is registered without a callback URL notifies nobody"
        yield Finding(WARN, "endpoints", f"{text}; add one to endpoints, or register jobs with a callback_url")


async def _exec(workspace: Workspace, settings: ExecSection) -> Finding:
    name = f"Exec workspace {workspace.name}"
    http = exec_transport.make_http(settings.timeout, proxy=settings.proxy_url)
    client = ExecClient(
        name=workspace.name,
        api_key=workspace.api_key.get_secret_value(),
        base_url=workspace.base_url,
        timeout=settings.timeout,
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
            text = "accepts the key, but its requests are used up for now (429); a lower exec.budget.share leaves more"
            return Finding(WARN, name, f"{text} to your other tools")
        case PollFailed(_, detail):
            return Finding(FAIL, name, f"{detail}; is exec.base_url right, and can this machine reach it?")
    return Finding(OK, name, "accepts the key")


async def _endpoint(endpoint: EndpointSection, rules: EgressRules) -> Finding:
    subject, url = f"endpoint {endpoint.name}", endpoint.url.get_secret_value()
    try:
        checked = spec.validate(spec.EndpointSpec(url, endpoint.format, template=endpoint.template), rules, "url")
    except ValidationFailed as error:
        return Finding(FAIL, subject, error.message)
    if url == PULL_URL:
        return Finding(OK, subject, f"is pulled; `relay events --follow --endpoint {endpoint.name}` reads it")
    if (problem := await _address_problem(checked.target.host_port, rules)) is not None:
        return Finding(FAIL, subject, f"{mask_url(url)}: {problem}")
    test = f"`relay endpoints test {endpoint.name}` tries it while the relay runs"
    text = f"{mask_url(url)} in format {checked.format}; {test}"
    return Finding(OK, subject, text)


async def _address_problem(host_port: str, rules: EgressRules) -> str | None:
    """Why the relay would call none of a host's addresses, and what to do. None if it would call one. Calls nothing."""
    host, _, port = host_port.rpartition(":")
    resolver = ThreadResolver(1)
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            addresses = await resolver.resolve(host.strip("[]"), int(port), socket.AF_UNSPEC)
    except (OSError, TimeoutError):
        return "its host name has no address; is the URL right, and does this machine's name server know it?"
    finally:
        await resolver.close()
    reasons = [blocked_reason(str(address["host"]), rules) for address in addresses]
    if not all(reasons):
        return None
    return f"the relay does not call its host: {reasons[0]}; to allow it, name the address in security.allow_networks"
