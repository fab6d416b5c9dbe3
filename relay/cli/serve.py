"""`relay serve`: runs the relay until a signal stops it."""

import asyncio
import gc
import os
import secrets
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import click
import uvicorn

from relay.cli.options import (
    PUBLIC_URL_WITHOUT_KEYS,
    PUBLIC_WITHOUT_KEYS,
    UNENCRYPTED_WARNING,
    config_option,
    read_config,
)
from relay.cli.stopping import end_at_once_when_asked, stop_when_asked
from relay.client import local_token
from relay.config import Config, unused_variables
from relay.egress import is_loopback
from relay.errors import ConfigError
from relay.process import bind_socket, descriptor_limit, url_of
from relay.registration.exec_callback_tokens import masked_url
from relay.security import LocalToken, generate_api_key, hash_api_key
from relay.security.api_keys import RANDOM_BYTES
from relay.service import Relay
from relay.store.tables import callback_tokens
from relay.telemetry import install_crash_hooks, log_on_a_thread, set_up_logging, tracer_from_env
from relay.web.app import create_app
from relay.web.server.http_protocol import ConnectionLimits
from relay.web.server.server import DEFAULT_LIMITS, server_config

_WITHOUT_KEYS = """The relay has no API keys, so each request needs this token, until the relay stops:
  {token}
Commands of this user on this machine find it. Other programs send it as Authorization: Bearer TOKEN. The dashboard:
  {url}/login?token={token}
For keys of your own: relay keys create NAME --scope register"""
"""What `relay serve` prints without API keys."""


@click.command("serve")
@config_option
def command(path: Path | None) -> None:
    """Run the relay: register jobs over HTTP, poll Exec, notify every subscriber.

    \b
    Examples:
      relay serve --config config.yaml
      EXEC_API_KEY=exec_live_... relay serve --config config.example.yaml
      RELAY_EXEC__API_KEY=exec_live_... RELAY_SERVER__PORT=9000 relay serve

    Ctrl-C and SIGTERM stop it cleanly: attempts in progress finish, and nothing is lost. SIGHUP makes it read its
    configuration again, and apply changed endpoints and keys.
    """
    end_at_once_when_asked()
    config = read_config(path)
    set_up_logging(config.logging.format, config.logging.level)
    with log_on_a_thread() as log:
        asyncio.run(_serve(config, path, log.leave))


def tune_gc() -> None:
    """Makes the search for cyclic garbage rare: it takes a quarter of a delivery's time and finds almost nothing.

    Objects that exist at the start live as long as the relay. Later ones are freed by reference counting.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def _serve(config: Config, path: Path | None, leave: Callable[[int], None]) -> None:
    install_crash_hooks(asyncio.get_running_loop())
    reload_requested = _sighup_event()
    descriptors = descriptor_limit.raise_to_hard_limit()
    relay = await Relay.open(config, spans=tracer_from_env(os.environ))
    limits = ConnectionLimits(connections=min(DEFAULT_LIMITS.connections, descriptors // 4))

    def stop() -> None:
        relay.waiters.stop()  # answers them, so that the server need not cut them off
        server.should_exit = True

    try:
        app = create_app(relay, owns_relay=False)
        server = uvicorn.Server(server_config(app, config.server.trusted_proxies, limits))
        ms_since_signal = stop_when_asked(stop, leave)
        listening = await _listen(relay)
    except BaseException:
        await relay.stop()
        raise
    if config.security.secret_key is None:
        relay.telemetry.log.warning("security.secret_key is not set: %s", UNENCRYPTED_WARNING)
    if relay.waiters.total < config.security.waits_per_key:
        text = "only %d requests can wait at a time, since this process may have %d files open; raise `ulimit -n`"
        relay.telemetry.log.warning(text, relay.waiters.total, descriptors)
    for warning in unused_variables(os.environ):
        relay.telemetry.log.warning("environment: %s", warning)
    port = listening.getsockname()[1]
    token = await _make_local_token(relay, port)
    tune_gc()
    try:
        await relay.start()
        relay.telemetry.log.info("the relay listens on %s", url_of(listening))
        if token is not None:
            click.echo(_WITHOUT_KEYS.format(url=url_of(listening), token=token))
        await _log_callback_urls(relay)
        reloads = asyncio.create_task(_reload_on(reload_requested, relay, path))
        await server.serve(sockets=[listening])
        reloads.cancel()
    finally:
        if token is not None:
            local_token.remove(port, token)
        await relay.stop(ms_since_signal())


async def _listen(relay: Relay) -> socket.socket:
    """The listening socket. Raises ConfigError if other machines could reach it and there is no API key."""
    server = relay.config.server
    if not await relay.requires_api_key():
        if not is_loopback(server.host):  # guard: no-listening-without-keys
            raise ConfigError(PUBLIC_WITHOUT_KEYS)
        if server.public_url is not None:  # guard: no-public-url-without-keys
            raise ConfigError(PUBLIC_URL_WITHOUT_KEYS)
    return bind_socket(server.host, server.port, "set server.host and server.port to a free address")


async def _make_local_token(relay: Relay, port: int) -> str | None:
    """Without API keys, the token that each request needs, also written for commands on this machine; else None."""
    if await relay.requires_api_key():
        return None
    token = generate_api_key(secrets.token_bytes(RANDOM_BYTES))
    relay.local_token = LocalToken(hash_api_key(token))
    try:
        local_token.write(port, token)
    except OSError as error:
        text = "commands on this machine need --key with the relay's token, because it can't be written for them: %s"
        relay.telemetry.log.warning(text, error)
    return token


def _sighup_event() -> asyncio.Event:
    """An event that SIGHUP sets, instead of ending the process. Without signals it is never set."""
    requested = asyncio.Event()
    if hasattr(signal, "SIGHUP"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, requested.set)
    return requested


async def _reload_on(requested: asyncio.Event, relay: Relay, path: Path | None) -> None:
    while True:
        await requested.wait()
        requested.clear()
        await relay.reload(lambda: read_config(path))


async def _log_callback_urls(relay: Relay) -> None:
    """Logs the URL for Exec's own callbacks, masked: the whole URL is a secret."""
    if (public_url := relay.config.server.public_url) is None:
        return
    for token in await relay.store.read(lambda tx: [callback_tokens.get(tx, name) for name in relay.clients]):
        if token is not None:
            text = "Exec's callbacks of workspace %s are received at %s; `relay callback show` shows the whole URL"
            relay.telemetry.log.info(text, token.workspace, masked_url(token, public_url))
