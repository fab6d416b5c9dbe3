"""`relay serve`: runs the relay until a signal stops it."""

import asyncio
import gc
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import click
from starlette.types import ASGIApp

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
from relay.errors import ConfigError, StoreError, StoreNotReady
from relay.process import bind_socket, descriptor_limit, url_of
from relay.registration.exec_callback_tokens import masked_url
from relay.security import LocalToken, generate_api_key, hash_api_key
from relay.security.api_keys import RANDOM_BYTES
from relay.service import Relay
from relay.store import exists, read_only
from relay.store.tables import api_keys, callback_tokens
from relay.telemetry import LOGGER, install_crash_hooks, log_on_a_thread, set_up_logging, tracer_from_env
from relay.web.app import create_app
from relay.web.core.public_url import base_path_of
from relay.web.metrics_app import create_metrics_app
from relay.web.server.http_protocol import ConnectionLimits
from relay.web.server.server import DEFAULT_LIMITS, Server, server_config
from relay.web.server.starting import StartingApp

_SAY_EVERY = 60
"""Seconds after which the log repeats what the relay waits for as it starts."""
_TRY_AGAIN = 1.0
"""Seconds between two tries to open the store."""

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


_SWITCH_INTERVAL = 0.001
"""Seconds after which a thread that computes lets another one run, if one waits; Python's default is 0.005."""


def tune_interpreter() -> None:
    """Makes the search for cyclic garbage rare, and threads give way sooner.

    The search takes a quarter of a delivery's time and finds almost nothing: objects that exist at the start live as
    long as the relay, and later ones are freed by reference counting.

    The event loop and the store's writer share the interpreter's lock. Whoever releases it, as each call of the system
    and each statement of SQLite does, waits for the other one up to the switch interval.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    sys.setswitchinterval(_SWITCH_INTERVAL)


@dataclass(frozen=True, slots=True)
class _HttpServer:
    """The server, which listens before the relay is open."""

    server: Server
    app: StartingApp
    socket: socket.socket
    task: asyncio.Task[None]

    @property
    def port(self) -> int:
        port: int = self.socket.getsockname()[1]
        return port

    async def close(self) -> None:
        """Stops listening, and finishes open requests."""
        self.server.should_exit = True
        await self.task


async def _serve(config: Config, path: Path | None, leave: Callable[[int], None]) -> None:
    install_crash_hooks(asyncio.get_running_loop())
    reload_requested = _sighup_event()
    descriptors = descriptor_limit.raise_to_hard_limit()
    await asyncio.to_thread(_refuse_what_is_known_to_be_open, config)
    http = _listen(config, descriptors)
    try:
        relay = await _open(config, http.app)
        try:
            _refuse_to_be_open(config, await relay.requires_api_key())
            app = create_app(relay, owns_relay=False)
        except BaseException:
            await relay.stop()
            raise
        _warn(relay, descriptors)
        await _run(relay, app, path, leave, http, reload_requested)
    finally:
        await http.close()


def _listen(config: Config, descriptors: int) -> _HttpServer:
    """Listens, and answers health checks only: to open the store may take minutes, and silence is taken for a hang."""
    limits = ConnectionLimits(connections=min(DEFAULT_LIMITS.connections, descriptors // 4))
    hint = "set server.host and server.port to a free address"
    listening = bind_socket(config.server.host, config.server.port, hint)
    starting = StartingApp(base_path_of(config.server.public_url))
    server = Server(server_config(starting, config.server.trusted_proxies, limits))
    return _HttpServer(server, starting, listening, asyncio.create_task(server.serve(sockets=[listening])))


async def _open(config: Config, starting: StartingApp) -> Relay:
    """The relay, once its database can be used. The log says what it waits for: at first, and then each minute."""
    log = logging.getLogger(LOGGER)
    loop, last_said, last_said_at = asyncio.get_running_loop(), "", 0.0

    def report(state: str) -> None:
        nonlocal last_said, last_said_at
        starting.state = state
        if state != last_said or loop.time() - last_said_at >= _SAY_EVERY:
            last_said, last_said_at = state, loop.time()
            log.warning("the relay starts: %s", state)

    while True:
        try:
            return await Relay.open(config, spans=tracer_from_env(os.environ), report=report)
        except StoreNotReady as error:
            report(f"{error}; it tries again")
            await asyncio.sleep(_TRY_AGAIN)


def _refuse_what_is_known_to_be_open(config: Config) -> None:
    """Before the relay listens: raises ConfigError if the store can be read, and shows that there is no API key."""
    if config.security.api_keys or (is_loopback(config.server.host) and config.server.public_url is None):
        return
    url = config.storage.url
    with suppress(StoreError):  # the relay waits for it, and looks again
        _refuse_to_be_open(config, exists(url) and read_only(url, api_keys.any_ever_created))


def _refuse_to_be_open(config: Config, has_keys: bool) -> None:
    """Raises ConfigError if other machines could reach a relay without an API key."""
    if not has_keys:
        if not is_loopback(config.server.host):  # guard: no-listening-without-keys
            raise ConfigError(PUBLIC_WITHOUT_KEYS)
        if config.server.public_url is not None:  # guard: no-public-url-without-keys
            raise ConfigError(PUBLIC_URL_WITHOUT_KEYS)


def _warn(relay: Relay, descriptors: int) -> None:
    """Logs what could be better."""
    log, config = relay.telemetry.log, relay.config
    if config.security.secret_key is None:
        log.warning("security.secret_key is not set: %s", UNENCRYPTED_WARNING)
    if relay.waiters.total < config.security.waits_per_key:
        text = "only %d requests can wait at a time, since this process may have %d files open; raise `ulimit -n`"
        log.warning(text, relay.waiters.total, descriptors)
    for warning in unused_variables(os.environ):
        log.warning("environment: %s", warning)


async def _run(
    relay: Relay,
    app: ASGIApp,
    path: Path | None,
    leave: Callable[[int], None],
    http: _HttpServer,
    reload_requested: asyncio.Event,
) -> None:
    """Starts the relay, serves, and stops the relay when a signal asks for it."""

    def drain() -> None:
        relay.draining = True

    def stop() -> None:
        relay.waiters.stop()  # answers them, so that the server need not cut them off
        http.server.should_exit = True

    ms_since_stop = stop_when_asked(stop, leave, drain, relay.config.server.drain / 1_000)
    port = http.port  # the socket is closed when the token is removed
    token = await _make_local_token(relay, port)
    tune_interpreter()
    try:
        await relay.start()
        relay.telemetry.log.info("the relay listens on %s", url_of(http.socket))
        if token is not None:
            click.echo(_WITHOUT_KEYS.format(url=url_of(http.socket), token=token))
        await _log_callback_urls(relay)
        reloads = asyncio.create_task(_reload_on(reload_requested, relay, path))
        async with _metrics_port(relay):
            http.app.serve(app)
            await http.task
        reloads.cancel()
    finally:
        if token is not None:
            local_token.remove(port, token)
        await relay.stop(ms_since_stop())


@asynccontextmanager
async def _metrics_port(relay: Relay) -> AsyncIterator[None]:
    """Serves metrics on a port of their own, if the configuration names one."""
    metrics = relay.config.metrics
    if metrics.port is None:
        yield
        return
    listening = bind_socket(metrics.host, metrics.port, "set metrics.host and metrics.port to a free address")
    server = Server(server_config(create_metrics_app(relay)))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    relay.telemetry.log.info("metrics are at %s/metrics", url_of(listening))
    try:
        yield
    finally:
        server.should_exit = True
        await task


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
