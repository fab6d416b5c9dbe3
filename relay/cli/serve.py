"""`relay serve`: runs the relay until it is told to stop."""

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import uvicorn

from relay.cli.options import PUBLIC_WITHOUT_KEYS, UNENCRYPTED_WARNING, config_option, read_config
from relay.cli.stopping import end_at_once_when_asked, stop_when_asked
from relay.config import Config
from relay.egress.url_policy import is_loopback
from relay.errors import ConfigError
from relay.operations.listen_socket import bind_socket, url_of
from relay.registration.exec_callback_tokens import masked_url
from relay.service import Relay
from relay.store.tables import callback_tokens
from relay.telemetry import install_crash_hooks, log_on_a_thread, set_up_logging, tracer_from_env
from relay.web.app import create_app
from relay.web.server.server import server_config


@click.command("serve")
@config_option
def command(path: Path | None) -> None:
    """Run the relay: register jobs over HTTP, poll Exec, notify every subscriber.

    \b
    Examples:
      relay serve --config config.yaml
      EXEC_API_KEY=exec_live_... relay serve --config config.example.yaml
      RELAY_EXEC__API_KEY=exec_live_... RELAY_SERVER__PORT=9000 relay serve

    Ctrl-C and SIGTERM stop it cleanly: nothing new is begun, attempts under way are finished, nothing is lost. SIGHUP
    has it read its configuration again, and take over endpoints and keys.
    """
    end_at_once_when_asked()
    config = read_config(path)
    set_up_logging(config.logging.format, config.logging.level)
    with log_on_a_thread() as log:
        asyncio.run(_serve(config, path, log.leave))


def tune_gc() -> None:
    """Makes the search for cyclic garbage rare: it takes a quarter of a delivery's time and finds next to nothing.

    What is there at the start lives as long as the relay, and what comes later is freed by counting references.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def _serve(config: Config, path: Path | None, leave: Callable[[int], None]) -> None:
    install_crash_hooks(asyncio.get_running_loop())
    asked = _sighup_event()
    relay = await Relay.open(config, spans=tracer_from_env(os.environ))
    server = uvicorn.Server(server_config(create_app(relay, owns_relay=False), config.server.trusted_proxies))
    since_asked = stop_when_asked(partial(setattr, server, "should_exit", True), leave)
    try:
        listening = await _listen(relay)
    except BaseException:
        await relay.stop()
        raise
    if config.security.secret_key is None:
        relay.telemetry.log.warning("security.secret_key is not set: %s", UNENCRYPTED_WARNING)
    tune_gc()
    try:
        await relay.start()
        relay.telemetry.log.info("the relay listens on %s", url_of(listening))
        await _log_callback_urls(relay)
        reloads = asyncio.create_task(_reload_whenever(asked, relay, path))
        await server.serve(sockets=[listening])
        reloads.cancel()
    finally:
        await relay.stop(since_asked())


async def _listen(relay: Relay) -> socket.socket:
    """The socket, where it may be had. Raises ConfigError for one that others reach while there is no API key."""
    server = relay.config.server
    if not is_loopback(server.host) and not await relay.requires_api_key():  # guard: no-listening-without-keys
        raise ConfigError(PUBLIC_WITHOUT_KEYS)
    return bind_socket(server.host, server.port, "set server.host and server.port to what is free")


def _sighup_event() -> asyncio.Event:
    """Set by SIGHUP, which from now on no longer ends the process; where there are no signals, never."""
    asked = asyncio.Event()
    if hasattr(signal, "SIGHUP"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
    return asked


async def _reload_whenever(asked: asyncio.Event, relay: Relay, path: Path | None) -> None:
    while True:
        await asked.wait()
        asked.clear()
        await relay.reload(lambda: read_config(path))


async def _log_callback_urls(relay: Relay) -> None:
    """Where Exec's own callbacks are taken, masked: the whole URL is a secret."""
    if (public_url := relay.config.server.public_url) is None:
        return
    for token in await relay.store.read(lambda tx: [callback_tokens.get(tx, name) for name in relay.clients]):
        if token is not None:
            shown = masked_url(token, public_url)
            told = "Exec's callbacks of workspace %s are taken at %s; `relay callback show` shows all of it"
            relay.telemetry.log.info(told, token.workspace, shown)
